import json

import pytest

from configs.benchmarks import benchmark_rules, read_benchmark_rules
from configs.errors import BadInputError
from eval.results import read_scores
from tests.eval.lm_eval_directory import TIME, edit_results, write_lm_eval

ANSWERS = {"piqa": [True, True, False, True], "tinyworld_facts": [True, False, False, False]}


def test_reads_counts_items_and_what_makes_runs_comparable(tmp_path):
    units = {"piqa": list("aabb"), "tinyworld_facts": list("wxyz")}
    scores = read_scores(write_lm_eval(tmp_path, ANSWERS, units=units, n_shot=2, limit=4, model="m"))
    task = scores.tasks["piqa"]
    assert (task.correct, task.n_items, task.metric, task.n_shot, task.version) == (3, 4, "acc", 2, "1.0")
    assert (task.chance, scores.tasks["tinyworld_facts"].chance) == (0.5, 0.25)
    assert [item.correct for item in task.items] == ANSWERS["piqa"]
    assert [item.unit for item in task.items] == list("aabb")
    assert task.finite is True
    assert (scores.limit, scores.model_name, scores.policy["max_length"]) == ("4", "m", "256")
    assert "chat_template_sha" not in scores.policy  # recorded as nothing


def test_without_samples_the_count_comes_from_the_share(tmp_path):
    scores = read_scores(write_lm_eval(tmp_path, {"piqa": [True] * 2 + [False]}, samples=False))
    task = scores.tasks["piqa"]
    assert (task.correct, task.n_items, task.items, task.finite) == (2, 3, None, None)


def test_the_newest_of_several_and_a_nested_model_directory(tmp_path):
    write_lm_eval(tmp_path / "org__model", {"piqa": [False]}, time="2026-01-01T00-00-00.000000")
    write_lm_eval(tmp_path / "org__model", {"piqa": [True]})
    assert read_scores(tmp_path).tasks["piqa"].correct == 1
    assert read_scores(tmp_path / "org__model" / f"results_{TIME}.json").tasks["piqa"].correct == 1


def test_two_models_in_one_directory_are_ambiguous(tmp_path):
    for name in ("one", "two"):
        write_lm_eval(tmp_path / name, ANSWERS)
    with pytest.raises(BadInputError, match=r"several models.*one, two"):
        read_scores(tmp_path)


def test_metric_rule_and_filters(tmp_path):
    write_lm_eval(tmp_path, {"hellaswag": [True, False]}, samples=False)
    row = {"acc,none": 0.5, "acc_norm,none": 1.0, "perplexity,none": 3.3, "acc_norm_stderr,none": "N/A"}
    gsm = {"exact_match,flexible-extract": 1.0, "exact_match,strict-match": 0.5}
    counts = {"effective": 2, "original": 2}
    names = ("hellaswag", "gsm8k", "wikitext")
    results = {"hellaswag": row, "gsm8k": gsm, "wikitext": {"word_perplexity,none": 9.0}}
    edit_results(tmp_path, results=results, **{"n-samples": dict.fromkeys(names, counts)})
    scores = read_scores(tmp_path)
    assert (scores.tasks["hellaswag"].metric, scores.tasks["hellaswag"].correct) == ("acc_norm", 2)
    assert (scores.tasks["gsm8k"].metric, scores.tasks["gsm8k"].correct) == ("exact_match", 1)
    assert scores.skipped == ("wikitext",)


@pytest.mark.parametrize("value", ["nan", "-inf"])
def test_non_finite_log_likelihoods_are_seen(tmp_path, value):
    write_lm_eval(tmp_path, {"piqa": [True, False]})
    (file,) = tmp_path.glob("samples_*")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1]["filtered_resps"][0][0] = value
    file.write_text("\n".join(map(json.dumps, rows)))
    assert read_scores(tmp_path).tasks["piqa"].finite is False


def _cut_samples(path):
    (file,) = path.glob("samples_*")
    file.write_text(file.read_text()[:-30])


def _drop_a_sample(path):
    (file,) = path.glob("samples_*")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))


def _repeat_a_sample(path):
    (file,) = path.glob("samples_*")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:-1], lines[0]]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut_samples, r"samples_.*line 3: not a JSON object"),
        (_drop_a_sample, "not of one evaluation"),
        (_repeat_a_sample, "stands twice"),
        (lambda path: next(path.glob("results_*")).write_text('{"results": {'), "not JSON"),
        (lambda path: next(path.glob("results_*")).write_text('{"results": {}, "versions": {}}'), "n-samples"),
        (lambda path: next(path.glob("results_*")).unlink(), r"no results_\*\.json"),
        (lambda path: edit_results(path, results={}), "not in 'results'"),
    ],
)
def test_damaged_files_are_named_in_one_line(tmp_path, damage, message):
    write_lm_eval(tmp_path, {"piqa": [True, True, False]})
    damage(tmp_path)
    with pytest.raises(BadInputError, match=message) as caught:
        read_scores(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_share_that_is_no_count_is_refused(tmp_path):
    write_lm_eval(tmp_path, {"piqa": [True, False]}, samples=False)
    edit_results(tmp_path, results={"piqa": {"acc,none": 0.3}})
    with pytest.raises(BadInputError, match="not a number of right answers"):
        read_scores(tmp_path)


def test_rules_prefixes_overrides_and_errors(tmp_path):
    rules = benchmark_rules()
    assert rules.chance_of("blimp_causative") == 0.5
    assert rules.chance_of("unheard_of") is None
    assert rules.with_chance({"unheard_of": 0.1}).chance_of("unheard_of") == 0.1
    assert rules.metric("piqa", {"acc", "acc_norm"}) == "acc"
    assert rules.metric("openbookqa", {"acc"}) is None  # its own metric or none: never a silent other one
    file = tmp_path / "rules.yaml"
    file.write_text("default_metrics: [acc]\nmetrics: {}\nchance: {piqa: 2}\n")
    with pytest.raises(BadInputError, match=r"rules.yaml: chance\.piqa"):
        read_benchmark_rules(file)

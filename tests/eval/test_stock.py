"""lm-eval's own tasks on local items: validated before anything is trained, evaluated as the generated suite is."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import BadInputError, WorkFailedError
from configs.loader import load_config
from configs.schema import RunConfig
from eval.launch import check_suite, evaluate_models, evaluations_to_do, prepare_benchmarks
from eval.results import read_scores
from tests.shared_data import SHARED, needs_shared_data

REFERENCE = Path(__file__).parents[2] / "configs" / "references" / "tinyworld-434k"
ITEMS = 6
MANY = 3000  # `datasets` writes a thousand rows at once


def _bundle(directory: Path, word: str = "hammer", **keys: Any) -> Path:
    rows = [{"goal": f"to open the {n}", "sol1": f"use a {word}", "sol2": "wait", "label": n % 2} for n in range(ITEMS)]
    path = directory / "bundle" / "items.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry: dict[str, Any] = {"dataset_path": "json", "dataset_name": None, "training_split": None, **keys}
    override = {"piqa": {**entry, "dataset_kwargs": {"data_files": {"validation": "items.jsonl"}}}}
    (path.parent / "lm_eval_overrides.json").write_text(json.dumps(override))
    return path.parent


def _config(bundle: Path | None, *overrides: str) -> RunConfig:
    suite = ("evaluation.suite=lm_eval", "evaluation.tasks=[piqa]", "evaluation.limit=4")
    return load_config("smoke", (*suite, f"offline={bundle or 'null'}", *overrides))


def test_items_are_found_pinned_evaluated_and_not_done_again(tmp_path: Path) -> None:
    config, benchmarks, output = _config(_bundle(tmp_path)), tmp_path / "benchmarks", tmp_path / "eval" / "original"
    tasks = prepare_benchmarks(config, benchmarks)
    assert list(tasks) == ["piqa"]
    jobs = evaluations_to_do({REFERENCE: output}, benchmarks, tasks, config)
    evaluate_models(jobs, config, lambda share: None)
    scores = read_scores(output, side="original").tasks["piqa"]
    assert (scores.n_items, scores.n_shot, scores.metric) == (4, 0, "acc")
    (results,) = output.glob("results_*.json")
    assert json.loads(results.read_text())["n-samples"]["piqa"] == {"original": ITEMS, "effective": 4}
    assert json.loads((benchmarks / "stock.json").read_text())["tasks"]["piqa"]["items"] == ITEMS
    assert evaluations_to_do({REFERENCE: output}, benchmarks, prepare_benchmarks(config, benchmarks), config) == []
    shots = _config(_bundle(tmp_path), "evaluation.num_fewshot_of={piqa: 1}")
    assert evaluations_to_do({REFERENCE: output}, benchmarks, prepare_benchmarks(shots, benchmarks), shots)
    _bundle(tmp_path, description="Choose what works.")  # the same items, asked otherwise
    again = evaluations_to_do({REFERENCE: output}, benchmarks, prepare_benchmarks(config, benchmarks), config)
    assert again
    assert "Choose what works." in tasks["piqa"].read_text()
    _bundle(tmp_path)
    assert evaluations_to_do({REFERENCE: output}, benchmarks, prepare_benchmarks(config, benchmarks), config) == []
    _bundle(tmp_path, "key")  # other items in the same place
    assert evaluations_to_do({REFERENCE: output}, benchmarks, prepare_benchmarks(config, benchmarks), config)


def _hub_items(directory: Path, word: str) -> None:
    """Where `datasets` looks before it asks the hub for piqa's `baber/piqa`, from this working directory."""
    items = _bundle(directory, word) / "items.jsonl"
    for split in ("train", "validation"):
        shutil.copy(items, directory / "baber" / "piqa" / f"{split}.jsonl")


def test_items_without_a_bundle_are_loaded_anew_and_stay_those_that_were_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is gone, or another, is named before training; what changes after that is not evaluated."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    (tmp_path / "baber" / "piqa").mkdir(parents=True)
    _hub_items(tmp_path, "hammer")
    config, benchmarks, output = _config(None), tmp_path / "benchmarks", tmp_path / "eval" / "original"
    jobs = evaluations_to_do({REFERENCE: output}, benchmarks, prepare_benchmarks(config, benchmarks), config)
    before = (benchmarks / "stock.json").read_text()
    _hub_items(tmp_path, "key")
    with pytest.raises(WorkFailedError, match="piqa: its items are others than those that the run began with"):
        evaluate_models(jobs, config, lambda share: None)
    with pytest.raises(BadInputError, match=r"piqa: the hub's items are others now .* name another --run-dir"):
        prepare_benchmarks(config, benchmarks)
    assert (benchmarks / "stock.json").read_text() == before
    shutil.rmtree(tmp_path / "baber")
    with pytest.raises(WorkFailedError, match="piqa: its items cannot be loaded"):
        prepare_benchmarks(config, benchmarks)


def test_items_that_could_not_be_written_whole_leave_those_of_before(tmp_path: Path) -> None:
    """A disk that fills, or here a row that is no JSON, after many that were written."""
    from datasets import Dataset

    from eval.harness import export

    class Task:
        config = SimpleNamespace(task="piqa")

        def __init__(self, *ends: Any) -> None:
            self.dataset = {"validation": Dataset.from_dict({"goal": [*["open"] * MANY, *ends]})}

        def get_config(self, key: str) -> str | None:
            return "validation" if key == "validation_split" else None

    export(Task("whole"), tmp_path, {})
    (path,) = (tmp_path / "benchmarks" / "piqa").iterdir()
    before = path.read_bytes()
    assert before.count(b"\n") == MANY + 1
    broken = Task()
    broken.dataset["validation"] = Dataset.from_dict({"goal": [*[b"open"] * MANY, b"\xff"]})
    with pytest.raises(UnicodeDecodeError):
        export(broken, tmp_path, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


TEXTS = """
task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}}}
test_split: test
description: "Answer what is asked.\\n\\n"
"""
KINDS = {
    "choice": """
output_type: multiple_choice
doc_to_text: "Q: {{q}}\\nA:"
doc_to_choice: "{{c}}"
doc_to_target: 1
""",
    "varying": """
output_type: multiple_choice
doc_to_text: 0
doc_to_choice: "{{c}}"
doc_to_target: "is {{q}}"
""",
    "target": """
output_type: loglikelihood
doc_to_text: "{{q}}"
doc_to_target: " {{c[0]}}"
""",
    "generated": """
output_type: generate_until
doc_to_text: "Q: {{q}}\\nA:"
doc_to_target: "{{c}}"
generation_kwargs: {until: ["."]}
""",
    "rolling": """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{q}}"
""",
}


def test_the_texts_of_an_item_are_what_a_model_is_shown(tmp_path: Path) -> None:
    """Of every kind of lm-eval's tasks; the other field and the description are no part of the item."""
    from lm_eval.tasks import TaskManager

    from eval.harness import write_texts

    (tmp_path / "items.jsonl").write_text(json.dumps({"q": "why", "c": ["so", "not so"], "other": "source"}) + "\n")
    for kind, rest in KINDS.items():
        (tmp_path / f"{kind}.yaml").write_text(TEXTS.format(task=kind, items=tmp_path / "items.jsonl") + rest)
    loaded = TaskManager(include_path=str(tmp_path), include_defaults=False).load(list(KINDS))["tasks"]
    shown = {}
    for kind in KINDS:
        write_texts(loaded[kind], tmp_path / "texts" / f"{kind}.jsonl")
        shown[kind] = json.loads((tmp_path / "texts" / f"{kind}.jsonl").read_text())
    assert shown == {
        "choice": {"texts": ["Q: why\nA: so", "Q: why\nA: not so"]},
        "varying": {"texts": ["so is why", "not so is why"]},
        "target": {"texts": ["why so"]},
        "generated": {"texts": ["Q: why\nA: so", "Q: why\nA: not so"]},
        "rolling": {"texts": ["why"]},
    }


def test_a_task_whose_items_are_nowhere_is_named_before_training(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path)
    with pytest.raises(BadInputError, match=r"sciq: offline: .*bundle does not have its items; `replibench fetch"):
        prepare_benchmarks(_config(bundle, "evaluation.tasks=[piqa, sciq]"), tmp_path / "benchmarks")
    (bundle / "items.jsonl").unlink()
    with pytest.raises(BadInputError, match=r"bundle: lacks .*items.jsonl, the items of piqa"):
        check_suite(_config(bundle))
    with pytest.raises(BadInputError, match=r"nowhere: has no lm_eval_overrides.json, so no benchmarks"):
        check_suite(_config(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("evaluation.suite=lm_eval",), "suite lm_eval needs `tasks`"),
        (("evaluation.tasks=[piqa]",), "`tasks` is of suite lm_eval, and `suite` is tinyworld"),
        (("evaluation.limit=5",), "`limit` is of suite lm_eval"),
        (("evaluation.suite=lm_eval", "evaluation.tasks=[piqa, piqa]"), "a task stands twice"),
        (
            ("evaluation.suite=lm_eval", "evaluation.tasks=[piqa]", "evaluation.items.facts=9"),
            "`items` is of suite tiny",
        ),
    ],
)
def test_keys_of_the_other_suite_are_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        load_config("smoke", overrides)


@needs_shared_data
def test_a_real_model_on_real_benchmarks(tmp_path: Path) -> None:
    """stories260K on eight items of five: where it answers, the file's gold decides."""
    names = ("lambada_openai", "hellaswag", "piqa", "arc_easy", "blimp_adjunct_island")
    config = _config(SHARED, f"evaluation.tasks=[{', '.join(names)}]", "evaluation.limit=8")
    model, output = SHARED / "checkpoints" / "stories260K" / "hf", tmp_path / "eval" / "original"
    tasks = prepare_benchmarks(config, tmp_path / "benchmarks")
    evaluate_models(evaluations_to_do({model: output}, tmp_path / "benchmarks", tasks, config), config, lambda s: None)
    scores = read_scores(output, side="original").tasks
    assert set(scores) == set(names)
    assert {scores[name].n_items for name in names} == {8}
    rows = [json.loads(line) for line in (SHARED / "benchmarks" / "piqa" / "validation.jsonl").open()][:8]
    (samples,) = output.glob("samples_piqa_*.jsonl")
    answered = [json.loads(line) for line in samples.read_text().splitlines()]
    assert [sample["doc"]["goal"] for sample in answered] == [row["goal"] for row in rows]
    for sample, row in zip(answered, rows, strict=True):
        best = max((0, 1), key=lambda n, sample=sample: float(sample["filtered_resps"][n][0]))  # type: ignore[misc]
        assert sample["acc"] == float(best == int(row["label"]))


def test_a_run_on_files_is_not_judged_on_the_generated_suite() -> None:
    config = load_config("smoke", ("data={sources: [{path: novels/*.txt}]}", "calibration=null"))
    with pytest.raises(BadInputError, match=r"suite: tinyworld is of the generated world, .* set it to lm_eval"):
        check_suite(config)

"""The replica beside other seeds of the original's recipe."""

import random
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest
from scipy import stats

from configs.errors import BadInputError
from eval.judge import judge_files
from eval.verdict import Verdict
from report.verdict_terminal import verdict_markdown
from tests.eval.lm_eval_directory import edit_results, write_lm_eval

ITEMS = 400


def _run(path: Path, right: int, seed: int, tasks: Sequence[str] = ("piqa",), **options: object) -> Path:
    answers = [True] * right + [False] * (ITEMS - right)
    random.Random(seed).shuffle(answers)
    said = dict.fromkeys(tasks, answers)
    return write_lm_eval(path, said, seed=seed, model=path.name, **options)  # type: ignore[arg-type]


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Original, replica, and three controls."""
    return [_run(tmp_path / f"run{at}", right, at) for at, right in enumerate((300, 312, 304, 296, 290))]


def _judged(runs: list[Path]) -> Verdict:
    return judge_files(runs[0], [runs[1]], beside=runs[2:])


def test_the_share_of_further_seeds_is_student_s(runs: list[Path]) -> None:
    """One new observation against k: the two-sample t test of one against k is the same thing."""
    (row,) = _judged(runs).beside_controls
    percentages = [100 * right / ITEMS for right in (300, 304, 296, 290)]
    assert row.runs == 4
    assert row.p_as_far == pytest.approx(stats.ttest_ind([78.0], percentages).pvalue)
    assert row.difference_pp == pytest.approx(78.0 - sum(percentages) / 4)
    assert row.sd_pp == pytest.approx(stats.tstd(percentages))
    assert (row.lowest, row.highest) == (0.725, 0.76)


def test_the_verdict_itself_is_of_the_original_alone(runs: list[Path]) -> None:
    with_them, without = _judged(runs), judge_files(runs[0], [runs[1]])
    assert with_them.model_copy(update={"beside_controls": ()}) == without
    assert "further seeds as far" in verdict_markdown(with_them)
    assert "further seeds as far" not in verdict_markdown(without)


def test_a_control_of_other_shots_or_a_copy_is_left_out_and_named(runs: list[Path], tmp_path: Path) -> None:
    shots = _run(tmp_path / "shots", 295, 9, n_shot=5)
    copy = _run(tmp_path / "copy", 304, 2)
    verdict = _judged([*runs, shots, copy])
    (row,) = verdict.beside_controls
    assert row.runs == 4
    said = [warning for warning in verdict.warnings if warning.startswith("control ")]
    assert len(said) == 2
    assert "shots: is left out: " in said[0]
    assert "copy: is left out: the same answers to the last bit as" in said[1]


def test_runs_of_unequal_benchmarks_are_compared_on_what_all_have(tmp_path: Path) -> None:
    """In whatever order they come; a copy is found by what it shares with the run that it is a copy of."""
    both = ("piqa", "sciq")
    original, replica = _run(tmp_path / "original", 300, 0, both), _run(tmp_path / "replica", 310, 1, both)
    controls = [_run(tmp_path / "piqa", 304, 2), _run(tmp_path / "both", 296, 3, both)]
    copy = _run(tmp_path / "copy", 296, 3, ("sciq",))
    for order in permutations(controls):
        verdict = judge_files(original, [replica], beside=[*order, copy])
        assert [(row.name, row.runs) for row in verdict.beside_controls] == [("piqa", 3)]
        assert any("copy: is left out: the same answers" in warning for warning in verdict.warnings)
    narrow = _run(tmp_path / "narrow", 310, 4)
    assert [row.name for row in judge_files(original, [narrow], beside=[controls[1]]).beside_controls] == ["piqa"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("pretrained=org/seed,revision=step1000,dtype=float32", None),
        ({"pretrained": "org/seed", "revision": "step1000"}, None),
        ("pretrained=org/seed,revision=step143000", "is of revision step143000, and the original is of step1000: see"),
        ({"pretrained": "org/seed"}, "does not say its revision, and the original is of step1000: see"),
    ],
)
def test_a_control_that_is_not_known_to_be_of_the_original_s_revision_is_warned_of(
    arguments: object, said: str | None, runs: list[Path]
) -> None:
    """It may have seen many times the tokens. It stays in: the original may be named by its commit."""
    for run in runs[2:]:
        edit_results(run, config={"model_args": arguments, "limit": None})
    verdict = judge_files(runs[0], [runs[1]], beside=runs[2:], revision="step1000")
    assert [row.runs for row in verdict.beside_controls] == [4]
    warnings = [warning for warning in verdict.warnings if warning.startswith("control ")]
    assert [line.partition(" that both")[0] for line in warnings] == [
        f"control {run}: {said}" for run in runs[2:] if said is not None
    ]
    assert not [warning for warning in _judged(runs).warnings if warning.startswith("control ")]


def test_runs_that_do_not_differ_measure_nothing(tmp_path: Path) -> None:
    same = [_run(tmp_path / f"run{at}", 300, at) for at in range(4)]
    (row,) = _judged(same).beside_controls
    assert (row.sd_pp, row.p_as_far) == (0, None)


def test_the_original_among_its_controls_is_refused(runs: list[Path]) -> None:
    with pytest.raises(BadInputError, match="is given twice"):
        judge_files(runs[0], [runs[1]], beside=[runs[0]])

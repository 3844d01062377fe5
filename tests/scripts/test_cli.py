"""Arguments, exit codes and error lines of the light commands, in this process."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.cli import app
from tests.eval.lm_eval_directory import write_lm_eval

runner = CliRunner()


@pytest.mark.parametrize(
    "command", ["run", "train", "evaluate", "compare", "calibrate", "estimate", "report", "extrapolate forecast"]
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = runner.invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: replibench {command}" in result.stdout


def test_estimate_answers_in_json_and_text() -> None:
    result = runner.invoke(app, ["estimate", "gpt3-175b", "--tokens", "300e9", "--format", "json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["six_n_d_all_flop"] == pytest.approx(3.14e23, rel=0.01)
    assert "3.14" in runner.invoke(app, ["estimate", "gpt3-175b"]).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing.yaml"], "nothing.yaml: no such file; presets:"),
        (["run", "smoke", "--set", "train.stepz=1"], "train.stepz: unknown key; did you mean 'steps'?"),
        (["run", "tinyworld-reference"], "needs a `reference` to compare with"),
        (["run", "smoke", "--set", "evaluation.items.fact=5"], "evaluation.items.fact: unknown benchmark; choices:"),
        (["estimate", "gpt3-175"], "gpt3-175"),
        (["estimate", "gpt3-175b", "--tokens", "0"], "--tokens: 0 is not a number of tokens"),
        (["estimate", "gpt3-175b", "--sequence-length", "4096"], "--sequence-length: "),
        (["estimate", "gpt3-175b", "--tokens", "inf"], "--tokens: inf is not a number of tokens"),
        (["estimate", "gpt3-175b", "--tokens", "nan"], "--tokens: nan is not a number of tokens"),
        (["compare", "a", "b"], "a: "),
        (["train", "smoke", "--run-dir", "/dev/null/x"], "--run-dir /dev/null/x: cannot be used"),
        (["run", "smoke", "--set", "calibration=nowhere.json"], "nowhere.json: no such file"),
        (["report", "nowhere"], "nowhere"),
        (["extrapolate", "forecast", "smoke", "--set", "forecast.cluster=h100-51"], "h100-51"),
        (
            ["calibrate", "smoke", "--controls", "half_stepz"],
            "unknown control 'half_stepz'; did you mean 'half_steps'?",
        ),
        (["calibrate", "smoke", "--controls", "half_steps:0"], "--controls half_steps:0: the runs after the colon"),
        (["calibrate", "smoke", "--controls", "half_steps,half_steps"], "--controls: half_steps stands twice"),
    ],
)
def test_bad_input_is_exit_2_and_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    leftovers = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]
    assert not leftovers


@pytest.mark.parametrize(("correct", "code"), [(520, 0), (521, 1)])
def test_compare_exits_by_the_literal_verdict(correct: int, code: int, tmp_path: Path) -> None:
    for side, n_correct in (("original", 500), ("replica", correct)):
        answers = [i < n_correct for i in range(1000)]
        write_lm_eval(tmp_path / side, {"some_task": answers})
    out = tmp_path / "verdict.json"
    result = runner.invoke(
        app, ["compare", str(tmp_path / "original"), str(tmp_path / "replica"), "--output", str(out)]
    )
    assert result.exit_code == code, result.output
    assert json.loads(out.read_text())["benchmarks"][0]["difference_pp"] == pytest.approx((correct - 500) / 10)

"""Arguments, exit codes and error lines of the light commands, in this process."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.cli import app, main
from tests.eval.lm_eval_directory import write_lm_eval

runner = CliRunner()


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "train",
        "evaluate",
        "compare",
        "calibrate",
        "estimate",
        "report",
        "extrapolate forecast",
        "init",
        "doctor",
        "fetch",
    ],
)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = runner.invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: replibench {command}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing.yaml"], "nothing.yaml: no such file; presets:"),
        (["run", "smoke", "--set", "train.stepz=1"], "train.stepz: unknown key; did you mean 'steps'?"),
        (["run", "tinyworld-reference"], "needs a `reference` to compare with"),
        (["run", "smoke", "--set", "evaluation.items.fact=5"], "evaluation.items.fact: unknown benchmark; choices:"),
        (["compare", "a", "b"], "a: "),
        (["train", "smoke", "--run-dir", "/dev/null/x"], "--run-dir /dev/null/x: cannot be used"),
        (["run", "pythia-14m"], "configs/runs/corpus/*.jsonl.zst: no such file"),
        (["run", "pythia-14m", "--set", "offline=nowhere"], "offline: nowhere: no such directory"),
        (["run", "smoke", "--set", "calibration=nowhere.json"], "nowhere.json: no such file"),
        (["report", "nowhere"], "nowhere"),
        (["extrapolate", "forecast", "--cluster", "h100-51"], "unknown cluster 'h100-51'; did you mean h100-512"),
        (["run", "smoke", "--set", "forecast.batch=7"], "a batch of 7 sequences is divided by no number of copies"),
        (["train", "smoke", "--set", "forecast.cluster=8xa100"], "unknown accelerator 'a100'"),
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["estimate"], "Missing option '--model'"),
        (["estimate", "--model", "gpt3-175b", "--micro-batch", "0"], "Invalid value for '--micro-batch': "),
        (["estimate", "--modle", "gpt3-175b"], "No such option: --modle"),
        (["estimate", "--model", "gpt3-175b", "--recompute", "some"], "Invalid value for '--recompute': "),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_a_wrong_flag_is_one_line_too(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["replibench", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {message}")
    assert told.count("\n") == 1

"""The `replibench` command as a user meets it: real processes, from a directory that is not ours."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.results import read_scores
from tests.train.tiny import ITEMS, losses, tiny_config, train_tiny

REPLIBENCH = str(Path(sys.executable).with_name("replibench"))
TIMEOUT_S = 300


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny trained original."""
    directory = tmp_path_factory.mktemp("reference")
    train_tiny(directory / "run", tiny_config(directory, "gpt_neox", "train.seed=1"))
    return directory / "run" / "replica"


@pytest.fixture(scope="module")
def workplace(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's directory with files of the names of our rooms in it, and a run's configuration."""
    directory = tmp_path_factory.mktemp("user")
    for name in ("train.py", "torch.py", "eval/__init__.py", "configs/__init__.py", "tinyworld/__init__.py"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("raise SystemExit('the user\\'s own file was imported')\n")
    tree = {
        "name": "replica",
        "reference": str(reference),
        "data": {"documents": 16_000, "held_out_documents": 60},
        "train": {
            "steps": 300,
            "device": "cpu",
            "sequence_length": 32,
            "micro_batch_size": 8,
            "data_parallel_size": 2,
            "log_every_steps": 10,
            "seed": 2,
            "optimizer": {"learning_rate": 3e-3},
            "checkpoint": {"every_steps": 50},
        },
        "evaluation": {"items": dict.fromkeys(ITEMS, 40)},
        "forecast": {"samples": 2000},
    }
    (directory / "run.yaml").write_text(yaml.safe_dump(tree))
    return directory


def test_pythonpath_does_not_bring_the_users_rooms_in(workplace: Path) -> None:
    done = subprocess.run(
        [REPLIBENCH, "estimate", "--model", "gpt3-175b"],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _start(workplace: Path, *arguments: str, limit_bytes: int | None = None) -> "subprocess.Popen[str]":
    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell starts what runs in its background deaf to it
        if limit_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    return subprocess.Popen(
        [REPLIBENCH, *arguments],
        cwd=workplace,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,  # noqa: PLW1509 (no threads here)
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


def _run(workplace: Path, *arguments: str, **options: Any) -> tuple[int, str, str]:
    process = _start(workplace, *arguments, **options)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, out, err


def _error_line(err: str) -> str:
    """The one line that starts with 'error:'; nothing that looks like a traceback beside it."""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    return lines[0]


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def _logged_steps(run_dir: Path) -> int:
    metrics = run_dir / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.is_file() else 0


@pytest.fixture(scope="module")
def undisturbed(workplace: Path) -> tuple[int, str, Path]:
    """The whole chain once: exit code, stdout, run directory."""
    code, out, err = _run(workplace, "run", "run.yaml", "--run-dir", "whole", "--format", "json")
    assert code in (0, 1), err
    return code, out, workplace / "whole"


def test_run_goes_from_random_weights_to_a_report(undisturbed: tuple[int, str, Path]) -> None:
    code, out, run_dir = undisturbed
    verdict = json.loads(out)  # stdout is the record and nothing else
    assert verdict == json.loads((run_dir / "verdict.json").read_text())
    assert verdict["literal"]["verdict"] == {0: "pass", 1: "fail"}[code]
    assert len(verdict["benchmarks"]) == 7
    assert all(b["method"].startswith("paired") for b in verdict["benchmarks"])
    files = ("config.yaml", "manifest.json", "metrics.jsonl", "run.json", "forecast.json", "report.html", "report.md")
    assert all((run_dir / name).is_file() for name in files)
    for side in ("original", "replica"):
        scores = read_scores(run_dir / "eval" / side)
        assert {task.n_items for task in scores.tasks.values()} == {40}
    assert json.loads((run_dir / "run.json").read_text())["held_out_loss"]["original"] > 0


def test_a_second_run_does_nothing_again(undisturbed: tuple[int, str, Path], workplace: Path) -> None:
    code, out, run_dir = undisturbed
    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("results_*.json")}
    before[run_dir / "run.json"] = (run_dir / "run.json").stat().st_mtime_ns
    assert _run(workplace, "run", "run.yaml", "--run-dir", "whole", "--format", "json")[:2] == (code, out)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_interrupted_then_killed_it_goes_on_and_ends_the_same(
    undisturbed: tuple[int, str, Path], workplace: Path
) -> None:
    run_dir = workplace / "disturbed"
    process = _start(workplace, "run", "run.yaml", "--run-dir", "disturbed")
    _wait_for(lambda: _logged_steps(run_dir) >= 6, "no progress")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert "interrupted; a checkpoint is written at step" in err
    assert "Traceback" not in err

    reached = _logged_steps(run_dir)
    process = _start(workplace, "run", "run.yaml", "--run-dir", "disturbed")
    _wait_for(lambda: _logged_steps(run_dir) >= reached + 5, "no progress after the interruption")
    process.kill()
    process.communicate()
    # at once: the command itself waits for what is left of the one that was killed
    code, _, err = _run(workplace, "run", "run.yaml", "--run-dir", "disturbed", "--format", "json")
    assert code == undisturbed[0], err
    assert losses(run_dir) == losses(undisturbed[2])
    ours, theirs = (json.loads((d / "verdict.json").read_text()) for d in (run_dir, undisturbed[2]))
    assert ours["benchmarks"] == theirs["benchmarks"]
    record = json.loads((run_dir / "run.json").read_text())
    assert record["restarts"] == 2
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 30  # nobody else wrote into it


def test_a_removed_layer_is_invalid_and_nothing_is_trained(workplace: Path) -> None:
    arguments = ("run", "run.yaml", "--run-dir", "layer", "--set", "architecture.num_hidden_layers=1")
    code, out, err = _run(workplace, *arguments)
    assert code == 2, err
    assert "num_hidden_layers" in out
    verdict = json.loads((workplace / "layer" / "verdict.json").read_text())
    assert verdict["literal"]["verdict"] == "invalid"
    assert verdict["evidence"]["verdict"] == "invalid"
    assert not (workplace / "layer" / "run.json").exists()
    assert (workplace / "layer" / "report.html").is_file()


def test_a_diverging_run_is_one_line_with_rank_and_mend(workplace: Path) -> None:
    arguments = ("train", "run.yaml", "--run-dir", "nan", "--set", "train.optimizer.learning_rate=1e30")
    code, _, err = _run(workplace, *arguments)
    assert code == 3
    line = _error_line(err)
    assert "rank" in line
    assert re.search(r"step \d+: its loss is (nan|inf), the 4\. step in a row that had to be skipped", line)
    assert "there is no checkpoint yet; a lower train.optimizer.learning_rate may help" in line


def test_a_disk_that_fills_up_is_one_line_and_the_run_goes_on_later(workplace: Path) -> None:
    # A limit on file size stands for the full disk: the corpus fits, the first checkpoint does not.
    arguments = ("train", "run.yaml", "--run-dir", "full", "--set", "train.steps=60", "--set", "data.documents=4000")
    code, _, err = _run(workplace, *arguments, limit_bytes=200_000)
    assert code == 3
    assert "cannot write checkpoint" in _error_line(err)
    assert not list((workplace / "full" / "checkpoints").glob("step-*"))
    code, _, err = _run(workplace, *arguments)
    assert code == 0, err


def test_evaluate_alone_takes_other_items_and_run_comes_back(
    undisturbed: tuple[int, str, Path], workplace: Path
) -> None:
    code, out, run_dir = undisturbed
    fewer = ("evaluate", "run.yaml", "--run-dir", "whole", "--set", "evaluation.items.facts=20")
    assert _run(workplace, *fewer)[0] == 0
    assert read_scores(run_dir / "eval" / "replica").tasks["tinyworld_facts"].n_items == 20
    again = _run(workplace, "run", "run.yaml", "--run-dir", "whole", "--format", "json")
    assert again[:2] == (code, out)


def test_calibrate_trains_seeds_and_controls_once(workplace: Path) -> None:
    arguments = ("calibrate", "run.yaml", "--seeds", "2", "--controls", "half_steps", "--control-seeds", "1")
    options = ("--run-dir", "calibration", "--set", "train.steps=60", "--format", "json")
    code, out, err = _run(workplace, *arguments, *options)
    assert code == 0, err
    result = json.loads(out)
    assert result == json.loads((workplace / "calibration" / "calibration.json").read_text())
    assert len(result["good"]["pairs"]) == 1
    assert [(group["recipe"], len(group["pairs"])) for group in result["controls"]] == [("half_steps", 2)]
    assert len(losses(workplace / "calibration" / "half_steps-101")) == 3  # 30 of 60 steps, logged every ten
    members = sorted((workplace / "calibration").glob("*/run.json"))
    before = [path.stat().st_mtime_ns for path in members]
    assert len(before) == 3
    assert _run(workplace, *arguments, *options)[:2] == (0, out)
    assert [path.stat().st_mtime_ns for path in members] == before

"""What the nodes of an attempt say to each other and to the scheduler before a training, and after it."""

import json
import shutil
import threading
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import node, stages
from tests.train.tiny import ARCHITECTURES
from train import exits, preflight
from train.exits import Exit
from train.place import Place

Usage = namedtuple("Usage", "total used free")
EARLY = -1
ASKED_TO_STOP = "requeue"  # the kind of an attempt whose training ended without run.json


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a run whose preparation is done and whose training ends at once."""

    def prepare(settings: Any, run_dir: Path, screen: Any) -> None:
        (run_dir / "model.json").write_text(json.dumps(ARCHITECTURES["gpt_neox"]))
        shutil.copy(tmp_path / "it.yaml", run_dir / "config.yaml")

    monkeypatch.setattr(stages, "prepare", prepare)
    monkeypatch.setattr(node, "launch", lambda *unused: None)
    monkeypatch.setattr(node, "OTHERS_S", 1.0)
    tree = {
        "name": "it",
        "architecture": ARCHITECTURES["gpt_neox"],
        "train": {"device": "cpu", "sequence_length": 32, "micro_batch_size": 2, "checkpoint": {"keep_last": 2}},
    }
    (tmp_path / "it.yaml").write_text(yaml.safe_dump(tree))
    return str(tmp_path / "it.yaml")


def attempt(config: str, run_dir: Path, nodes: int = 1) -> tuple[Exit, set[int]]:
    """How it ended, and the exit codes of its nodes; EARLY of one that ends, and the others with it, before a word."""
    names, codes = ",".join(f"n{rank + 1}" for rank in range(nodes)), set()
    words = [config, "--run-dir", str(run_dir), "--attempt", "9-0", "--names", names, "--max-requeues", "1"]

    def start(rank: int) -> None:
        code = node.main([*words, "--rank", str(rank)])
        codes.add(code if exits.exits(run_dir) else EARLY)

    threads = [threading.Thread(target=start, args=(rank,)) for rank in range(nodes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (ended,) = exits.exits(run_dir)
    return ended, codes


@pytest.mark.parametrize(("steps", "kind"), [((), "node_failure"), ((1, 2), ASKED_TO_STOP), ((500,), "node_failure")])
def test_checkpoints_that_will_make_room_need_none(
    steps: tuple[int, ...], kind: str, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in steps:
        (tmp_path / "run" / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    tree = yaml.safe_load(Path(config).read_text())
    tree["train"]["checkpoint"]["keep_every_steps"] = 500  # that one is kept for good
    Path(config).write_text(yaml.safe_dump(tree))
    size = preflight.BYTES_PER_PARAMETER * node.from_hf_config(ARCHITECTURES["gpt_neox"]).parameter_counts().total
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage(0, 0, int(1.5 * size)))
    ended, _ = attempt(config, tmp_path / "run")
    assert ended.kind == kind, ended.message


def failing(of: int, monkeypatch: pytest.MonkeyPatch, name: str = "_facts") -> None:
    """What the pre-flight finds out on the node of rank `of` ends in an error."""
    real: Callable[..., Any] = getattr(preflight, name)

    def find(*given: Any) -> Any:
        place = next(each for each in given if isinstance(each, Place))
        if place.rank == of:
            raise preflight_error(name)
        return real(*given)

    monkeypatch.setattr(preflight, name, find)


def preflight_error(name: str) -> Exception:
    """NVML's own, or ours for a directory that cannot be written."""
    return RuntimeError("GPU is lost") if name == "_facts" else node.WorkFailedError("cannot write node-1.json")


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_that_cannot_look_at_itself_is_the_one_that_is_named(
    rank: int, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(rank, monkeypatch)
    ended, codes = attempt(config, tmp_path / "run", nodes=2)
    assert (ended.kind, codes) == ("node_failure", {75})
    assert f"n{rank + 1}: cannot say what it has: RuntimeError: GPU is lost" in ended.message


def test_a_node_that_cannot_write_waits_until_it_is_missed(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = preflight.check
    monkeypatch.setattr(node, "OTHERS_S", 0.05)
    monkeypatch.setattr(preflight, "WAIT_S", 5.0)
    monkeypatch.setattr(preflight, "check", lambda *given: real(*given, wait_s=1.0))
    failing(1, monkeypatch, "report")
    ended, codes = attempt(config, tmp_path / "run", nodes=2)
    assert (ended.kind, codes) == ("node_failure", {75})
    assert "n2 did not report" in ended.message


def test_nobody_reports_before_the_run_is_held_and_prepared(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, seen, real = stages.prepare, [], preflight.report

    def prepare(*given: Any) -> None:
        seen.append("prepared")
        prepared(*given)

    def report(run_dir: Path, directory: Path, place: Place, devices: int) -> None:
        seen.append(place.name)
        real(run_dir, directory, place, devices)

    monkeypatch.setattr(stages, "prepare", prepare)
    monkeypatch.setattr(preflight, "report", report)
    ended, codes = attempt(config, tmp_path / "run", nodes=2)
    assert (ended.kind, codes) == (ASKED_TO_STOP, {75})
    assert seen[0] == "prepared"
    assert {*seen[1:]} == {"n1", "n2"}

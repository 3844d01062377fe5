"""TensorBoard and W&B get the lines of metrics.jsonl, each once, and can neither end nor delay a training."""

import sys
import time
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.errors import BadInputError
from configs.schema import RunConfig
from tests.train.tiny import metrics, tiny_config, train_tiny
from train import events, trackers
from train.attempts import Attempts
from train.prepare import prepare_run
from train.trackers import Feed, open_trackers

DATA = {"documents": 1000, "held_out_documents": 20}
SHORT = ("train.steps=6", "train.data_parallel_size=2", "train.micro_batch_size=4")


def attempt(run_dir: Path, config: RunConfig, from_step: int, steps: range) -> None:
    """What an attempt that goes on from `from_step` does with the lines of `steps`; the loss says which one it was."""
    attempts = Attempts.begin(run_dir, from_step, time.time(), 1, None, {}, write=True)
    feeds = open_trackers(config, run_dir, from_step, attempts)
    with (run_dir / "metrics.jsonl").open("a") as stream:
        for step in steps:
            line = {"step": step, "loss": 10.0 * attempts.restarts + step, "grad_norm": None, "elapsed_s": 1.0 * step}
            stream.write(str(line).replace("'", '"').replace("None", "null") + "\n")
            for feed in feeds:
                feed.log(line)
    for feed in feeds:
        feed.close()


class FakeWandB(SimpleNamespace):
    """What the tracker uses of W&B: keeps what it is told."""

    def __init__(self, *, fails: str = "") -> None:
        super().__init__(fails=fails, begun=[], told=[], finished=0)

    def Settings(self, **options: Any) -> dict[str, Any]:  # noqa: N802
        return options

    def init(self, **options: Any) -> "FakeWandB":
        if self.fails == "init":
            raise ConnectionError("api.wandb.ai: no route to host\nand more")
        self.begun.append(options)
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        if self.fails == "log" and step == 2:
            raise ValueError
        self.told.append((step, values))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> FakeWandB:
    """W&B, as if it were installed."""
    wandb, version = FakeWandB(), metadata.version
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(metadata, "version", lambda name: "1" if name == "wandb" else version(name))
    return wandb


def test_wandb_goes_on_in_the_same_run_and_is_told_each_step_once(installed: FakeWandB, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "gpt_neox", "train.trackers=[wandb]")
    attempt(tmp_path, config, 0, range(1, 6))
    attempt(tmp_path, config, 2, range(3, 8))  # died after step 5, with a checkpoint of step 2
    first, second = installed.begun
    assert first == second
    assert first["resume"] == "allow"
    assert first["dir"] == tmp_path
    assert first["config"]["train"]["steps"] == 50
    assert [step for step, _ in installed.told] == [1, 2, 3, 4, 5, 6, 7]
    assert installed.told[5] == (6, {"loss": 16.0, "elapsed_s": 6.0})  # a figure that a step has not is left out
    assert installed.finished == 2
    other = tmp_path / "other"
    other.mkdir()
    attempt(other, config, 0, range(1, 2))
    assert installed.begun[2]["id"] != first["id"]


@pytest.mark.parametrize(("fails", "step", "words"), [("init", 0, "no route to host"), ("log", 2, "ValueError")])
def test_what_a_tracker_cannot_do_is_said_once_and_training_goes_on(
    fails: str, step: int, words: str, installed: FakeWandB, tmp_path: Path
) -> None:
    installed.fails = fails
    attempt(tmp_path, tiny_config(tmp_path, "gpt_neox", "train.trackers=[wandb]"), 0, range(1, 6))
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3, 4, 5]
    (event,) = events.read(tmp_path)
    assert (event.kind, event.step) == ("tracker_failed", step)
    assert event.message.startswith("wandb is no longer told: ")
    assert event.message.endswith(words)
    if fails == "init":  # the next attempt can, and has no lines to leave out
        installed.fails = ""
        attempt(tmp_path, tiny_config(tmp_path, "gpt_neox", "train.trackers=[wandb]"), 2, range(3, 6))
        assert [told for told, _ in installed.told] == [3, 4, 5]


def test_a_tracker_that_hangs_delays_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "CLOSING_S", 0.1)
    feed = Feed("hanging", lambda: time.sleep(5), tmp_path)  # type: ignore[arg-type, return-value]
    start = time.monotonic()
    for step in range(1000):
        feed.log({"step": step})
    feed.close()
    assert 0.1 <= time.monotonic() - start < 3


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = metadata.version

    def without(name: str) -> str:
        if name == "wandb":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without)
    config = tiny_config(tmp_path, "gpt_neox", "train.trackers=[wandb]")
    with pytest.raises(
        BadInputError, match=r"^train\.trackers: wandb is not installed; pip install 'replibench\[wandb\]'$"
    ):
        prepare_run(config, tmp_path / "run", lambda text: None)
    assert not (tmp_path / "run" / "data").exists()


def test_trackers_may_change_between_attempts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata, "version", lambda name, version=metadata.version: "1" if name == "wandb" else version(name)
    )
    config = tiny_config(tmp_path, "gpt_neox", *SHORT, data=DATA)
    first = prepare_run(config, tmp_path / "run", lambda text: None)
    now = tiny_config(tmp_path, "gpt_neox", *SHORT, "train.trackers=[wandb]", data=DATA)
    assert prepare_run(now, tmp_path / "run", lambda text: None) == first


def shown(run_dir: Path, name: str) -> list[tuple[int, float]]:
    """Step and value of what TensorBoard itself finds."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    board = accumulator.EventAccumulator(str(run_dir / "tensorboard")).Reload()
    return [(event.step, event.value) for event in board.Scalars(name)]


def test_tensorboard_shows_what_came_again_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = tiny_config(tmp_path, "gpt_neox", "train.trackers=[tensorboard]")
    attempt(tmp_path, config, 0, range(1, 6))
    attempt(tmp_path, config, 2, range(3, 8))
    attempt(tmp_path, config, 6, range(7, 9))
    assert shown(tmp_path, "loss") == [(1, 1), (2, 2), (3, 13), (4, 14), (5, 15), (6, 16), (7, 27), (8, 28)]


def test_tensorboard_has_the_lines_of_a_training(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run_dir = tmp_path / "run"
    lines = train_tiny(run_dir, tiny_config(tmp_path, "gpt_neox", *SHORT, "train.trackers=[tensorboard]", data=DATA))
    assert len(list((run_dir / "tensorboard").iterdir())) == 1  # of rank 0 alone
    for name in set(lines[0]) - {"step"}:
        assert shown(run_dir, name) == [(line["step"], pytest.approx(line[name])) for line in lines]
    assert len(lines) == 6


def test_wandb_itself_keeps_one_run_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = tiny_config(tmp_path, "gpt_neox", "train.trackers=[wandb]")
    attempt(tmp_path, config, 0, range(1, 4))
    time.sleep(1.1)  # its directories are named by the second
    attempt(tmp_path, config, 2, range(3, 6))
    run_id = (tmp_path / "wandb" / "id").read_text()
    assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))) == 2
    assert events.read(tmp_path) == []

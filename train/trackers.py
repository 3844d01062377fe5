"""The lines of metrics.jsonl shown elsewhere too: TensorBoard, W&B. Views: whatever fails there, training goes on."""

import os
import secrets
import threading
from collections.abc import Callable, Iterable
from importlib import import_module, metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from configs.errors import BadInputError
from configs.files import write_text
from configs.schema import RunConfig
from train import events
from train.attempts import Attempts

WANDB_PATIENCE_S = 30  # for its servers, at the start and at the end
CLOSING_S = 2 * WANDB_PATIENCE_S + 10  # how long the end of a run waits for a tracker


class Tracker(Protocol):
    """Where lines go."""

    def log(self, line: dict[str, Any]) -> None:
        """One line of metrics.jsonl."""

    def close(self) -> None:
        """There are no more."""


class TensorBoard:
    """Event files in `tensorboard/`."""

    def __init__(self, run_dir: Path, from_step: int) -> None:
        """What an earlier attempt wrote after `from_step` is purged: it comes again."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run_dir / "tensorboard"), purge_step=from_step + 1)

    def log(self, line: dict[str, Any]) -> None:
        """Written at once: after a kill, what is not written would not come again."""
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, line["step"])
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class WandB:
    """A run of W&B, the same one for all attempts: its id stands in `wandb/id`."""

    def __init__(self, run_dir: Path, config: RunConfig, reached: int) -> None:
        """`reached`: the last step that an earlier attempt logged; W&B has no purge, so it is not told it again."""
        import wandb

        path = run_dir / "wandb" / "id"
        path.parent.mkdir(exist_ok=True)
        known = path.read_text(encoding="utf-8") if path.is_file() else None
        self._told, run_id = (reached, known) if known else (0, secrets.token_hex(8))
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "replibench"),
            name=config.name,
            id=run_id,
            resume="allow",
            dir=run_dir,
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(
                console="off", silent=True, init_timeout=WANDB_PATIENCE_S, finish_timeout=WANDB_PATIENCE_S
            ),
        )
        write_text(path, run_id)  # not before: where it could not begin, it was told nothing

    def log(self, line: dict[str, Any]) -> None:
        """Unless it was told already."""
        if line["step"] > self._told:
            self._run.log(scalars(line), step=line["step"])

    def close(self) -> None:
        """Give it `WANDB_PATIENCE_S` to send what is left; `wandb sync` sends the rest."""
        self._run.finish()


class Feed:
    """Passes lines to one tracker in a thread of its own, so that training never waits for it."""

    def __init__(self, name: str, open_tracker: Callable[[], Tracker], run_dir: Path) -> None:
        self._name, self._open, self._run_dir = name, open_tracker, run_dir
        self._lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def log(self, line: dict[str, Any]) -> None:
        """Pass one line of metrics.jsonl on."""
        self._lines.put(line)

    def close(self) -> None:
        """Wait until the tracker has all lines, for `CLOSING_S` at most."""
        self._lines.put(None)
        self._thread.join(CLOSING_S)

    def _work(self) -> None:
        step = 0
        try:
            tracker = self._open()
            while (line := self._lines.get()) is not None:
                step = line["step"]
                tracker.log(line)
            tracker.close()
        except Exception as error:  # whatever a library and its servers come up with
            words = (str(error).splitlines() or [type(error).__name__])[0]
            events.note(self._run_dir, step, "tracker_failed", f"{self._name} is no longer told: {words}")


def check_trackers(names: Iterable[str]) -> None:
    """Raises BadInputError where the package of a tracker is not installed."""
    for name in names:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            raise BadInputError(f"train.trackers: {name} is not installed; pip install 'replibench[{name}]'") from None


def open_trackers(config: RunConfig, run_dir: Path, from_step: int, attempts: Attempts) -> list[Feed]:
    """One for each of `train.trackers`, for the lines after `from_step`. Raises BadInputError as `check_trackers`."""
    names = dict.fromkeys(config.train.trackers)
    check_trackers(names)
    for name in names:
        import_module(name)  # here and not in two threads at once
    openers: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(run_dir, from_step),
        "wandb": lambda: WandB(run_dir, config, attempts.reached),
    }
    return [Feed(name, openers[name], run_dir) for name in names]


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """What of a line is drawn over its step; a figure that a step did not have is left out."""
    return {name: value for name, value in line.items() if name != "step" and value is not None}

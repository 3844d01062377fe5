"""How an attempt at a run ended: its class, the first real error with its rank and node, and whether to try again.

    attempts/ID/asked         the run is prepared, and the nodes are to say what they have
    attempts/ID/node-0.json   what a node found of itself (train/preflight.py)
    attempts/ID/go.json       the first node's word: the run is prepared and every node is fit, or why not
    attempts/ID/stop          a request for a checkpoint and an orderly end, where no signal can be sent
    attempts/ID/abandon       a machine of the run is gone, and the others shall not wait for it
    attempts/ID/failure-0.json, ended-0, stuck-0.json   a rank's last word (train/failures.py, train/watchdog.py)
    attempts/ID/exit.json     this record, by the first node or whoever finds that it could not write it

Plain files, no torch: the schedulers' scripts read this on any machine.
"""

import time
from pathlib import Path
from typing import Literal

from pydantic import Field

from configs.errors import BadInputError, InterruptedRunError, RequeueError, WorkFailedError
from configs.files import Record, read_record, write_record
from train.attempts import REACHED
from train.failures import ATTEMPTS, LOST_PEER, first_real, kind_of, left_in, node_name

ExitKind = Literal["finished", "requeue", "out_of_memory", "nan", "hang", "node_failure", "user_error", "error"]
# What another attempt may mend. Memory, numbers and configuration are the same the next time.
AGAIN: tuple[ExitKind, ...] = ("requeue", "hang", "node_failure")
FILE = "exit.json"


class Exit(Record):
    """attempts/ID/exit.json."""

    schema_: Literal["replibench.exit/1"] = Field("replibench.exit/1", alias="schema")
    attempt: str
    kind: ExitKind
    message: str
    rank: int | None = Field(None, description="of the first real error")
    node: str | None = Field(None, description="the machine of the first real error")
    time: float = Field(description="of the end, seconds since the epoch")
    again: bool = Field(description="another attempt may mend it, and the cap is not reached")

    def exit_code(self) -> int:
        """For a scheduler: 0 finished, 75 start it again, 2 the input must change, 3 otherwise."""
        if self.kind == "finished":
            return 0
        if self.again:
            return RequeueError.exit_code
        return BadInputError.exit_code if self.kind == "user_error" else WorkFailedError.exit_code


def directory_of(run_dir: Path, attempt: str) -> Path:
    """Where the files of one attempt are."""
    return run_dir / ATTEMPTS / attempt


def exits(run_dir: Path) -> list[Exit]:
    """All that are written, oldest first."""
    found = [read_record(path, Exit) for path in (run_dir / ATTEMPTS).glob(f"*/{FILE}")]
    return sorted(found, key=lambda record: record.time)


def conclude(run_dir: Path, attempt: str, error: BaseException | None, *, may_repeat: bool) -> Exit:
    """Write how the attempt ended with `error` (None: it did not fail), unless that is written; return what is.

    `may_repeat`: the cap on attempts is not reached. A finished run is finished, whatever happened after.
    """
    path = directory_of(run_dir, attempt) / FILE
    if path.is_file():
        return read_record(path, Exit)
    first = first_real(left_in(run_dir, attempt))
    kind = _kind(run_dir, error)
    of_rank = first if first and kind not in ("finished", "requeue") else None
    record = Exit(
        attempt=attempt,
        kind=kind,
        message=str(error) if error else "",
        rank=of_rank["rank"] if of_rank else None,
        node=of_rank["node"] if of_rank else None,
        time=time.time(),
        again=kind in AGAIN and may_repeat,
    )
    write_record(path, record)
    return record


def close_earlier(run_dir: Path, attempt: str) -> None:
    """Say of attempts before this one, that could say nothing themselves, that they were taken away.

    Unless a rank of them could. They were followed by another attempt, so that was `again`, whatever they died of.
    """
    words = "it ended without a word: its first node, or the scheduler, took it away"
    for directory in (run_dir / ATTEMPTS).glob("*/"):
        if directory.name != attempt and not (directory / FILE).is_file():
            last = max(path.stat().st_mtime for path in [directory, *directory.iterdir()])
            reached = run_dir / REACHED
            first = first_real(directory)
            ended = max(last, reached.stat().st_mtime) if reached.is_file() else last
            record = Exit(
                attempt=directory.name,
                kind=_known(first["kind"]) if first else "node_failure",
                message=first["message"] if first else words,
                rank=first["rank"] if first else None,
                node=first["node"] if first else None,
                time=ended,
                again=True,
            )
            write_record(directory / FILE, record)


def _kind(run_dir: Path, error: BaseException | None) -> ExitKind:
    if (run_dir / "run.json").is_file():
        return "finished"
    match error:
        case None | InterruptedRunError():
            return "requeue"
        case _:
            return _known(kind_of(error))


def _known(kind: str) -> ExitKind:
    for each in ("user_error", "out_of_memory", "nan", "hang", "node_failure"):
        if kind == each:
            return each
    return "node_failure" if kind == LOST_PEER else "error"


def words_for(error: BaseException) -> str:
    """One line for the log of the scheduler."""
    return f"{node_name()}: {type(error).__name__}: {error}"

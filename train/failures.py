"""What a worker leaves behind when it fails, and which of several failures was the first real one."""

import json
import os
import socket
import time
import traceback
from pathlib import Path
from typing import Any

from configs.errors import BadInputError, WorkFailedError
from train.place import ATTEMPT

ATTEMPTS = "attempts"  # the directory of their directories
LOST_PEER = "lost_peer"  # no class of exit: an echo of what happened to another process
NODE = "REPLIBENCH_NODE"  # the node's name, where the machine's own is not it
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed")
# A device, a driver or a file system that fails, as CUDA, NVML, NCCL, Linux and its resolver say it.
_NODE = (
    *("uncorrectable", "unspecified launch failure", "gpu is lost"),
    *("stale file handle", "input/output error"),
    *("gaierror", "gai error", "name resolution", "name or service not known"),
)
# What gloo, NCCL and torch's store say where another process is gone or out of reach: hardly ever the first thing that
# went wrong. Where no rank says more, it is the network, or a machine that could not say anything.
_LOST_PEER = (
    *("connection closed by", "connection reset by", "connection was likely closed", "connection refused"),
    *("broken pipe", "remote process exited", "econn", "failed to recv, got 0 bytes"),
    *("connection timed out", "socket timeout", "socket has timed out", "timed out waiting", "wait timeout after"),
    *("rendezvousconnectionerror", "rendezvoustimeouterror"),
    *("no route to host", "network is unreachable", "unhandled system error", "ncclsystemerror", "ncclremoteerror"),
)


def node_name() -> str:
    """What this machine is called in the run."""
    return os.environ.get(NODE) or socket.gethostname()


def left_in(run_dir: Path, attempt: str | None = None) -> Path:
    """Where the ranks of an attempt (None: this process's) leave word: failure-RANK.json, ended-RANK, stuck-RANK.json.

    It is the attempt's own directory: the late word of another attempt, of other ranks, must reach nobody. What
    `replibench train` starts is not numbered (""), and holds the run alone: there it is logs/, cleared before.
    """
    attempt = os.environ.get(ATTEMPT, "") if attempt is None else attempt
    return run_dir / ATTEMPTS / attempt if attempt else run_dir / "logs"


def forget_failures(*directories: Path) -> None:
    """Before an attempt: what an earlier one left in the same place. Nobody else may be at work there yet."""
    for directory in directories:
        for words in ("failure-*.json", "ended-*", "stuck-*.json"):
            for old in directory.glob(words):
                old.unlink()


def leave_failure(directory: Path, error: BaseException, rank: int | None = None, node: str | None = None) -> None:
    """Write what went wrong, with its time, to failure-RANK.json, unless there is one: the first word stands.

    `directory`: of `left_in`. `rank`, `node`: of one that cannot itself, and may still wake up to find its peers gone.
    """
    rank = int(os.environ.get("RANK", "0")) if rank is None else rank
    known = isinstance(error, BadInputError | WorkFailedError)
    path = directory / f"failure-{rank}.json"
    if path.exists():
        return
    failure = {
        "time": time.time(),
        "rank": rank,
        "node": node or node_name(),
        "kind": kind_of(error),
        "message": str(error) if known else f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
    }
    new = path.with_suffix(f".{socket.gethostname()}-{os.getpid()}")  # several may speak for one that cannot
    new.write_text(json.dumps(failure), encoding="utf-8")
    new.rename(path)


def kind_of(error: BaseException) -> str:
    """The class of exit that an error leads to, or LOST_PEER, which alone is a node's failure."""
    if isinstance(error, BadInputError):
        return "user_error"
    if isinstance(error, WorkFailedError):
        return error.kind
    words = f"{type(error).__name__}: {error}".lower()
    if isinstance(error, MemoryError) or any(each in words for each in _OUT_OF_MEMORY):
        return "out_of_memory"
    if any(each in words for each in _NODE):
        return "node_failure"
    return LOST_PEER if any(each in words for each in _LOST_PEER) else "error"


def failures(*directories: Path) -> list[dict[str, Any]]:
    """All that the ranks left there, each with its `path`: the first real error first, echoes of it last."""
    paths = [path for directory in directories for path in directory.glob("failure-*.json")]
    found = [{**json.loads(path.read_text(encoding="utf-8")), "path": str(path)} for path in paths]
    return sorted(found, key=lambda failure: (failure["kind"] == LOST_PEER, failure["time"]))


def first_real(*directories: Path) -> dict[str, Any] | None:
    """The first of `failures`; None where there are only echoes, or none."""
    return next((failure for failure in failures(*directories) if failure["kind"] != LOST_PEER), None)

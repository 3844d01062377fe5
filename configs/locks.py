"""One command at a time in one run directory."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from configs.errors import BadInputError, NodeError

WAIT_S = 60.0  # for the processes of a command that was killed: they write a checkpoint and end
PATIENCE_S = 300.0  # for an attempt on a machine that is cut off: NFS gives its lock away when the lease has run out
CORPUS_LOCK = ".corpus.lock"  # beside the corpus that several runs share
_held: list[int] = []


@contextlib.contextmanager
def exclusive(run_dir: Path, *, patient: bool = False) -> Iterator[None]:
    """Hold `run_dir` for this process and for those that inherit `held_descriptors`; the lock goes with the last.

    Raises BadInputError, naming the other process, when a living one holds it; waits for the rest of a dead one.
    `patient`: waits longer, and for a living one too, which may be an earlier attempt's on another machine; raises
    NodeError if it does not go, because a later attempt may find it gone.
    """
    path, new = run_dir / ".lock", not (run_dir / ".lock").exists()
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    except OSError as error:
        raise BadInputError(f"--run-dir {run_dir}: cannot be used: {error.strerror}") from None
    with lock:
        _acquire(lock, run_dir, patient=patient)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        _held.append(lock.fileno())
        try:
            yield
        except BadInputError:
            if new:  # a directory that we have no business in, or that nothing was written to: leave no trace
                path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    run_dir.rmdir()
            raise
        finally:
            _held.remove(lock.fileno())


@contextlib.contextmanager
def in_turn(corpus: Path) -> Iterator[None]:
    """Hold a corpus that several runs share while it is prepared; whoever comes later waits and finds it there."""
    corpus.mkdir(parents=True, exist_ok=True)
    with (corpus.parent / CORPUS_LOCK).open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def held_descriptors() -> tuple[int, ...]:
    """File descriptors of the locks held here, to be passed to child processes that must finish first."""
    return tuple(_held)


def _acquire(lock: IO[str], run_dir: Path, *, patient: bool) -> None:
    deadline = time.monotonic() + (PATIENCE_S if patient else WAIT_S)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
        late = time.monotonic() > deadline
        if late and patient:
            raise NodeError(f"--run-dir {run_dir}: an earlier attempt (process {holder or '?'}) still holds it")
        if late or (_is_alive(holder) and not patient):
            raise BadInputError(
                f"--run-dir {run_dir}: another replibench (process {holder or '?'}) is working in it; "
                "wait for it, stop it, or name another directory"
            )
        time.sleep(0.2)


def _is_alive(pid: str) -> bool:
    return pid.isdigit() and Path(f"/proc/{pid}").exists() if Path("/proc").is_dir() else True

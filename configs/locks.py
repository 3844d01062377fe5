"""One command at a time in one run directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from configs.errors import BadInputError


@contextlib.contextmanager
def exclusive(run_dir: Path) -> Iterator[None]:
    """Hold `run_dir` for this process; the lock goes with the process, however it ends.

    Raises BadInputError, naming the other process, when somebody holds it already.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise BadInputError(
                f"--run-dir {run_dir}: another replibench (process {lock.read().strip() or '?'}) is working in it; "
                "wait for it, stop it, or name another directory"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield

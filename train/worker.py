"""One process of a training run. Started by torchrun with the run directory as its only argument.

Everything it needs lies in that directory (see train/prepare.py), so any scheduler that can start torchrun can
start it: `torchrun --nproc-per-node N train/worker.py runs/NAME`.
"""

import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from configs.errors import BadInputError, WorkFailedError
from train.processes import die_with_parent


def leave_failure(run_dir: Path, error: BaseException) -> None:
    """Write what went wrong, with its time, so that the launcher can tell the first error from its echoes."""
    rank = os.environ.get("RANK", "0")
    known = isinstance(error, BadInputError | WorkFailedError)
    failure = {
        "time": time.time(),
        "rank": int(rank),
        "kind": "bad_input" if isinstance(error, BadInputError) else "work_failed",
        "message": str(error) if known else f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
    }
    (run_dir / "logs" / f"failure-{rank}.json").write_text(json.dumps(failure), encoding="utf-8")


if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)  # before the imports, which take seconds
    directory = Path(sys.argv[1])
    try:
        from train.trainer import main

        main(directory)
        (directory / "logs" / f"ended-{os.environ.get('RANK', '0')}").touch()  # for the launcher: not killed
    except BaseException as exception:
        try:
            traceback.print_exc()
            leave_failure(directory, exception)
        finally:
            # Not sys.exit: the other ranks may sit in a collective, and torch's clean-up would wait for them.
            os._exit(1)

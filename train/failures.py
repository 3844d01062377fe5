"""What a worker leaves behind when it fails, so that the launcher can tell the first error from its echoes."""

import json
import os
import time
import traceback
from pathlib import Path

from configs.errors import BadInputError, WorkFailedError

# What gloo and NCCL say where another process is gone: never the first thing that went wrong.
_LOST_PEER = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process exited")


def leave_failure(run_dir: Path, error: BaseException) -> None:
    """Write what went wrong, with its time, to logs/failure-RANK.json."""
    rank = os.environ.get("RANK", "0")
    known = isinstance(error, BadInputError | WorkFailedError)
    failure = {
        "time": time.time(),
        "rank": int(rank),
        "is_echo": any(words in str(error).lower() for words in _LOST_PEER),
        "kind": "bad_input" if isinstance(error, BadInputError) else "work_failed",
        "message": str(error) if known else f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
    }
    (run_dir / "logs" / f"failure-{rank}.json").write_text(json.dumps(failure), encoding="utf-8")

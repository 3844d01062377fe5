"""Starting processes of ours: with our own rooms on their path, and never outliving whoever started them."""

import ctypes
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PR_SET_PDEATHSIG = 1


def worker_environment(threads: int) -> dict[str, str]:
    """The environment of every process we start: our rooms first, never the user's working directory."""
    env = dict(os.environ)
    inherited = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p]
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *inherited])
    env["PYTHONSAFEPATH"] = "1"  # a train.py or configs/ beside the user is theirs
    env["PYTHONUNBUFFERED"] = "1"
    env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(threads)
    env["TOKENIZERS_PARALLELISM"] = "false"
    return env


def die_with_parent(how: signal.Signals) -> None:
    """Have the kernel send `how` to this process when its parent ends, however it ends (Linux; elsewhere nothing).

    So kill -9 on the command does not leave a training run that nobody sees.
    """
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)
        if os.getppid() != parent:  # it ended before we asked
            os.kill(os.getpid(), how)

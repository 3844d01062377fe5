"""Starting processes of ours: with our own rooms on their path, and never outliving whoever started them."""

import ctypes
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PR_SET_PDEATHSIG = 1
_PARENT = "REPLIBENCH_PARENT"  # pid of the process of ours that started this one


def worker_environment(threads: int, device: str = "auto") -> dict[str, str]:
    """The environment of every process we start: our rooms first, never the user's working directory.

    For `device` "cpu" accelerators are hidden: DeepSpeed would move the model to one that it can see.
    """
    env = dict(os.environ)
    inherited = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p]
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), *inherited])
    env["PYTHONSAFEPATH"] = "1"  # a train.py or configs/ beside the user is theirs
    env["PYTHONUNBUFFERED"] = "1"
    env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(threads)
    env["TOKENIZERS_PARALLELISM"] = "false"
    env[_PARENT] = str(os.getpid())
    if device == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = ""
        env["DS_ACCELERATOR"] = "cpu"
    return env


def parent_of_next() -> None:
    """For a process between: its own children shall watch it, not whoever started it."""
    os.environ[_PARENT] = str(os.getpid())


def die_with_parent(how: signal.Signals) -> None:
    """Have the kernel send `how` to this process when its parent ends, however it ends (Linux; elsewhere nothing).

    So kill -9 on the command does not leave a training run that nobody sees. Does nothing in a process that was not
    started by us: a scheduler's torchrun has its own ways.
    """
    parent = os.environ.get(_PARENT)
    if sys.platform != "linux" or parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != int(parent):  # it ended before we asked
        os.kill(os.getpid(), how)

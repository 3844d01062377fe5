"""A worker that was killed says nothing; whether it was for memory, the kernel's count says."""

from pathlib import Path

import pytest

from configs.errors import NodeError, OutOfMemoryError, WorkFailedError
from train import failures
from train.launch import _leave_word_of_killed, _raise_first_error
from train.memory import oom_kills

# As torchrun prints it of two ranks, of which the other one noticed first.
REPORT = """
============================================================
train/worker.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-01-01_00:00:00
  host      : n2
  rank      : 1 (local_rank: 0)
  exitcode  : {code} (pid: 4242)
  error_file: <N/A>
  traceback : Signal {number} ({name}) received by PID 4242
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-01-01_00:00:00
  host      : n2
  rank      : 0 (local_rank: 1)
  exitcode  : 1 (pid: 4241)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""


def word_of(tmp_path: Path, name: str, number: int, *, ran_out: bool, ours: frozenset[int] = frozenset()) -> None:
    """Raise what the launcher raises after such a report."""
    said = REPORT.format(code=-number, number=number, name=name)
    _leave_word_of_killed([tmp_path], said, ours, ran_out=ran_out)
    _raise_first_error([tmp_path], [tmp_path], 1, None)


@pytest.mark.parametrize(
    ("name", "number", "ran_out", "error", "kind"),
    [
        ("SIGKILL", 9, True, OutOfMemoryError, "out_of_memory"),
        ("SIGKILL", 9, False, NodeError, "node_failure"),
        ("SIGABRT", 6, True, NodeError, "node_failure"),
        ("SIGBUS", 7, False, NodeError, "node_failure"),
        ("SIGSEGV", 11, False, WorkFailedError, "error"),
        ("SIGSEGV", 11, True, WorkFailedError, "error"),
    ],
)
def test_a_killed_worker_is_named_with_why(
    name: str, number: int, ran_out: bool, error: type[Exception], kind: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=rf"rank 1: was ended by {name}"):
        word_of(tmp_path, name, number, ran_out=ran_out)
    (found,) = failures.failures(tmp_path)
    assert (found["rank"], found["kind"]) == (1, kind)


def test_one_that_we_killed_ourselves_is_not_the_first_error(tmp_path: Path) -> None:
    with pytest.raises(WorkFailedError, match="without a report"):
        word_of(tmp_path, "SIGKILL", 9, ran_out=False, ours=frozenset([4242]))
    assert failures.failures(tmp_path) == []


def _machine(root: Path, group: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": group, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_the_count_of_the_own_control_group_comes_first(tmp_path: Path) -> None:
    events = {"sys/fs/cgroup/slurm/job_7/memory.events": "low 0\noom 4\noom_kill 3\n", "proc/vmstat": "oom_kill 9\n"}
    assert oom_kills(_machine(tmp_path / "v2", "0::/slurm/job_7\n", events)) == 3
    control = {
        "sys/fs/cgroup/memory/slurm/memory.oom_control": "under_oom 0\noom_kill 2\n",
        "proc/vmstat": "oom_kill 9",
    }
    assert oom_kills(_machine(tmp_path / "v1", "4:memory:/slurm\n0::/\n", control)) == 2
    assert oom_kills(_machine(tmp_path / "none", "0::/gone\n", {"proc/vmstat": "pgfault 1\noom_kill 9\n"})) == 9
    assert oom_kills(tmp_path / "nothing") == 0

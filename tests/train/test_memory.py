"""A worker that was killed says nothing; whether it was for memory, the kernel's count says."""

import sys
from pathlib import Path

import pytest

from configs.errors import NodeError, OutOfMemoryError, WorkFailedError
from configs.loader import load_config
from train import failures, launch
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
    _raise_first_error([tmp_path], [tmp_path], 1, None, said)


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


def torchrun_says(words: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launch what says no more than this and fails; the log and a worker's have something of an earlier attempt."""
    stale = run_dir / "logs" / "9-0_abc" / "attempt_0" / "0" / "stderr.log"
    stale.parent.mkdir(parents=True)
    stale.write_text("an earlier attempt's\n")
    (run_dir / "logs" / "torchrun.log").write_text("é" * 2000 + "\n")  # half as many characters as bytes
    command = [sys.executable, "-c", "import sys; print(sys.argv[1]); sys.exit(1)", words]
    monkeypatch.setattr(launch, "_command", lambda *_: command)
    monkeypatch.setattr(launch, "oom_kills", lambda: 0)
    launch.launch(run_dir, load_config("smoke").train, lambda line: None, lambda text: None)


def test_the_report_is_found_behind_words_of_any_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NodeError, match="rank 1: was ended by SIGKILL"):
        torchrun_says(REPORT.format(code=-9, number=9, name="SIGKILL"), tmp_path, monkeypatch)


def test_torchrun_that_found_no_peer_says_so_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (  # as torch 2.13 has it for a first node that does not answer
        "torch.distributed.elastic.rendezvous.api.RendezvousConnectionError: The connection to the C10d store has "
        "failed. See inner exception for details."
    )
    with pytest.raises(NodeError, match=r"torchrun exit 1\): torch.distributed.elastic.rendezvous.api.Rendezvous"):
        torchrun_says(words, tmp_path, monkeypatch)


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

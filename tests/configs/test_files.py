"""Records on disk: whole or not there."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs import locks
from configs.errors import BadInputError, NodeError, WorkFailedError
from configs.files import Record, atomic_writer, read_record, write_record, write_text
from configs.locks import exclusive


class _Thing(Record):
    value: float


def test_a_record_reads_back_equal(tmp_path: Path) -> None:
    for value in (0.1 + 0.2, float("inf"), -1e-300):
        write_record(tmp_path / "thing.json", _Thing(value=value))
        assert read_record(tmp_path / "thing.json", _Thing) == _Thing(value=value)


@pytest.mark.parametrize("content", ["", "{", '{"value": "x"}', '{"value": 1, "more": 2}', "[]"])
def test_a_damaged_record_is_refused_by_name(content: str, tmp_path: Path) -> None:
    path = tmp_path / "thing.json"
    path.write_text(content)
    with pytest.raises(BadInputError, match=r"thing.json: not a _Thing") as caught:
        read_record(path, _Thing)
    assert "\n" not in str(caught.value)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        WorkFailedError, match=r"cannot write .*run.json: No space left on device; what was there before"
    ):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_write_that_the_kernel_refuses_is_one_error(tmp_path: Path) -> None:
    target = tmp_path / "missing" / "run.json"
    (tmp_path / "missing").write_text("a file where a directory should be")
    with pytest.raises(WorkFailedError, match="cannot write"):
        write_text(target, "x")


def test_an_exception_inside_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_writer(path) as stream:
        stream.write("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_a_run_directory_is_held_by_one_process_and_freed_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from configs.locks import exclusive\n"
        "with exclusive(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BadInputError, match=rf"another replibench \(process {other.pid}\)"), exclusive(tmp_path):
            pass
        monkeypatch.setattr(locks, "PATIENCE_S", 0.0)  # a later attempt may find it gone
        with pytest.raises(NodeError, match=rf"\(process {other.pid}\)"), exclusive(tmp_path, patient=True):
            pass
    finally:
        other.kill()
        other.wait()
    with exclusive(tmp_path):
        pass

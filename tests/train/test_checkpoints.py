"""A checkpoint whose bytes are not what was written is found out, whatever the byte, before anything unpickles it."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from train import checkpoints
from train.checkpoints import DamagedError, Layout, Marker

LAYOUT = Layout(world_size=2, data_parallel_size=2, tensor_parallel_size=1, zero_stage=1, precision="fp32")
FILES = {
    "mp_rank_00_model_states.pt": bytes(range(256)),
    "zero_pp_rank_0_mp_rank_00_optim_states.pt": b"PK\x03\x04" + b"\x00" * 100,
    "random-0.pt": b"x",
    "progress.json": b'{"step": 20}',
    "empty": b"",
}


def _write(directory: Path, step: int) -> Path:
    name = checkpoints.name_of(step)
    partial = directory / checkpoints.PARTIAL / name
    partial.mkdir(parents=True)
    for file, content in FILES.items():
        (partial / file).write_bytes(content + str(step).encode() * 3 if content else content)
    facts = {path.name: checkpoints.file_facts(path) for path in partial.iterdir()}
    checkpoints.seal(partial, directory / name, Marker(step=step, layout=LAYOUT, files=facts))
    return directory / name


def _newest(directory: Path) -> tuple[str | None, list[str]]:
    """The checkpoint that would be used, and what is said of those that would not."""
    said: list[str] = []
    good = checkpoints.newest_good(directory, lambda path, words: said.append(f"{path.name}: {words}"))
    return (good[0].name if good else None), said


@contextmanager
def _changed(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoints")
    _write(directory, 10)
    _write(directory, 20)
    return directory


def test_the_newest_whole_one_is_used(two: Path) -> None:
    assert _newest(two) == ("step-00000020", [])
    assert checkpoints.verify(two / "step-00000010").layout == LAYOUT


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flipped_byte_and_every_truncation_is_found(two: Path, data: st.DataObject) -> None:
    file = two / "step-00000020" / data.draw(st.sampled_from([*FILES, checkpoints.MARKER]))
    content = file.read_bytes()
    if content and data.draw(st.booleans()):
        offset = data.draw(st.integers(0, len(content) - 1))
        flip = data.draw(st.integers(1, 255))
        damaged = content[:offset] + bytes([content[offset] ^ flip]) + content[offset + 1 :]
    elif content:
        damaged = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        damaged = data.draw(st.binary(min_size=1, max_size=3))
    with _changed(file, damaged):
        used, said = _newest(two)
    assert used == "step-00000010"
    assert len(said) == 1
    assert said[0].startswith("step-00000020: ")


def test_every_byte_of_the_marker_counts(two: Path) -> None:
    """Exhaustive, since the marker vouches for all the rest."""
    marker = two / "step-00000020" / checkpoints.MARKER
    content = marker.read_bytes()
    for offset, bit in itertools.product(range(len(content)), (0, 5)):
        damaged = content[:offset] + bytes([content[offset] ^ 1 << bit]) + content[offset + 1 :]
        with _changed(marker, damaged), pytest.raises(DamagedError):
            checkpoints.verify(marker.parent)


def test_a_file_too_many_or_too_few_is_damage(tmp_path: Path) -> None:
    newest = _write(tmp_path, 20)
    (newest / "mp_rank_01_model_states.pt").write_bytes(b"of another run")
    assert _newest(tmp_path) == (None, ["step-00000020: mp_rank_01_model_states.pt is not of it"])
    (newest / "mp_rank_01_model_states.pt").unlink()
    (newest / "random-0.pt").unlink()
    assert _newest(tmp_path) == (None, ["step-00000020: random-0.pt is missing"])


def test_one_without_a_marker_was_never_finished(tmp_path: Path) -> None:
    _write(tmp_path, 10)
    (_write(tmp_path, 20) / checkpoints.MARKER).unlink()
    assert _newest(tmp_path) == ("step-00000010", ["step-00000020: it was never finished"])


def test_one_that_was_renamed_is_not_taken_for_another_step(tmp_path: Path) -> None:
    _write(tmp_path, 10).rename(tmp_path / "step-00000030")
    assert _newest(tmp_path) == (None, ["step-00000030: its marker is of step 10"])


def test_the_last_ones_and_every_nth_are_kept(tmp_path: Path) -> None:
    for step in range(10, 90, 10):
        _write(tmp_path, step)
    checkpoints.set_aside(tmp_path / "step-00000050")
    checkpoints.prune(tmp_path, keep_last=2, keep_every_steps=30)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "step-00000030",
        "step-00000060",
        "step-00000070",
        "step-00000080",
    ]


def test_what_a_kill_leaves_is_cleaned(tmp_path: Path) -> None:
    _write(tmp_path, 10)
    for name in (checkpoints.PARTIAL, checkpoints.REMOVING, ".universal"):
        (tmp_path / name / "half").mkdir(parents=True, exist_ok=True)
    checkpoints.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]


def test_each_file_is_hashed_by_one_rank(two: Path) -> None:
    files = [path for path in (two / "step-00000020").iterdir() if path.name != checkpoints.MARKER]
    shares = [checkpoints.share(files, rank, 3) for rank in range(3)]
    assert sorted(path for share in shares for path in share) == sorted(files)

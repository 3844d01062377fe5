"""What a checkpoint is on disk: files, and a marker that seals them. Plain files, no torch.

    checkpoints/step-00000100/   DeepSpeed's files, random-RANK.pt, progress.json, and last of all `complete`
    checkpoints/.partial/        one that is being written
    checkpoints/damaged-…/       one that was found damaged, kept until the next whole one

The marker names every file with its size and sha256, and its own sha256. So a directory is a checkpoint exactly if
every byte in it is what was written; nothing else is ever unpickled.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from configs.files import Record, sha256_of, sha256_of_json

MARKER = "complete"
PROGRESS = "progress.json"
PARTIAL = ".partial"
REMOVING = ".removing"
DAMAGED = "damaged-"
_READERS = 4  # files hashed at the same time; hashing lets the other threads run


class Layout(Record):
    """How the state is split into files; what DeepSpeed's own files fit."""

    world_size: int
    data_parallel_size: int
    tensor_parallel_size: int
    pipeline_parallel_size: int = 1
    zero_stage: int
    precision: str

    def words(self) -> str:
        """For a message."""
        return (
            f"data_parallel_size={self.data_parallel_size} tensor_parallel_size={self.tensor_parallel_size} "
            f"pipeline_parallel_size={self.pipeline_parallel_size} zero_stage={self.zero_stage}"
        )


class FileFacts(Record):
    """One file of a checkpoint."""

    bytes: int
    sha256: str


class Marker(Record):
    """`complete`: written last, so that its being there means that everything is."""

    schema_: Literal["replibench.checkpoint/1"] = Field("replibench.checkpoint/1", alias="schema")
    step: int
    layout: Layout
    files: dict[str, FileFacts]

    def text(self) -> str:
        """The only bytes that this marker may have on disk: its JSON and the sha256 of that."""
        tree = self.model_dump(mode="json", by_alias=True)
        return json.dumps({**tree, "sha256": sha256_of_json(tree)}, indent=2, sort_keys=True) + "\n"


class DamagedError(Exception):
    """What is wrong with a checkpoint, in a few words."""


def name_of(step: int) -> str:
    """The directory of the checkpoint after `step` steps."""
    return f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's name says."""
    return int(checkpoint.name.rpartition("-")[2])


def all_of(directory: Path) -> list[Path]:
    """Everything that is named as a checkpoint, oldest first."""
    return sorted(directory.glob("step-*"), key=step_of)


def file_facts(path: Path) -> FileFacts:
    """Size and sha256 of one file, synced to the disk first."""
    sync(path)
    return FileFacts(bytes=path.stat().st_size, sha256=sha256_of(path))


def seal(partial: Path, final: Path, marker: Marker) -> None:
    """Write the marker into `partial` and give it its name; what had that name before is replaced.

    `partial` lies in a directory of its own beside `final`; its files are synced already.
    """
    with (partial / MARKER).open("w", encoding="utf-8") as stream:
        stream.write(marker.text())
    sync(partial / MARKER)
    sync(partial)
    remove(final)
    partial.rename(final)
    sync(final.parent)


def verify(checkpoint: Path) -> Marker:
    """The marker of a checkpoint all of whose bytes are what was written. Raises DamagedError saying what is not."""
    marker = _read_marker(checkpoint / MARKER)
    if name_of(marker.step) != checkpoint.name:
        raise DamagedError(f"its marker is of step {marker.step}")
    found = {path.relative_to(checkpoint).as_posix() for path in checkpoint.rglob("*") if not path.is_dir()}
    stray = sorted(found ^ {*marker.files, MARKER})
    if stray:
        raise DamagedError(f"{stray[0]} {'is not of it' if stray[0] in found else 'is missing'}")
    with ThreadPoolExecutor(_READERS) as pool:
        wrong = pool.map(lambda item: _wrong(checkpoint / item[0], item[1]), marker.files.items())
    first = next((words for words in wrong if words), None)
    if first:
        raise DamagedError(first)
    return marker


def newest_good(directory: Path, on_damage: Callable[[Path, str], None]) -> tuple[Path, Marker] | None:
    """The newest checkpoint that verifies; each newer one is passed to `on_damage` with what is wrong with it."""
    for checkpoint in reversed(all_of(directory)):
        try:
            return checkpoint, verify(checkpoint)
        except DamagedError as error:
            on_damage(checkpoint, str(error))
    return None


def set_aside(checkpoint: Path) -> None:
    """Take a damaged checkpoint out of the way, without deleting it yet: the damage may be the reader's."""
    target = checkpoint.with_name(DAMAGED + checkpoint.name)
    remove(target)
    checkpoint.rename(target)


def prune(directory: Path, keep_last: int, keep_every_steps: int | None) -> None:
    """After a new checkpoint: keep the last few, every Nth for good, and nothing that was damaged."""
    old = all_of(directory)[:-keep_last]
    for checkpoint in [*old, *directory.glob(f"{DAMAGED}*")]:
        kept = keep_every_steps is not None and step_of(checkpoint) % keep_every_steps == 0
        if checkpoint.name.startswith(DAMAGED) or not kept:
            remove(checkpoint)


def remove(checkpoint: Path) -> None:
    """Delete a directory; it loses its name first, so that a kill in the middle leaves no half of a checkpoint."""
    doomed = checkpoint.with_name(REMOVING)
    shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        checkpoint.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def clean(directory: Path) -> None:
    """Delete what a kill may leave: half-written, half-deleted and half-converted checkpoints."""
    for leftover in directory.glob(".*"):
        shutil.rmtree(leftover, ignore_errors=True)


def share(files: Iterable[Path], rank: int, world_size: int) -> list[Path]:
    """The files that `rank` syncs and hashes: about as many bytes as every other rank, each file once."""
    by_size = sorted(files, key=lambda path: (-path.stat().st_size, path.name))
    return by_size[rank::world_size]


def facts_json(facts: Mapping[str, FileFacts]) -> str:
    """For the rank that writes the marker."""
    return json.dumps({name: fact.model_dump() for name, fact in facts.items()})


def sync(path: Path) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_marker(path: Path) -> Marker:
    try:
        text = path.read_text(encoding="utf-8")
        tree = json.loads(text)
        tree.pop("sha256")
        marker = Marker.model_validate(tree)
    except FileNotFoundError:
        raise DamagedError("it was never finished") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError):
        raise DamagedError(f"its marker ({MARKER}) cannot be read") from None
    if marker.text() != text:
        raise DamagedError(f"its marker ({MARKER}) is not what was written")
    return marker


def _wrong(path: Path, facts: FileFacts) -> str | None:
    try:
        size = path.stat().st_size
        if size != facts.bytes:
            return f"{path.name} has {size:,} bytes instead of {facts.bytes:,}"
        return None if sha256_of(path) == facts.sha256 else f"the bytes of {path.name} are not what was written"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror}"

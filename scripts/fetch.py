"""`replibench fetch`: what a run needs of the internet, into one directory (its layout: train/offline.py)."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from configs.errors import BadInputError, WorkFailedError
from configs.files import write_text
from configs.schema import FilesData, RunConfig, SourceConfig
from eval.stock import ask_harness
from train import hub, hub_data, offline
from train.corpus.sources import located
from train.reference import locate, pin


def collect(config: RunConfig, bundle: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Bring everything that is not there yet; yields a line for each piece. Errors as of a reference and of tasks.

    Local files that the configuration names are not copied. What is there already is not fetched again, unless its
    branch has moved on since. How many bytes a piece takes is said before it is fetched.
    """
    if bundle.exists() and not bundle.is_dir():
        raise BadInputError(f"--to {bundle}: is a file; name a directory")
    bundle.mkdir(parents=True, exist_ok=True)
    yield _reference(config, bundle, say)
    yield from _datasets(config, bundle, say)
    yield _benchmarks(config, bundle, say)
    yield f"on the machine without internet: --set offline={bundle.resolve()}, wherever it lies there"


def _reference(config: RunConfig, bundle: Path, say: Callable[[str], None]) -> str:
    if config.reference is None:
        return "reference: none"
    if Path(config.reference).is_dir():
        return f"reference: {config.reference} is a directory: it is not copied"
    place = offline.model_place(bundle, config.reference, config.revision)
    if _is_offline(config):
        source = locate(config.reference, config.revision, config.offline)
        commit = offline.commit_at(source)
        if not _is_there(place, commit, config.reference, say):
            pin(source, config.reference, config.revision)  # whole, before it is copied
            _copy(source, place, {offline.COMMIT: commit})
    else:
        found = hub.describe(config.reference, config.revision)
        if not _is_there(place, found.commit, config.reference, say):
            say(f"fetching {config.reference}: {_size(sum(found.sizes.values()))} in {len(found.sizes)} files")
            source = locate(config.reference, found.commit)
            pin(source, config.reference, config.revision)
            _copy(source, place, {offline.COMMIT: found.commit}, list(found.sizes))
    count = len(pin(place, config.reference, config.revision))
    return f"reference: {config.reference}, {count} files with their sha256 in {place}"


def _is_offline(config: RunConfig) -> bool:
    return config.offline is not None or hub.is_offline()


def _is_there(place: Path, commit: str | None, name: str, say: Callable[[str], None]) -> bool:
    """Whether the bundle has that very commit. A branch may have moved since: then it is fetched anew, and said."""
    if not place.is_dir():
        return False
    before = offline.commit_at(place)
    if before != commit:
        say(f"{name}: {place} has commit {before or 'unknown'}, and it is {commit or 'unknown'} now: taken anew")
    return before == commit


def _datasets(config: RunConfig, bundle: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Data sets of the hub that the corpus is made of: the files of the split that each source names, and no others."""
    for source in config.data.every_source if isinstance(config.data, FilesData) else ():
        if source.dataset is None or Path(source.dataset).is_dir():
            continue
        place = offline.dataset_place(bundle, source)
        if _is_offline(config):
            _copy_of_copy(source, config.offline, place, say)
        else:
            commit = hub_data.commit_of(source.dataset, source.revision)
            if not _is_there(place, commit, source.dataset, say):
                part = hub_data.part_of(source.dataset, commit, source.subset, source.split)
                count = sum(map(len, part.files.values()))
                say(f"fetching the data set {source.dataset}: {_size(part.size_bytes)} in {count} files")
                taken = [path for paths in part.files.values() for path in paths]
                written = {"README.md": hub_data.card_of(part), offline.COMMIT: commit}
                _copy(hub_data.download(source.dataset, commit, part), place, written, taken)
        yield f"data: {source.dataset} in {place}"


def _copy_of_copy(source: SourceConfig, bundle: str | None, place: Path, say: Callable[[str], None]) -> None:
    """From another bundle or the hub's cache on this machine, which has no more than somebody wanted: all of it."""
    there = located(source, Path(bundle) if bundle else None, {})
    if not _is_there(place, there.revision, str(source.dataset), say):
        _copy(Path(str(there.dataset)), place, {offline.COMMIT: there.revision})


def _benchmarks(config: RunConfig, bundle: Path, say: Callable[[str], None]) -> str:
    if config.evaluation.suite != "lm_eval":
        return "benchmarks: generated, so there is nothing to fetch"
    say(f"fetching {', '.join(config.evaluation.tasks)}")
    with TemporaryDirectory() as scratch:
        told = ask_harness(config, {"directory": scratch, "export": str(bundle.resolve())})
    brought = {task: facts.pop("override") for task, facts in told.items()}
    path = bundle / offline.OVERRIDES
    there: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_text(path, json.dumps({**there, **brought}, indent=1) + "\n")
    with TemporaryDirectory() as scratch:
        again = ask_harness(config.model_copy(update={"offline": str(bundle.resolve())}), {"directory": scratch})
    for task, facts in again.items():
        if facts != told[task]:
            raise WorkFailedError(
                f"--to {bundle}: the items of {task} are others when read from there: a bug, report it"
            )
    return f"benchmarks: {len(told)} tasks, {sum(facts['items'] for facts in told.values()):,} items"


def _copy(source: Path, place: Path, written: Mapping[str, str | None], only: Sequence[str] | None = None) -> None:
    """Files of a directory (all, or `only` some), and texts beside them. Whole or not at all, in place of what was."""
    names = [str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()] if only is None else only
    place.parent.mkdir(parents=True, exist_ok=True)
    # a directory of this fetch's own: another may be bringing the same piece
    with TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as scratch:
        new = Path(scratch) / "new"
        for name in names:  # a hub snapshot is links into the cache: their targets are copied
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, new / name)
        for name, text in written.items():
            if text is not None:
                write_text(new / name, text)
        if place.is_dir():
            place.rename(Path(scratch) / "old")
        new.rename(place)


def _size(count: int) -> str:
    unit, size = next(((name, each) for name, each in (("GB", 1e9), ("MB", 1e6)) if count >= each), ("kB", 1e3))
    return f"{count / size:,.1f} {unit}"

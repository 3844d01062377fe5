"""`replibench fetch`: what a run needs of the internet, into one directory (its layout: train/offline.py)."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from configs.errors import BadInputError, WorkFailedError
from configs.files import write_text
from configs.schema import RunConfig
from eval.stock import ask_harness
from train import hub, offline
from train.reference import locate, pin


def collect(config: RunConfig, bundle: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Bring everything that is not there yet; yields a line for each piece. Errors as of a reference and of tasks.

    Local files that the configuration names are not copied. What is there already is not fetched again.
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
    if not place.is_dir():
        say(f"fetching {config.reference}")
        source = locate(config.reference, config.revision, config.offline)
        pin(source)  # whole, before it is copied
        _copy(source, place)
    return f"reference: {config.reference}, {len(pin(place))} files with their sha256 in {place}"


def _datasets(config: RunConfig, bundle: Path, say: Callable[[str], None]) -> Iterator[str]:
    """Data sets of the hub that the corpus is made of."""
    data = config.data.model_dump()
    for source in (*data.get("sources", ()), data.get("held_out") or {}):
        if source.get("dataset"):
            place = offline.dataset_place(bundle, source["dataset"], source.get("revision"))
            if not place.is_dir():
                say(f"fetching the data set {source['dataset']}")
                _copy(hub.dataset_snapshot(source["dataset"], source.get("revision")), place)
            yield f"data: {source['dataset']} in {place}"


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


def _copy(source: Path, place: Path) -> None:
    """Whole or not at all: what is cut off must not look like a fetched piece."""
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial)  # a hub snapshot is links into the cache: their targets are copied
    partial.rename(place)

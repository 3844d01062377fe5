"""What `replibench fetch` brings to a machine without internet, and where each piece of it lies. No torch.

DIR/models/ORG--NAME/REVISION/     a Hugging Face directory (REVISION is `main` where none is asked for)
DIR/datasets/ORG--NAME/REVISION/SUBSET--SPLIT/    the files of that split, and a card by which `datasets` reads them
DIR/benchmarks/TASK/SPLIT.jsonl    the items of lm-eval's tasks
DIR/lm_eval_overrides.json         {task: the keys of its lm-eval configuration that point it at such files}

In a model's and a data set's directory `.commit` says which commit of the hub it is.
"""

import json
from pathlib import Path
from typing import Any

from configs.errors import BadInputError
from configs.schema import SourceConfig
from train.hub_data import splits_of

COMMIT = ".commit"
OVERRIDES = "lm_eval_overrides.json"
FETCH = "`replibench fetch CONFIG --to DIR` brings it, on a machine with internet"

Override = dict[str, Any]


def model_place(bundle: Path, repository: str, revision: str | None) -> Path:
    """Where a hub id's revision lies in a bundle, if it is there."""
    return bundle / "models" / _flat(repository) / _flat(revision or "main")


def dataset_place(bundle: Path, source: SourceConfig) -> Path:
    """Where the split of a hub data set that `source` names lies in a bundle, if it is there."""
    part = f"{source.subset or 'default'}--{'+'.join(splits_of(source.split))}"
    return bundle / "datasets" / _flat(str(source.dataset)) / _flat(source.revision or "main") / _flat(part)


def commit_at(place: Path) -> str | None:
    """Which commit of the hub a directory is: by what `replibench fetch` wrote, or by its name in the hub's cache."""
    if (place / COMMIT).is_file():
        return (place / COMMIT).read_text(encoding="utf-8").strip()
    return place.name if place.parent.name == "snapshots" else None


def _flat(name: str) -> str:
    return name.replace("/", "--")


def model_directory(bundle: Path, repository: str, revision: str | None) -> Path:
    """The directory of a fetched model. Raises BadInputError where the bundle does not have it."""
    if not bundle.is_dir():
        raise BadInputError(f"offline: {bundle}: no such directory")
    place = model_place(bundle, repository, revision)
    if not (place / "config.json").is_file():
        at = f" at {revision}" if revision else ""
        raise BadInputError(f"offline: {bundle}: has no {repository}{at} ({place.relative_to(bundle)}); {FETCH}")
    return place


def overrides(bundle: Path) -> dict[str, Override]:
    """Each task's override, its files absolute. Raises BadInputError for a bundle without them or a broken file."""
    path = bundle / OVERRIDES
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"offline: {bundle}: has no {OVERRIDES}, so no benchmarks; {FETCH}") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"offline: {path}: cannot be read: {error}") from None
    if not isinstance(tree, dict) or not all(isinstance(entry, dict) for entry in tree.values()):
        raise BadInputError(f"offline: {path}: must map each task to keys of its configuration")
    return {task: _absolute(entry, bundle, f"{path}: {task}") for task, entry in tree.items()}


def data_files(override: Override) -> list[Path]:
    """The files that an override names."""
    return [Path(name) for name in override["dataset_kwargs"]["data_files"].values()]


def _absolute(entry: Override, bundle: Path, origin: str) -> Override:
    files = entry.get("dataset_kwargs", {}).get("data_files") if isinstance(entry.get("dataset_kwargs"), dict) else None
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise BadInputError(f"offline: {origin}: dataset_kwargs.data_files must map splits to files")
    absolute = {split: str((bundle / name).resolve()) for split, name in files.items()}
    return {**entry, "dataset_kwargs": {**entry["dataset_kwargs"], "data_files": absolute}}

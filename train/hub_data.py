"""Data sets of the Hugging Face hub: which commit a revision is, and the files of one subset and split. No torch."""

import re
from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any, NamedTuple

from configs.errors import BadInputError
from train.hub import one_line

KIND = "data set"
_PATHS_A_REQUEST = 500


class DatasetPart(NamedTuple):
    """What of a data set's commit belongs to a subset and the splits that are asked for."""

    subset: str
    files: Mapping[str, Sequence[str]]
    """By split, as paths in the repository."""
    parameters: Mapping[str, Any]
    """What else the data set's card says of how this subset is read, such as the separator of a table."""
    size_bytes: int


def commit_of(dataset: str, revision: str | None) -> str:
    """The commit that a branch or tag (main, if None) is now, asked of the hub. Errors as `train.hub.snapshot`."""
    from huggingface_hub import HfApi

    with one_line(dataset, revision, KIND):
        return str(HfApi().dataset_info(dataset, revision=revision).sha)


def cached(dataset: str, revision: str | None) -> Path:
    """Where the hub's cache on this machine has a revision: a directory named by its commit. Errors as `snapshot`."""
    from huggingface_hub import snapshot_download

    with one_line(dataset, revision, KIND):
        return Path(snapshot_download(dataset, revision=revision, repo_type="dataset", local_files_only=True))


def splits_of(split: str) -> list[str]:
    """The names in an expression of splits: `train[:1%]+test` → test, train."""
    return sorted({part.partition("[")[0].strip() for part in split.split("+")})


def part_of(dataset: str, commit: str, subset: str | None, split: str) -> DatasetPart:
    """Which files it takes to read that split, by the data set's own card and names. Nothing but the card is fetched.

    Raises BadInputError for a subset or split that it does not have; others as `commit_of`.
    """
    import datasets
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard, HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with one_line(dataset, commit, KIND):
        try:
            config = datasets.load_dataset_builder(dataset, subset, revision=commit).config
        except ValueError as error:  # a subset that is not there, or one that must be named; datasets says which
            raise BadInputError(f"data.sources.subset: {dataset}: {' '.join(str(error).split())}") from None
        found = {
            str(name): [_path(dataset, file) for file in files] for name, files in (config.data_files or {}).items()
        }
        missing = [name for name in splits_of(split) if name not in found]
        if missing:
            raise BadInputError(
                f"data.sources.split: {dataset}: has no split {missing[0]!r}; there are {', '.join(found) or 'none'}"
            )
        files = {name: found[name] for name in splits_of(split)}
        paths = [path for names in files.values() for path in names]
        together = [paths[at : at + _PATHS_A_REQUEST] for at in range(0, len(paths), _PATHS_A_REQUEST)]
        asked = (HfApi().get_paths_info(dataset, some, revision=commit, repo_type="dataset") for some in together)
        size = sum(getattr(row, "size", 0) for rows in asked for row in rows)
        try:
            card = DatasetCard.load(hf_hub_download(dataset, "README.md", revision=commit, repo_type="dataset"))
            told = MetadataConfigs.from_dataset_card_data(card.data).get(config.name, {})
        except EntryNotFoundError:
            told = {}
    parameters = {key: value for key, value in told.items() if key not in ("config_name", "data_files", "data_dir")}
    return DatasetPart(config.name, files, parameters, size)


def download(dataset: str, commit: str, part: DatasetPart) -> Path:
    """The directory of the hub's cache that has those files; errors as `commit_of`."""
    from huggingface_hub import snapshot_download

    wanted = [escape(path) for names in part.files.values() for path in names]
    with one_line(dataset, commit, KIND):
        return Path(snapshot_download(dataset, revision=commit, repo_type="dataset", allow_patterns=wanted))


def card_of(part: DatasetPart) -> str:
    """A README.md by which `datasets` reads those files as what they were in the whole data set."""
    import yaml

    files = [{"split": split, "path": [escape(path) for path in paths]} for split, paths in part.files.items()]
    entry = {"config_name": part.subset, "data_files": files, **part.parameters}
    return f"---\n{yaml.safe_dump({'configs': [entry]}, allow_unicode=True)}---\n"


def _path(dataset: str, file: str) -> str:
    """In the repository, of hf://datasets/ORG/NAME@COMMIT/PATH. Raises BadInputError for a file that lies elsewhere."""
    match = re.fullmatch(rf"hf://datasets/{re.escape(dataset)}@[^/]+/(.+)", file)
    if match is None:
        raise BadInputError(
            f"data.sources.dataset: {dataset}: {file} is not a file of its repository: fetch it by hand"
        )
    return match[1]

"""The Hugging Face hub, by huggingface_hub alone: what a revision is, its files, each failure as one line. No torch."""

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from configs.errors import BadInputError, WorkFailedError, first_line

WEIGHTS = "*.safetensors"
ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What is ever taken of a repository: no pickle and no code is among it.
TAKEN = (
    *(WEIGHTS, INDEX, "config.json", "generation_config.json"),
    *("tokenizer*", "special_tokens_map.json", "vocab.json", "merges.txt"),
)


class Revision(NamedTuple):
    """A revision as the hub describes it, without a download.

    `weights_sha256`: of each safetensors file; `sizes`: the bytes of each file that `snapshot` would take.
    """

    name: str
    commit: str
    weights_sha256: dict[str, str]
    sizes: dict[str, int]


def looks_like_an_id(source: str) -> bool:
    """Is it written as hub ids are: gpt2, or org/model?"""
    return re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", source) is not None


def snapshot(repository: str, revision: str | None) -> Path:
    """The directory with a revision's configuration, tokenizer and safetensors weights, fetched where they are not yet.

    Raises BadInputError for what the hub does not have or give, WorkFailedError where it cannot be reached.
    """
    from huggingface_hub import snapshot_download

    with one_line(repository, revision):
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(TAKEN)))


def is_offline() -> bool:
    """Is HF_HUB_OFFLINE set, so that only the cache may be asked?"""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def file(repository: str, revision: str | None, name: str) -> Path:
    """One file of a revision; errors as `snapshot`."""
    from huggingface_hub import hf_hub_download

    with one_line(repository, revision, needed=name):
        return Path(hf_hub_download(repository, name, revision=revision))


def describe(repository: str, revision: str | None) -> Revision:
    """Commit and sha256 of the weights of a revision (main, if None); errors as `snapshot`."""
    from huggingface_hub import HfApi

    with one_line(repository, revision):
        found = HfApi().model_info(repository, revision=revision, files_metadata=True)
    sizes = {each.rfilename: each.size or 0 for each in found.siblings or ()}
    taken = {name: sizes[name] for name in sizes if any(fnmatchcase(name, pattern) for pattern in TAKEN)}
    weights = {
        each.rfilename: each.lfs.sha256
        for each in found.siblings or ()
        if each.rfilename.endswith(".safetensors") and "/" not in each.rfilename and each.lfs
    }
    if ONE_FILE in weights:  # which is then the only one that transformers loads
        weights = {ONE_FILE: weights[ONE_FILE]}
    return Revision(revision or "main", str(found.sha), weights, taken)


def branches(repository: str) -> tuple[str, ...]:
    """The names of a repository's branches (of a data set: datasets/ID); errors as `snapshot`."""
    from huggingface_hub import HfApi

    repo_type = "dataset" if repository.startswith("datasets/") else "model"
    repository = repository.removeprefix("datasets/")
    with one_line(repository, None):
        return tuple(branch.name for branch in HfApi().list_repo_refs(repository, repo_type=repo_type).branches)


def nearest(name: str, names: Sequence[str]) -> str:
    """'; did you mean …? ' where some name is near, else the first few; empty without names."""
    if not names:
        return ""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"; there are {', '.join(names[:4])}{more}"


@contextmanager
def one_line(repository: str, revision: str | None, kind: str = "reference", needed: str = "a file") -> Iterator[None]:
    """Each failure of the client in it as one line with what to do, about a revision of a repository of that kind."""
    from huggingface_hub import errors

    what = f"{kind}: {repository}" + (f" at {revision}" if revision else "")
    page = repository if kind == "reference" else f"datasets/{repository}"
    try:
        yield
    except BadInputError:
        raise
    except errors.GatedRepoError:  # before RepositoryNotFoundError, of which it is one
        raise BadInputError(
            f"{what}: is gated: accept its terms at https://huggingface.co/{page}, then `hf auth login` or HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        thing = "model" if kind == "reference" else kind
        raise BadInputError(
            f"{what}: the hub has no such {thing}, or it is private: check the id, or log in with `hf auth login` or "
            "HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        raise BadInputError(f"{what}: no such revision{nearest(revision or '', _branches_if_any(page))}") from None
    except errors.RemoteEntryNotFoundError:
        raise BadInputError(f"{what}: has no {needed}, which is needed; another revision may have it") from None
    except errors.HFValidationError as error:
        raise BadInputError(f"{what}: {first_line(error)}") from None
    except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError, OSError, errors.HfHubHTTPError) as error:
        raise WorkFailedError(f"{what}: {_unreachable(error)}") from None
    except Exception as error:  # the client's own client (httpx) has a dozen types for a connection that fails
        raise WorkFailedError(f"{what}: {_unreachable(error)}") from None


def _unreachable(error: Exception) -> str:
    mend = "give a local directory, or what `replibench fetch CONFIG --to DIR` brought, as `offline: DIR`"
    if is_offline():
        return f"is not in the hub's cache on this machine, and HF_HUB_OFFLINE is set: unset it, or {mend}"
    return f"the hub cannot be reached ({type(error).__name__}: {first_line(error)}); without a network {mend}"


def _branches_if_any(repository: str) -> Sequence[str]:
    try:
        return branches(repository)
    except (BadInputError, WorkFailedError):
        return ()

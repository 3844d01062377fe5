"""`replibench init`: from a published model to the YAML of its replication, with what is known of how it was made."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from accounting.architecture import Architecture
from accounting.hf_config import to_hf_config
from configs import presets
from configs.errors import BadInputError
from configs.files import sha256_of
from configs.recipes import KnownRecipe, recipe_of_hub_id, recipe_of_preset, recipe_of_shape, recipes
from configs.schema import TrainConfig
from scripts.init_estimate import CHINCHILLA, Budget
from train import hub
from train.reference import BESIDE_TOKENIZER, conversion, locate, pin, read_config, shards

LONGEST_DEFAULT = 2048  # tokens of a row where no recipe says
MICRO_BATCH = 8  # rows at most, where no cluster is planned for


class Original(NamedTuple):
    """What is to be replicated, as found. `reference` None: its weights were never published.

    `revision` is what pins it (a commit of the hub), `asked` what the user called it.
    """

    title: str
    reference: str | None
    revision: str | None
    asked: str | None
    sha256: dict[str, str]
    config: dict[str, Any] | None
    shape: Architecture
    known: KnownRecipe | None
    unpinned: str | None = None


class Start(NamedTuple):
    """All that the file says. `whole` is the original's budget, `horizon_steps` its schedule's in this one's steps."""

    original: Original
    budget: Budget
    whole: Budget
    horizon_steps: int
    scale_down: float | None

    @property
    def is_part(self) -> bool:
        """Is less trained than the original was?"""
        return self.budget.steps < self.whole.steps


def start(reference: str, revision: str | None, scale_down: float | None) -> Start:
    """Find the original and decide the budget. Raises BadInputError and WorkFailedError, of reference and flags."""
    if scale_down is not None and not 0 < scale_down <= 1:  # nan is not, either
        raise BadInputError(f"--scale-down: {scale_down:g} is not a share of the budget; give one such as 0.001")
    original = find(reference, revision)
    known, shape = original.known, original.shape
    if known is None:
        length = min(shape.context, LONGEST_DEFAULT)
        rows = TrainConfig().global_batch_rows
        tokens = CHINCHILLA * shape.parameter_counts().total
        steps = horizon = max(1, round(tokens / (rows * length)))
    else:
        length, rows = min(known.recipe.sequence_length, shape.context), known.model.batch_rows
        steps, horizon = known.steps, known.horizon_steps
    whole = Budget(shape, rows, length, steps)
    at_revision = _steps_of(original, scale_down)
    if at_revision is not None:
        return Start(original, whole._replace(steps=at_revision), whole, horizon, None)
    share = scale_down or 1.0
    scaled = whole._replace(steps=max(1, round(share * steps)))
    return Start(original, scaled, whole, max(1, round(share * horizon)), scale_down)


def find(reference: str, revision: str | None) -> Original:
    """A directory, the name of a preset whose recipe is known, or a hub id. Errors as `load_reference`."""
    if Path(reference).is_dir():
        return _local(reference, revision)
    known = recipe_of_preset(reference)
    if known is not None:
        return _preset(reference, revision, known)
    if "/" not in reference or not hub.looks_like_an_id(reference):
        names = [name for recipe in recipes() for name in recipe.models]
        raise BadInputError(
            f"{reference}: no such directory, and a hub id has an owner, such as EleutherAI/pythia-70m; no preset of a "
            f"known recipe, either{hub.nearest(reference, names)}"
        )
    return _of_hub(reference, revision)


def _local(reference: str, revision: str | None) -> Original:
    directory = locate(reference, revision)
    config = read_config(directory)
    sha256 = pin(directory, reference, revision)
    shape, _ = presets.model_architecture(str(directory))
    path = str(Path(reference).resolve())
    known = recipe_of_shape(shape)
    return Original(Path(path).name, path, revision, revision, sha256, config, shape, known)


def _of_hub(repository: str, revision: str | None) -> Original:
    known = recipe_of_hub_id(repository)
    if hub.is_offline():  # the cache has whole revisions, by their commits
        directory = locate(repository, revision)
        config, sha256 = read_config(directory), pin(directory, repository, revision)
        shape, _ = presets.model_architecture(str(directory))
        return Original(repository, repository, directory.name, revision, sha256, config, shape, known)
    found = hub.describe(repository, revision)
    if not found.weights_sha256:
        raise BadInputError(
            f"reference: {repository} at {found.name}: has no safetensors weights, and pickled ones are never loaded; "
            "another revision may have them (refs/pr/NUMBER of the hub's own conversion); "
            f"{conversion(repository, revision)}"
        )
    if "tokenizer.json" not in found.sizes:
        raise BadInputError(
            f"reference: {repository} at {found.name}: has no tokenizer.json; {conversion(repository, revision)}"
        )
    small = ("config.json", "tokenizer.json", *(name for name in BESIDE_TOKENIZER if name in found.sizes))
    files = {name: hub.file(repository, found.commit, name) for name in small}
    weights = found.weights_sha256
    if hub.ONE_FILE not in weights:
        files[hub.INDEX] = hub.file(repository, found.commit, hub.INDEX)
        missing = [name for name in shards(files[hub.INDEX]) if name not in weights]
        if missing:
            raise BadInputError(
                f"reference: {repository} at {found.name}: no {missing[0]} in it, which its index names"
            )
        weights = {name: weights[name] for name in shards(files[hub.INDEX])}
    shape, _ = presets.model_architecture(str(files["config.json"]))
    sha256 = {name: sha256_of(path) for name, path in files.items()} | weights
    config = json.loads(files["config.json"].read_text(encoding="utf-8"))
    return Original(repository, repository, found.commit, found.name, sha256, config, shape, known)


def _preset(name: str, revision: str | None, known: KnownRecipe) -> Original:
    shape = presets.architecture(name)
    hub_id = next(iter(known.model.hub), None)
    if revision is not None and hub_id is None:
        raise BadInputError(f"--revision: {revision}: the weights of {name} were never published")
    names = [f"step{step}" for step in known.revision_steps]
    if revision is not None and names and revision not in (*names, "main"):
        raise BadInputError(f"--revision: {revision}: {hub_id} has no such one{hub.nearest(revision, names)}")
    if hub_id is None:
        return Original(name, None, None, None, {}, to_hf_config(shape), shape, known)
    unpinned = (
        f"not pinned: nothing was fetched; `replibench init {hub_id}` pins commit and sha256 where there is internet"
    )
    return Original(hub_id, hub_id, revision, revision, {}, None, shape, known, unpinned)


def _steps_of(original: Original, scale_down: float | None) -> int | None:
    """The steps of a revision stepN of a suite that has them; None for any other."""
    match = re.fullmatch(r"step(\d+)", original.asked or "")
    if match is None:
        return None
    if original.known is None or not original.known.revision_steps:
        raise BadInputError(
            f"--revision: {original.asked}: how many tokens that is cannot be said, since no recipe of "
            f"{original.title} is known; write the YAML of the model itself and set revision and train.steps in it"
        )
    if scale_down is not None:
        raise BadInputError(f"--scale-down: the budget is that of --revision {original.asked}; give one of the two")
    if int(match[1]) == 0:
        raise BadInputError("--revision: step0 is the untrained model: there is nothing to replicate; take a later one")
    return int(match[1])

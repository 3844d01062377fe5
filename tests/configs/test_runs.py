"""The presets of published models: a dry run of each, without weights and without a network."""

import re
from pathlib import Path

import pytest
import torch

from accounting.architecture import Architecture
from accounting.hf_config import from_hf_config, to_hf_config
from configs import presets
from configs.loader import PRESETS, load_config
from configs.recipes import recipe_of_hub_id
from configs.schema import RunConfig
from extrapolate.throughput import plan
from scripts.init_estimate import Budget, trainable
from scripts.publish_runs import CLUSTER, RUNS, path_of, published
from train.model import build, full_config
from train.reference import read_config

# Read from the papers' tables, independently of configs/recipes: tokens of a step and of all, learning rate.
PUBLISHED = {
    "pythia-14m": (2_097_152, 299_892_736_000, 1e-3),
    "pythia-70m": (2_097_152, 299_892_736_000, 1e-3),
    "pythia-160m": (2_097_152, 299_892_736_000, 6e-4),
    "gpt2-124m": (524_288, 300e9, 6e-4),
    "gpt2-350m": (524_288, 300e9, 3e-4),
    "opt-125m": (524_288, 300e9, 6e-4),
    "gpt3-xl-1.3b-8xh100": (1_048_576, 300e9, 2e-4),
}


def _shape(config: RunConfig) -> Architecture:
    """Of its reference by the preset, since nothing is downloaded."""
    if config.reference is None:
        return from_hf_config(config.architecture)
    known = recipe_of_hub_id(config.reference)
    assert known is not None
    return presets.architecture(known.name)


@pytest.mark.parametrize("name", RUNS)
def test_a_dry_run(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    shape, train = _shape(config), config.train
    model = build(full_config(to_hf_config(shape)), seed=0, device=torch.device("meta"))
    assert sum(p.numel() for p in model.parameters()) == shape.parameter_counts().total
    batch, tokens, learning_rate = PUBLISHED[name]
    rows = train.global_batch_rows
    assert rows * train.sequence_length == batch
    assert train.steps * batch == pytest.approx(tokens, rel=1e-5)
    assert train.optimizer.learning_rate == learning_rate
    assert train.world_size == presets.cluster(CLUSTER).count
    planned = plan(shape, presets.cluster(CLUSTER), rows, train.sequence_length, best=300)
    ours = [p for p in planned.plans if trainable(p) and p.micro_batch_size == train.micro_batch_size]
    assert any(p.data_parallel_size == train.data_parallel_size for p in ours)
    budget = Budget(shape, rows, train.sequence_length, train.steps)
    assert (
        5 * shape.parameter_counts().non_embedding * tokens < budget.flop < 20 * shape.parameter_counts().total * tokens
    )


# Those that `replibench init` did not write, and their parameters: 12Lh² + 13Lh + 2h + 2Vh; of GPT-2 as published.
BY_HAND = {
    "smoke": 434_016,
    "tinyworld-reference": 434_016,
    "novels-3m-cpu": 3_352_704,
    "gpt2-124m-generated": 124_439_808,
}


def test_every_published_run_is_dry_run() -> None:
    assert {path.stem for path in (PRESETS / "runs").glob("*.yaml")} == {*RUNS, *BY_HAND}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_dry_run_of_those_written_by_hand(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    train = config.train
    stated = {**(read_config(Path(config.reference)) if config.reference else {}), **config.architecture}
    architecture = full_config(stated)
    model = build(architecture, train.seed, torch.device("meta"), train.initialisation)
    shape = from_hf_config(architecture.to_dict())
    counted = shape.parameter_counts()
    assert sum(p.numel() for p in model.parameters()) == counted.total == BY_HAND[name]
    assert train.sequence_length <= shape.context
    budget = Budget(shape, train.global_batch_rows, train.sequence_length, train.steps)
    assert 6 * counted.non_embedding * budget.tokens < budget.flop < 12 * counted.total * budget.tokens


@pytest.mark.parametrize("name", RUNS)
def test_the_file_is_what_init_writes(name: str) -> None:
    assert published(name) == path_of(name).read_text(encoding="utf-8"), "run `python -m scripts.publish_runs`"


def test_every_value_of_a_recipe_says_where_it_is_from() -> None:
    """Each of the keys that the recipe is made of has its source behind it, or that it is not published."""
    for name in RUNS:
        text = path_of(name).read_text(encoding="utf-8")
        for key in (
            "steps",
            "micro_batch_size",
            "precision",
            "initialisation",
            "learning_rate",
            "betas",
            "kind",
            "tasks",
        ):
            assert re.search(
                rf"^ +{key}: .*  # .*(20\d\d|[A-Za-z]+/[a-z0-9-]+[@:]|not published)", text, re.MULTILINE
            ), (
                name,
                key,
            )

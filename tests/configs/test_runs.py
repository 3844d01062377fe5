"""The presets of published models: a dry run of each, without weights and without a network."""

import re

import pytest
import torch

from accounting.architecture import Architecture
from accounting.hf_config import from_hf_config, to_hf_config
from configs import presets
from configs.loader import load_config
from configs.recipes import recipe_of_hub_id
from configs.schema import RunConfig
from extrapolate.throughput import plan
from scripts.init_estimate import Budget, trainable
from scripts.publish_runs import CLUSTER, RUNS, path_of, published
from train.model import build, full_config

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
            assert re.search(rf"^ +{key}: .*  # .*(20\d\d|[A-Za-z]+/[a-z0-9-]+:|not published)", text, re.MULTILINE), (
                name,
                key,
            )

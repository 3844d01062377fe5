"""The model that is trained is transformers' own, and the tensor-parallel plan covers it."""

import re

import pytest
import torch
from transformers import AutoModelForCausalLM

from configs.errors import BadInputError
from tests.train.tiny import ARCHITECTURES
from train.families import FAMILIES
from train.model import build, decay_groups, full_config, to_checkpoint_names


@pytest.mark.parametrize("family", FAMILIES)
def test_it_computes_what_the_reference_class_computes(family: str) -> None:
    config = full_config(ARCHITECTURES[family])
    ours = build(config, seed=3, device="cpu")
    theirs = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    theirs.load_state_dict(to_checkpoint_names(FAMILIES[family], ours.state_dict()))
    ids = torch.randint(0, 512, (2, 20))
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_has_no_dropout(family: str) -> None:
    model = build(full_config(ARCHITECTURES[family]), seed=3, device="cpu").train()
    ids = torch.randint(0, 512, (2, 20))
    assert torch.equal(model(ids).logits, model(ids).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_seed_alone_makes_the_weights(family: str) -> None:
    config = full_config(ARCHITECTURES[family])
    one, same, other = (dict(build(config, seed, "cpu").named_parameters()) for seed in (1, 1, 2))
    assert all(torch.equal(p, same[name]) for name, p in one.items())
    assert any(not torch.equal(p, other[name]) for name, p in one.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_plan_names_every_matrix_of_every_block_exactly_once(family: str) -> None:
    plan = FAMILIES[family]
    model = build(full_config(ARCHITECTURES[family]), seed=0, device="cpu")
    patterns = [*plan.column, *plan.row, *([plan.fused_qkv] if plan.fused_qkv else [])]
    embeddings = {id(model.get_input_embeddings().weight), id(model.get_output_embeddings().weight)}
    for name, parameter in model.named_parameters():
        hits = sum(bool(re.match(pattern, name)) for pattern in patterns)
        inside = parameter.ndim == 2 and id(parameter) not in embeddings and "wpe" not in name
        assert hits == inside, name


def test_only_matrices_decay() -> None:
    model = build(full_config(ARCHITECTURES["gpt2"]), seed=0, device="cpu")
    decayed, plain = decay_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0.0
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def test_unknown_families_are_refused_by_name() -> None:
    with pytest.raises(BadInputError, match="'mamba' cannot be trained here; known: gpt2, gpt_neox"):
        full_config({"model_type": "mamba"})

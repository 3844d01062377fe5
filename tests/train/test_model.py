"""The model that is trained is transformers' own, and the tensor-parallel plan covers it."""

import re

import pytest
import torch
from transformers import AutoModelForCausalLM

from configs.errors import BadInputError
from tests.train.tiny import ARCHITECTURES
from train.families import FAMILIES, scaled_normal_stds
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
        inside = parameter.ndim == 2 and id(parameter) not in embeddings and not re.search("wpe|embed_positions", name)
        assert hits == inside, name


@pytest.mark.parametrize(
    ("family", "std", "output_std"),
    [
        ("gpt2", 0.02, 0.02 / 8**0.5),  # Radford et al. 2019: 1/√N of the residual layers, here 2 × 4
        ("gpt_neox", (2 / (5 * 128)) ** 0.5, 2 / (4 * 128**0.5)),  # EleutherAI/pythia:models: small_init, wang_init
        ("opt", 0.006, 0.006 / 8**0.5),  # Zhang et al. 2022, section 2.2
        ("llama", 0.02, 0.02),  # the paper says nothing: transformers' class
    ],
)
def test_initial_weights_are_the_papers(family: str, std: float, output_std: float) -> None:
    sizes = {"n_embd": 128, "n_layer": 4} if family == "gpt2" else {"hidden_size": 128, "num_hidden_layers": 4}
    config = {key: value for key, value in (ARCHITECTURES[family] | sizes).items() if key != "word_embed_proj_dim"}
    model = build(full_config(config), seed=1, device="cpu")
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            assert torch.all(parameter == (1.0 if "norm" in name or ".ln_" in name else 0.0)) or "bias" in name
            continue
        outputs = any(re.match(pattern, name) for pattern in FAMILIES[family].row)
        assert float(parameter.detach().std()) == pytest.approx(output_std if outputs else std, rel=0.05), name


def test_transformers_initialisation_is_its_classs() -> None:
    config = full_config(ARCHITECTURES["gpt_neox"])
    model = build(config, seed=1, device="cpu", initialisation="transformers")
    dense = dict(model.named_parameters())["gpt_neox.layers.0.mlp.dense_4h_to_h.weight"]
    assert float(dense.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_scaled_normal_is_gpt_neoxs_default_whatever_the_family() -> None:
    """What pythia-6.9b's step0 has by its issue 135: 0.02, and 0.02/√(2 × 32) = 0.0025."""
    assert scaled_normal_stds(4096, 32) == (0.02, 0.0025)
    config = full_config(ARCHITECTURES["gpt_neox"] | {"hidden_size": 128, "num_hidden_layers": 4})
    for name, parameter in build(config, seed=1, device="cpu", initialisation="scaled_normal").named_parameters():
        if parameter.ndim > 1:
            outputs = any(re.match(pattern, name) for pattern in FAMILIES["gpt_neox"].row)
            std = 0.02 / 8**0.5 if outputs else 0.02
            assert float(parameter.detach().std()) == pytest.approx(std, rel=0.05), name


def test_only_matrices_decay() -> None:
    model = build(full_config(ARCHITECTURES["gpt2"]), seed=0, device="cpu")
    decayed, plain = decay_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0.0
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def test_unknown_families_are_refused_by_name() -> None:
    with pytest.raises(BadInputError, match="'mamba' cannot be trained here; known: gpt2, gpt_neox, opt, llama"):
        full_config({"model_type": "mamba"})

"""Parameter counts equal those of the Hugging Face classes, to the last one."""

import json
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM
from transformers.configuration_utils import PretrainedConfig

from accounting.architecture import Architecture, from_hf_config

CLASSES: dict[str, tuple[type[PretrainedConfig], Any]] = {
    "gpt2": (GPT2Config, GPT2LMHeadModel),
    "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM),
}


def gpt2(**keys: Any) -> dict[str, Any]:
    return {"model_type": "gpt2", **keys}


def pythia(layers: int, width: int, heads: int, vocab: int = 50304, **keys: Any) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "vocab_size": vocab,
        **keys,
    }


SHAPES = {
    "gpt2": gpt2(),
    "gpt2-medium": gpt2(n_layer=24, n_embd=1024, n_head=16),
    "gpt2-large": gpt2(n_layer=36, n_embd=1280, n_head=20),
    "gpt2-xl": gpt2(n_layer=48, n_embd=1600, n_head=25),
    "gpt2-odd": gpt2(n_layer=3, n_embd=42, n_head=7, n_inner=55, n_positions=17, vocab_size=101),
    "gpt2-untied": gpt2(n_layer=1, n_embd=8, n_head=1, vocab_size=11, tie_word_embeddings=False),
    "gpt2-general-names": gpt2(num_hidden_layers=2, hidden_size=24, num_attention_heads=3, max_position_embeddings=9),
    "neox-20b-defaults": {"model_type": "gpt_neox"},
    "pythia-14m": pythia(6, 128, 4),
    "pythia-70m": pythia(6, 512, 8),
    "pythia-410m": pythia(24, 1024, 16),
    "pythia-1b": pythia(16, 2048, 8),
    "pythia-6.9b": pythia(32, 4096, 32, vocab=50432),
    "pythia-12b": pythia(36, 5120, 40, vocab=50688),
    "neox-odd": pythia(3, 40, 5, vocab=77, intermediate_size=33, attention_bias=False, tie_word_embeddings=True),
    "neox-serial": pythia(2, 32, 2, vocab=50, use_parallel_residual=False),
}


def on_meta(config: dict[str, Any]) -> Any:
    config_class, model_class = CLASSES[config["model_type"]]
    with torch.device("meta"):
        return model_class(config_class(**{k: v for k, v in config.items() if k != "model_type"}))


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_equal_the_hugging_face_model(name: str) -> None:
    model = on_meta(SHAPES[name])
    counts = from_hf_config(SHAPES[name]).parameter_counts()
    assert counts.total == sum(p.numel() for p in model.parameters())
    assert counts.embedding == model.get_input_embeddings().weight.numel()


@pytest.mark.parametrize("name", ["gpt2-odd", "neox-odd"])
def test_parts_are_the_parts(name: str) -> None:
    parts: dict[str, int] = dict.fromkeys(("embedding", "positions", "attention", "mlp", "norms", "head"), 0)
    keys = {"wte": "embedding", "embed_in": "embedding", "wpe": "positions", "attn": "attention", "mlp": "mlp"}
    keys |= {"attention": "attention", "embed_out": "head", "lm_head": "head"}
    for parameter_name, parameter in on_meta(SHAPES[name]).named_parameters():
        words = parameter_name.split(".")
        parts[next((part for key, part in keys.items() if key in words), "norms")] += parameter.numel()
    assert from_hf_config(SHAPES[name]).parameter_counts().model_dump() == parts


@pytest.mark.parametrize("name", SHAPES)
def test_what_transformers_writes_is_read_back(name: str) -> None:
    config_class, _ = CLASSES[SHAPES[name]["model_type"]]
    config = config_class(**{k: v for k, v in SHAPES[name].items() if k != "model_type"})
    expected = from_hf_config(SHAPES[name])
    assert from_hf_config(json.loads(config.to_json_string(use_diff=True))) == expected
    assert from_hf_config(config.to_dict()) == expected


def test_pythia_non_embedding_is_the_published_one() -> None:
    # EleutherAI/pythia:README.md, 70M
    counts = from_hf_config(SHAPES["pythia-70m"]).parameter_counts()
    assert (counts.total, counts.non_embedding) == (70_426_624, 18_915_328)


def test_gated_grouped_rms_shape_by_hand() -> None:
    shape = Architecture(
        family="by hand",
        n_layers=2,
        d_model=8,
        n_heads=4,
        n_kv_heads=2,
        d_head=3,
        d_ff=10,
        vocab_size=7,
        context=5,
        positions="rotary",
        norm="rmsnorm",
        gated_mlp=True,
        qkv_bias=False,
        attention_output_bias=False,
        mlp_bias=False,
    )
    counts = shape.parameter_counts()
    assert counts.attention == 2 * (8 * 12 + 2 * 8 * 6 + 12 * 8)
    assert counts.mlp == 2 * 3 * 8 * 10
    assert (counts.norms, counts.embedding, counts.positions, counts.head) == (5 * 8, 56, 0, 56)


def test_an_unknown_family_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'mamba'.*gpt2, gpt_neox"):
        from_hf_config({"model_type": "mamba"})
    with pytest.raises(ValueError, match="None"):
        from_hf_config({})


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden size 10 is not a multiple of the number of heads 3"):
        from_hf_config(gpt2(n_embd=10, n_head=3))
    with pytest.raises(ValueError, match="add_cross_attention"):
        from_hf_config(gpt2(add_cross_attention=True))

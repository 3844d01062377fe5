"""What differs between model families: one small entry each. Everything else in this room is the same for all.

No torch at import: the launcher asks here whether a family is known before any process starts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from configs.errors import BadInputError


@dataclass(frozen=True)
class Family:
    """How one transformers architecture is trained here.

    `column` and `row` are the tensor-parallel plan: regular expressions of parameter names whose weight is split by
    output (column) or by input (row). DeepSpeed is never left to guess: without a plan it refuses GPT-2, and
    transformers' own plan for some families is silently wrong.

    `blocks`, `before` and `after` are the pipeline plan, as names of modules: the list of blocks, which the stages
    share out, what only the first stage has and what only the last has.
    """

    heads_key: str
    d_model_key: str
    context_key: str
    dropout_keys: tuple[str, ...]
    column: tuple[str, ...]
    row: tuple[str, ...]
    blocks: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    key_heads_key: str | None = None  # where the keys' heads have a number of their own, which must be divided too
    fused_qkv: str | None = None  # a column pattern whose output is q, k and v one after the other: split each
    conv1d: bool = False  # the family stores weights transposed (Conv1D); trained as Linear, exported as Conv1D
    after_split: Callable[[Any], None] | None = None  # repairs sizes that modules remember, once per model
    # (d_model, n_layers) → standard deviations of the initial matrices: all, and those that write into the residual
    # stream (the `row` ones). None: transformers' class does what the family's paper says, or the paper says nothing.
    initial_stds: Callable[[int, int], tuple[float, float]] | None = None


def _pythia_stds(d_model: int, n_layers: int) -> tuple[float, float]:
    """small_init (Nguyen & Salazar 2019) and wang_init, as in EleutherAI/pythia:models and Black et al. 2022."""
    return math.sqrt(2 / (5 * d_model)), 2 / (n_layers * math.sqrt(d_model))


def _opt_stds(d_model: int, n_layers: int) -> tuple[float, float]:
    """Zhang et al. 2022, section 2.2, after Megatron-LM: 0.006, output layers by 1/√(2L)."""
    return 0.006, 0.006 / math.sqrt(2 * n_layers)


def scaled_normal_stds(d_model: int, n_layers: int) -> tuple[float, float]:
    """GPT-NeoX's defaults: 0.02 whatever the width, and 1/√(2L) of it on output layers (Radford et al. 2019, 2.3).

    openai/gpt-2's own code scales no layer.
    """
    return 0.02, 0.02 / math.sqrt(2 * n_layers)


def _gpt2_after_split(model: Any) -> None:
    # GPT2Attention cuts the fused q, k, v by `split_size`; DeepSpeed adapts `embed_dim` alone.
    for block in model.transformer.h:
        block.attn.split_size = block.attn.embed_dim


FAMILIES: dict[str, Family] = {
    "gpt2": Family(
        heads_key="n_head",
        d_model_key="n_embd",
        context_key="n_positions",
        dropout_keys=("attn_pdrop", "embd_pdrop", "resid_pdrop"),
        column=(r".*\.mlp\.c_fc\.weight$",),
        row=(r".*\.attn\.c_proj\.weight$", r".*\.mlp\.c_proj\.weight$"),
        blocks="transformer.h",
        before=("transformer.wte", "transformer.wpe"),
        after=("transformer.ln_f", "lm_head"),
        fused_qkv=r".*\.attn\.c_attn\.weight$",
        conv1d=True,
        after_split=_gpt2_after_split,
    ),
    "gpt_neox": Family(
        heads_key="num_attention_heads",
        d_model_key="hidden_size",
        context_key="max_position_embeddings",
        dropout_keys=("attention_dropout", "hidden_dropout"),
        # q, k and v of one head lie together here, so a plain split by output keeps heads whole.
        column=(r".*\.attention\.query_key_value\.weight$", r".*\.mlp\.dense_h_to_4h\.weight$"),
        row=(r".*\.attention\.dense\.weight$", r".*\.mlp\.dense_4h_to_h\.weight$"),
        blocks="gpt_neox.layers",
        before=("gpt_neox.embed_in",),
        after=("gpt_neox.final_layer_norm", "lm_head"),
        initial_stds=_pythia_stds,
    ),
    "opt": Family(
        heads_key="num_attention_heads",
        d_model_key="hidden_size",
        context_key="max_position_embeddings",
        dropout_keys=("dropout", "attention_dropout", "activation_dropout", "layerdrop"),
        column=(r".*\.self_attn\.[qkv]_proj\.weight$", r".*\.fc1\.weight$"),
        row=(r".*\.self_attn\.out_proj\.weight$", r".*\.fc2\.weight$"),
        blocks="model.decoder.layers",
        before=("model.decoder.embed_tokens", "model.decoder.embed_positions", "model.decoder.project_in"),
        after=("model.decoder.final_layer_norm", "model.decoder.project_out", "lm_head"),
        initial_stds=_opt_stds,
    ),
    "llama": Family(
        heads_key="num_attention_heads",
        d_model_key="hidden_size",
        context_key="max_position_embeddings",
        dropout_keys=("attention_dropout",),
        column=(r".*\.self_attn\.[qkv]_proj\.weight$", r".*\.mlp\.(gate|up)_proj\.weight$"),
        row=(r".*\.self_attn\.o_proj\.weight$", r".*\.mlp\.down_proj\.weight$"),
        blocks="model.layers",
        before=("model.embed_tokens",),
        after=("model.norm", "lm_head"),
        key_heads_key="num_key_value_heads",
    ),
}


def family_of(config: dict[str, Any], where: str) -> Family:
    """The entry for a config.json's model_type. Raises BadInputError naming `where` and the families there are."""
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise BadInputError(f"{where}: model_type {model_type!r} cannot be trained here; known: {', '.join(FAMILIES)}")
    return FAMILIES[model_type]

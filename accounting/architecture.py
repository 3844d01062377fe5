"""The shape of a dense decoder-only language model, and the number of its parameters, part by part."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator


class ParameterCounts(BaseModel):
    """Parameters by part, each parameter once (a tied head is counted as embedding, its `head` is 0)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding: int
    positions: int
    attention: int
    mlp: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """Every parameter: what `sum(p.numel() for p in model.parameters())` gives."""
        return self.embedding + self.positions + self.non_embedding + self.head

    @property
    def non_embedding(self) -> int:
        """Without token embeddings, position embeddings and output head (Kaplan et al. 2020, section 1.3)."""
        return self.attention + self.mlp + self.norms


class Architecture(BaseModel):
    """A dense, autoregressive transformer. Sizes are counts; nothing here depends on weights or precision.

    `d_head` need not be `d_model / n_heads`; `n_kv_heads < n_heads` is grouped-query attention; `context`
    is the longest sequence, which is also the number of learned position embeddings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    n_layers: PositiveInt
    d_model: PositiveInt
    n_heads: PositiveInt
    n_kv_heads: PositiveInt
    d_head: PositiveInt
    d_ff: PositiveInt
    vocab_size: PositiveInt
    context: PositiveInt
    positions: Literal["learned", "rotary", "none"]
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    norms_per_layer: PositiveInt = 2
    final_norm: bool = True
    gated_mlp: bool = False
    tied_head: bool = False
    parallel_residual: bool = False
    qkv_bias: bool = True
    attention_output_bias: bool = True
    mlp_bias: bool = True
    head_bias: bool = False

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_heads {self.n_heads} is not a multiple of n_kv_heads {self.n_kv_heads}")
        return self

    @property
    def query_width(self) -> int:
        """Width of all query heads together, which is the width of the attention's output too."""
        return self.n_heads * self.d_head

    @property
    def key_value_width(self) -> int:
        """Width of all key heads together; the values have as much again."""
        return self.n_kv_heads * self.d_head

    def parameter_counts(self) -> ParameterCounts:
        """Exact parameters by part; equal to the Hugging Face class of the family."""
        h, q, kv, ff = self.d_model, self.query_width, self.key_value_width, self.d_ff
        attention = h * (q + 2 * kv) + q * h
        attention += (q + 2 * kv) * self.qkv_bias + h * self.attention_output_bias
        input_matrices = 2 if self.gated_mlp else 1
        mlp = (input_matrices + 1) * h * ff + (input_matrices * ff + h) * self.mlp_bias
        per_norm = 2 * h if self.norm == "layernorm" else h  # a layer norm has a bias, an RMS norm has none
        return ParameterCounts(
            embedding=self.vocab_size * h,
            positions=self.context * h if self.positions == "learned" else 0,
            attention=self.n_layers * attention,
            mlp=self.n_layers * mlp,
            norms=(self.n_layers * self.norms_per_layer + self.final_norm) * per_norm,
            head=0 if self.tied_head else self.vocab_size * (h + self.head_bias),
        )


def _d_head(d_model: int, n_heads: int) -> int:
    if d_model % n_heads:
        raise ValueError(f"hidden size {d_model} is not a multiple of the number of heads {n_heads}")
    return d_model // n_heads


def _gpt2(config: Mapping[str, Any]) -> Architecture:
    if config.get("add_cross_attention"):
        raise ValueError("add_cross_attention: only decoder-only models are counted")
    # GPT2Config knows these four by a second, general name (its `attribute_map`).
    d_model = config.get("n_embd", config.get("hidden_size", 768))
    n_heads = config.get("n_head", config.get("num_attention_heads", 12))
    n_inner = config.get("n_inner")
    return Architecture(
        family="gpt2",
        n_layers=config.get("n_layer", config.get("num_hidden_layers", 12)),
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        d_head=_d_head(d_model, n_heads),
        d_ff=4 * d_model if n_inner is None else n_inner,
        vocab_size=config.get("vocab_size", 50257),
        context=config.get("n_positions", config.get("max_position_embeddings", 1024)),
        positions="learned",
        tied_head=config.get("tie_word_embeddings", True),
    )


def _gpt_neox(config: Mapping[str, Any]) -> Architecture:
    d_model = config.get("hidden_size", 6144)
    n_heads = config.get("num_attention_heads", 64)
    attention_bias = config.get("attention_bias", True)
    return Architecture(
        family="gpt_neox",
        n_layers=config.get("num_hidden_layers", 44),
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        d_head=_d_head(d_model, n_heads),
        d_ff=config.get("intermediate_size", 24576),
        vocab_size=config.get("vocab_size", 50432),
        context=config.get("max_position_embeddings", 2048),
        positions="rotary",
        tied_head=config.get("tie_word_embeddings", False),
        parallel_residual=config.get("use_parallel_residual", True),
        qkv_bias=attention_bias,
        attention_output_bias=attention_bias,
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], Architecture]] = {"gpt2": _gpt2, "gpt_neox": _gpt_neox}


def from_hf_config(config: Mapping[str, Any]) -> Architecture:
    """The architecture that a Hugging Face `config.json` describes.

    A key that is left out has the default of the family's configuration class, since transformers writes
    only what differs from it. Raises ValueError for a family that is not counted here, naming it and the
    known ones, and for sizes that do not fit together.
    """
    family = config.get("model_type")
    reader = _READERS.get(family) if isinstance(family, str) else None
    if reader is None:
        raise ValueError(f"model_type {family!r} is not counted here; known: {', '.join(sorted(_READERS))}")
    return reader(config)

"""The floating-point operations of training: one exact count, and the usual approximations beside it.

A matmul of (m×k) by (k×n) is 2mkn FLOP, a multiplication and an addition. Everything that is not a matmul
(norms, activations, softmax, the embedding look-up, the optimizer's step) is left out, as the field does.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from accounting.architecture import Architecture

Recompute = Literal["none", "full", "selective"]

# A backward pass has two matmuls for each of the forward's: the gradient of the input and that of the weight.
BACKWARD_PER_FORWARD = 2


class ForwardFlopPerToken(BaseModel):
    """Forward FLOP of one token by part, all layers together, in a sequence of the ledger's length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    qkv_projections: int
    attention_scores: int
    attention_values: int
    attention_output: int
    mlp: int
    logits: int

    @property
    def attention_core(self) -> int:
        """Queries × keys and weights × values: the part that grows with the length, counted in full."""
        return self.attention_scores + self.attention_values

    @property
    def layers(self) -> int:
        """Everything but the logits."""
        return self.qkv_projections + self.attention_core + self.attention_output + self.mlp

    @property
    def total(self) -> int:
        """The whole forward pass of one token."""
        return self.layers + self.logits


class FlopLedger(BaseModel):
    """Training FLOP of `tokens` tokens in sequences of `sequence_length`, by every convention, each labelled.

    `model_flop`                 forward + backward, every matmul, the full square of attention. MFU's numerator.
    `model_flop_causal_halved`   the same with half the attention core, since the mask hides half of it.
    `hardware_flop`              `model_flop` and what `recompute` runs a second time. HFU's numerator.
    `six_n_d_all_flop`           6·N·D, N = `parameters_all` (a tied head once).
    `six_n_d_non_embedding_flop` 6·N·D, N = `parameters_non_embedding` (no embeddings, positions or head).
    `closed_form_flop`           72BsLh²(1+s/6h+V/12Lh), the next without recompute; None where the shape is not GPT's.
    `closed_form_full_recompute_flop`  96BsLh²(1+s/6h+V/16Lh), Narayanan et al. 2021, eq. 3; None likewise.

    All are integers, exact to the last digit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: NonNegativeInt
    sequence_length: PositiveInt
    recompute: Recompute
    parameters_all: int
    parameters_non_embedding: int
    forward_flop_per_token: ForwardFlopPerToken
    forward_flop: int
    backward_flop: int
    model_flop: int
    model_flop_causal_halved: int
    hardware_flop: int
    six_n_d_all_flop: int
    six_n_d_non_embedding_flop: int
    closed_form_flop: int | None
    closed_form_full_recompute_flop: int | None


def forward_flop_per_token(architecture: Architecture, sequence_length: int) -> ForwardFlopPerToken:
    """Forward FLOP of one token by part, attention over the full `sequence_length`² square."""
    a = architecture
    mlp_matrices = 3 if a.gated_mlp else 2
    core = 2 * a.n_layers * sequence_length * a.query_width  # keys of a group are shared, their products are not
    return ForwardFlopPerToken(
        qkv_projections=2 * a.n_layers * a.d_model * (a.query_width + 2 * a.key_value_width),
        attention_scores=core,
        attention_values=core,
        attention_output=2 * a.n_layers * a.query_width * a.d_model,
        mlp=2 * a.n_layers * mlp_matrices * a.d_model * a.d_ff,
        logits=2 * a.d_model * a.vocab_size,
    )


def closed_form_flop_per_token(architecture: Architecture, sequence_length: int, full_recompute: bool) -> int | None:
    """With full recompute 96Lh²(1+s/6h+V/16Lh) (Narayanan et al. 2021); without its fourth pass 72Lh²(1+s/6h+V/12Lh).

    None unless the shape is the one it was derived for: d_ff = 4h, heads that fill h, no grouped heads, no gate.
    """
    a, h = architecture, architecture.d_model
    if a.gated_mlp or a.d_ff != 4 * h or a.query_width != h or a.key_value_width != h:
        return None
    passes = 4 if full_recompute else 3  # forward, twice that backward, and the layers' forward once more
    return passes * a.n_layers * (24 * h * h + 4 * sequence_length * h) + 6 * h * a.vocab_size


def flop_ledger(
    architecture: Architecture, tokens: int, sequence_length: int, recompute: Recompute = "none"
) -> FlopLedger:
    """Count the training of `tokens` tokens in full sequences of `sequence_length` tokens.

    `recompute`: "full" runs every layer's forward again in the backward pass (not the logits), "selective" only
    the attention core (Korthikanti et al. 2022). Raises ValueError for a length that learned positions do not reach.
    """
    if architecture.positions == "learned" and sequence_length > architecture.context:
        raise ValueError(f"sequence_length {sequence_length} is beyond the {architecture.context} learned positions")
    parameters = architecture.parameter_counts()
    forward = forward_flop_per_token(architecture, sequence_length)
    passes = 1 + BACKWARD_PER_FORWARD
    model = passes * forward.total
    again = {"none": 0, "full": forward.layers, "selective": forward.attention_core}[recompute]
    closed = closed_form_flop_per_token(architecture, sequence_length, full_recompute=False)
    closed_full = closed_form_flop_per_token(architecture, sequence_length, full_recompute=True)
    return FlopLedger(
        tokens=tokens,
        sequence_length=sequence_length,
        recompute=recompute,
        parameters_all=parameters.total,
        parameters_non_embedding=parameters.non_embedding,
        forward_flop_per_token=forward,
        forward_flop=forward.total * tokens,
        backward_flop=BACKWARD_PER_FORWARD * forward.total * tokens,
        model_flop=model * tokens,
        # exact: the core is a multiple of two, since its two matmuls are equal
        model_flop_causal_halved=(model - passes * forward.attention_core // 2) * tokens,
        hardware_flop=(model + again) * tokens,
        six_n_d_all_flop=6 * parameters.total * tokens,
        six_n_d_non_embedding_flop=6 * parameters.non_embedding * tokens,
        closed_form_flop=None if closed is None else closed * tokens,
        closed_form_full_recompute_flop=None if closed_full is None else closed_full * tokens,
    )

"""The floating-point operations of training: one exact count, and the usual approximations beside it.

A matmul of (m×k) by (k×n) is 2mkn FLOP, a multiplication and an addition. Everything that is not a matmul
(norms, activations, softmax, the embedding look-up, the optimizer's step) is left out, as the field does.
"""

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from accounting.architecture import Architecture
from accounting.errors import SizeError

Recompute = Literal["none", "full", "selective"]
Part = Literal[
    "embedding_projections",
    "qkv_projections",
    "attention_scores",
    "attention_values",
    "attention_output",
    "mlp",
    "logits",
]

# A backward pass has two matmuls for each of the forward's: the gradient of the input and that of the weight.
BACKWARD_PER_FORWARD = 2


class Matmul(NamedTuple):
    """What one token does: a row of `inner` numbers times a matrix of `inner` × `outer`, `copies` times over.

    `copies` are layers, or layers × heads in attention, whose matrix is that of the sequence's keys or values.
    """

    name: str
    part: Part
    inner: int
    outer: int
    copies: int

    @property
    def flop_per_token(self) -> int:
        """Forward FLOP of one token."""
        return 2 * self.inner * self.outer * self.copies


class ForwardFlopPerToken(BaseModel):
    """Forward FLOP of one token by part, all layers together, in a sequence of the ledger's length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedding_projections: int = 0
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
        """Everything between the embedding and the head: what full recompute runs again."""
        return self.qkv_projections + self.attention_core + self.attention_output + self.mlp

    @property
    def total(self) -> int:
        """The whole forward pass of one token."""
        return self.embedding_projections + self.layers + self.logits


class FlopLedger(BaseModel):
    """Training FLOP of `tokens` tokens in sequences of `sequence_length`, by every convention, each labelled.

    `model_flop`                 forward + backward, every matmul, the full square of attention. MFU's numerator.
    `model_flop_causal_halved`   the same with half the attention core, since the mask hides half of it.
    `teacher_forward_flop`       forward passes of another model whose logits are learned; 0 where there is none.
    `hardware_flop`              `model_flop`, what `recompute` runs a second time, and the teacher. HFU's numerator.
    `six_n_d_all_flop`           6·N·D, N = `parameters_all` (a tied head once).
    `six_n_d_non_embedding_flop` 6·N·D, N = `parameters_non_embedding` (no embeddings, positions or head).
    `closed_form_flop`           72BsLh²(1+s/6h+V/12Lh), Korthikanti et al. 2022, eq. 7; None if not GPT's shape.
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
    teacher_forward_flop: NonNegativeInt = 0
    hardware_flop: int
    six_n_d_all_flop: int
    six_n_d_non_embedding_flop: int
    closed_form_flop: int | None
    closed_form_full_recompute_flop: int | None


def matmuls(architecture: Architecture, sequence_length: int) -> tuple[Matmul, ...]:
    """Every matmul of the forward pass, attention over the full `sequence_length`² square.

    Keys of a group are shared by its query heads, their products are not. Transformer-XL's relative positions score
    each query against the positions too; projecting those is done once a batch, not once a token, and is left out.
    """
    a, s = architecture, sequence_length
    heads = a.n_layers * a.n_heads
    rows = [
        Matmul("query", "qkv_projections", a.d_model, a.query_width, a.n_layers),
        Matmul("key", "qkv_projections", a.d_model, a.key_value_width, a.n_layers),
        Matmul("value", "qkv_projections", a.d_model, a.key_value_width, a.n_layers),
        Matmul("scores", "attention_scores", a.d_head, s, heads),
        Matmul("values", "attention_values", s, a.d_head, heads),
        Matmul("attention output", "attention_output", a.query_width, a.d_model, a.n_layers),
        Matmul("mlp in", "mlp", a.d_model, a.d_ff, a.n_layers),
        Matmul("mlp out", "mlp", a.d_ff, a.d_model, a.n_layers),
        Matmul("logits", "logits", a.embedding_dim, a.padded_vocab_size, 1),
    ]
    if a.gated_mlp:
        rows.append(Matmul("mlp gate", "mlp", a.d_model, a.d_ff, a.n_layers))
    if a.positions == "relative":
        rows.append(Matmul("position scores", "attention_scores", a.d_head, s, heads))
    if a.has_embedding_projections:
        rows.append(Matmul("projection in", "embedding_projections", a.embedding_dim, a.d_model, 1))
        rows.append(Matmul("projection out", "embedding_projections", a.d_model, a.embedding_dim, 1))
    return tuple(rows)


def forward_flop_per_token(architecture: Architecture, sequence_length: int) -> ForwardFlopPerToken:
    """Forward FLOP of one token by part, attention over the full `sequence_length`² square."""
    parts: dict[str, int] = {}
    for matmul in matmuls(architecture, sequence_length):
        parts[matmul.part] = parts.get(matmul.part, 0) + matmul.flop_per_token
    return ForwardFlopPerToken(**parts)


def closed_form_flop_per_token(architecture: Architecture, sequence_length: int, full_recompute: bool) -> int | None:
    """With full recompute 96Lh²(1+s/6h+V/16Lh) (Narayanan et al. 2021, eq. 3); without 72Lh²(1+s/6h+V/12Lh).

    The second is Korthikanti et al. 2022, eq. 7. None unless the shape is the one they were derived for: d_ff = 4h,
    heads and embedding as wide as h, no groups, no gate.
    """
    a, h = architecture, architecture.d_model
    as_derived = a.d_ff == 4 * h and a.query_width == a.key_value_width == a.embedding_dim == h
    if not as_derived or a.gated_mlp or a.positions == "relative":
        return None
    passes = 4 if full_recompute else 3  # forward, twice that backward, and the layers' forward once more
    return passes * a.n_layers * (24 * h * h + 4 * sequence_length * h) + 6 * h * a.padded_vocab_size


def flop_ledger(
    architecture: Architecture,
    tokens: int,
    sequence_length: int,
    recompute: Recompute = "none",
    teacher: Architecture | None = None,
    teacher_copies: int = 1,
) -> FlopLedger:
    """Count the training of `tokens` tokens (1 for a token's, a batch's for a step's) in full sequences.

    `recompute`: "full" runs every layer's forward again in the backward pass (not the logits), "selective" only
    the attention core (Korthikanti et al. 2022). `teacher`: a model whose logits are learned; `teacher_copies` of it
    read each token. Raises SizeError for a length that learned positions do not reach.
    """
    if architecture.positions == "learned" and sequence_length > architecture.context:
        raise SizeError("sequence_length", f"{sequence_length} is beyond the {architecture.context} learned positions")
    parameters = architecture.parameter_counts()
    forward = forward_flop_per_token(architecture, sequence_length)
    passes = 1 + BACKWARD_PER_FORWARD
    model = passes * forward.total
    again = {"none": 0, "full": forward.layers, "selective": forward.attention_core}[recompute]
    taught = 0 if teacher is None else teacher_copies * forward_flop_per_token(teacher, sequence_length).total
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
        # exact: each matmul of the core is a multiple of two
        model_flop_causal_halved=(model - passes * forward.attention_core // 2) * tokens,
        teacher_forward_flop=taught * tokens,
        hardware_flop=(model + again + taught) * tokens,
        six_n_d_all_flop=6 * parameters.total * tokens,
        six_n_d_non_embedding_flop=6 * parameters.non_embedding * tokens,
        closed_form_flop=None if closed is None else closed * tokens,
        closed_form_full_recompute_flop=None if closed_full is None else closed_full * tokens,
    )

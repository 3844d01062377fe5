"""The criterion's record: what `compare` found, as a file the report and anybody else can read.

Two layers stand side by side and are never merged: the literal reading of the definition (point estimates
against the margin), and the statistical evidence for it. Everything ending in `_pp` is in percentage points,
and every difference is replica − original.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from configs.files import Record

MARGIN_PP: Final = 2
"""The largest difference that still counts as replicated, in percentage points, inclusive and two-sided.

Replication is training a model from random initialisation with an identical architecture, with the intent to
replicate the original, achieving a *negligible* difference in performance: at most two percentage points on the
benchmarks that have been evaluated for both. The number is a judgement of the study that defined it, not a law.
An integer, so that the literal layer can be decided on integer counts.
"""

INTERVAL_LEVEL: Final = 0.90
"""Level of every equivalence interval: two one-sided tests at 5 % each ⇔ a 90 % interval inside the margin."""

NEEDED_POWER: Final = 0.90
"""Power to show equivalence, at a true difference of 0, that `items_needed` and `units_needed` are solved for."""

SCHEMA: Final = "replibench.verdict/1"

LiteralStatus = Literal["pass", "fail", "not_evaluated", "invalid"]

EvidenceStatus = Literal[
    "replicated",  # equivalence within the margin shown
    "not_replicated",  # a difference beyond the margin shown
    "consistent",  # literal pass, equivalence not shown: too few independent units or items
    "inconclusive",  # literal fail, a difference beyond the margin not shown either
    "uninformative",  # the original is not above chance
    "not_evaluated",  # no benchmark was evaluated for both (overall only)
    "invalid",  # the two results cannot be compared
]

PAIRED: Final = "paired, Tango score"
CLUSTERED: Final = "paired, clustered by unit"
UNPAIRED: Final = "unpaired, Miettinen–Nurminen score (no per-item samples)"
MethodLabel = Literal[
    "paired, Tango score",
    "paired, clustered by unit",
    "unpaired, Miettinen–Nurminen score (no per-item samples)",
]


class EvaluatedModel(Record):
    """Where one side's results came from."""

    path: str
    model_name: str | None = None


class IdentityDifference(Record):
    """One field in which the two models are not the same thing (architecture, tokenizer, …)."""

    field: str
    reference: str
    replica: str


class Tally(Record):
    """One model on one benchmark. `accuracy` is correct / n_items, in 0..1."""

    correct: Annotated[int, Field(ge=0)]
    n_items: Annotated[int, Field(gt=0)]
    accuracy: float


class Reading(Record):
    """One way of reading "at most two percentage points on the benchmarks": its number and whether it passes."""

    value_pp: Annotated[float, Field(ge=0)]
    passes: bool


class Readings(Record):
    """The three readings side by side. The first is the default and decides the literal status."""

    every_benchmark: Reading  # the largest |difference|
    mean_absolute_difference: Reading  # mean over benchmarks of |difference|
    absolute_mean_difference: Reading  # |mean over benchmarks of difference|


class LiteralLayer(Record):
    """Point estimates only. `readings` and `worst_benchmark` are absent when nothing could be compared."""

    status: LiteralStatus
    readings: Readings | None = None
    worst_benchmark: str | None = None


class MacroMean(Record):
    """Mean difference over the benchmarks, with its interval: a weaker claim, opposite differences cancel in it."""

    difference_pp: float
    low_pp: float
    high_pp: float
    equivalent: bool  # the interval lies inside ±MARGIN_PP
    method: str
    label: str = "weaker: differences of opposite sign cancel in a mean"


class EvidenceLayer(Record):
    """All benchmarks together, by intersection–union; the macro mean stands beside it and decides nothing."""

    status: EvidenceStatus
    level: float = INTERVAL_LEVEL
    macro_mean: MacroMean | None = None


class BenchmarkVerdict(Record):
    """One benchmark that was evaluated for both.

    `low_pp`, `high_pp`: the 90 % interval of the difference (equivalence ⇔ inside ±2). `original_only_correct` and
    `replica_only_correct` are the discordant counts b and c (absent when unpaired). `p_equivalence` is the larger of
    the two one-sided p values; `p_beyond_margin` tests |difference| > margin, before Holm.

    Where the status is `consistent`, what `NEEDED_POWER` to show equivalence takes at this discordance if the true
    difference is nil: `units_needed` where items are clustered in units (as large as these; more items of the same
    units are no substitute), else `items_needed`. Always more than are there: where as many should do, both are absent.
    """

    name: str
    metric: str
    original: Tally
    replica: Tally
    difference_pp: float
    literal_pass: bool
    low_pp: float
    high_pp: float
    method: MethodLabel
    n_units: int | None = None  # independent units (clusters); n items when items are independent
    original_only_correct: int | None = None  # b
    replica_only_correct: int | None = None  # c
    chance: float | None = None  # accuracy of guessing; absent when it is not known
    above_chance: bool | None = None  # the original, one-sided at 5 %; absent when chance is not known
    p_equivalence: float
    p_beyond_margin: float
    status: EvidenceStatus
    items_needed: int | None = None
    units_needed: int | None = None


class HeldOutLoss(Record):
    """Mean held-out cross-entropy of both models in nats per token, and the gate if a tolerance is known.

    The gate is no part of the definition: it stands beside the verdict because saturated benchmarks cannot see an
    under-trained replica and held-out loss can. `tolerance` comes from a calibration of the suite.
    """

    original: float
    replica: float
    tolerance: float | None = None  # nats per token, on |replica − original|
    passes: bool | None = None


class Verdict(Record):
    """What the criterion says about one replica and one original."""

    schema_: Literal["replibench.verdict/1"] = Field(default=SCHEMA, alias="schema")
    margin_pp: int = MARGIN_PP
    original: EvaluatedModel
    replica: EvaluatedModel
    literal: LiteralLayer
    evidence: EvidenceLayer
    benchmarks: tuple[BenchmarkVerdict, ...] = ()
    only_original: tuple[str, ...] = ()  # benchmarks evaluated for one side only: named, not compared
    only_replica: tuple[str, ...] = ()
    identity_differences: tuple[IdentityDifference, ...] = ()
    reasons: tuple[str, ...] = ()  # why the comparison is invalid or was not evaluated
    warnings: tuple[str, ...] = ()
    held_out_loss: HeldOutLoss | None = None

    @property
    def exit_code(self) -> int:
        """0 literal pass, 1 literal fail, 2 invalid or nothing shared (the input does not allow a verdict)."""
        return {"pass": 0, "fail": 1}.get(self.literal.status, 2)

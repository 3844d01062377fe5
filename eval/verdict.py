"""The criterion's record: what `compare` found, as a file the report and anybody else can read.

Two layers stand side by side and are never merged: the literal reading of the definition (point estimates
against the margin), and the statistical evidence for it. Everything ending in `_pp` is in percentage points,
and every difference is replica − original.
"""

from typing import Final, Literal

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

NEEDED_POWER: Final = 0.80
"""Power to show equivalence, at a true difference of 0, that `items_needed` and `units_needed` are solved for."""

SCHEMA: Final = "replibench.verdict/1"

LiteralStatus = Literal["pass", "fail", "not_evaluated", "invalid"]
ReadingName = Literal["every", "mean-absolute", "absolute-mean"]

EvidenceStatus = Literal[
    "replicated",  # equivalence within the margin shown
    "not_replicated",  # a difference beyond the margin shown
    "consistent",  # literal pass, equivalence not shown: too few independent units or items
    "inconclusive",  # literal fail, a difference beyond the margin not shown either; or nothing to judge it by
    "uninformative",  # the original is not above chance
    "not_evaluated",  # no benchmark was evaluated for both (overall only)
    "invalid",  # the two results cannot be compared
]

PAIRED: Final = "paired, Tango score"
CLUSTERED: Final = "paired, clustered by unit"
UNPAIRED: Final = "unpaired, Miettinen–Nurminen score (no per-item samples)"
SEEDS: Final = "over seeds and items"
NO_COUNTS: Final = "none: no counts of right answers"
MethodLabel = Literal[
    "paired, Tango score",
    "paired, clustered by unit",
    "unpaired, Miettinen–Nurminen score (no per-item samples)",
    "over seeds and items",
    "none: no counts of right answers",
]

Mechanism = Literal[
    "replication",
    "replication by model extraction",
    "incremental research",
    "not a replication",
    "unknown",
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


class Worst(Record):
    """The benchmark with the largest absolute difference."""

    benchmark: str
    difference_pp: float


class LiteralLayer(Record):
    """Point estimates only. `reading` decides `verdict`; all three stand side by side, null when nothing was compared.

    every: `every_benchmark`, each |difference| ≤ the threshold. mean-absolute: `mean_absolute_pp`, the mean over
    benchmarks of |difference|. absolute-mean: `absolute_mean_pp`, |mean of the differences|, in which signs cancel.
    """

    verdict: LiteralStatus
    reading: ReadingName = "every"
    every_benchmark: bool | None = None
    mean_absolute_pp: float | None = None
    within_mean_absolute: bool | None = None
    absolute_mean_pp: float | None = None
    within_absolute_mean: bool | None = None
    worst: Worst | None = None


class MacroMean(Record):
    """Mean difference over the benchmarks, with its interval: a weaker claim, opposite differences cancel in it."""

    difference_pp: float
    ci90_pp: tuple[float, float]
    equivalent: bool  # the interval lies inside ± the threshold
    method: str
    label: str = "weaker: differences of opposite sign cancel in a mean"


class EvidenceLayer(Record):
    """All benchmarks together, by intersection–union; the macro mean stands beside it and decides nothing."""

    verdict: EvidenceStatus
    reason: str
    level: float = INTERVAL_LEVEL
    macro_mean: MacroMean | None = None


class BenchmarkVerdict(Record):
    """One benchmark that was evaluated for both. `original` and `replica` are accuracies in 0..1, `n` items.

    With several replicas (or controls beside the original) an accuracy is the mean over them, and the counts of right
    answers are null; `seed_sd_pp` is the standard deviation between the replicas. `ci90_pp`: the 90 % interval of the
    difference (equivalence ⇔ inside ± the threshold); null, as the p values are, where no number of items is known.
    `original_only_correct` and `replica_only_correct` are McNemar's b and c (one replica, paired). `p_equivalence` is
    the larger of the two one-sided p values; `p_beyond_margin` tests |difference| > threshold, before Holm.

    Where the evidence is `consistent`, what `NEEDED_POWER` to show equivalence takes at this discordance if the true
    difference is nil: `units_needed` where items are clustered in units (as large as these; more items of the same
    units are no substitute), else `items_needed`. Always more than are there: where as many should do, both are absent,
    and so they are where the spread of seeds is part of the interval.
    """

    name: str
    metric: str
    shots: int | None = None
    n: int | None = None
    original: float
    replica: float
    original_correct: int | None = None
    replica_correct: int | None = None
    difference_pp: float
    within: bool
    ci90_pp: tuple[float, float] | None
    paired: bool
    method: MethodLabel
    n_units: int | None = None  # independent units (clusters); n when items are independent
    original_only_correct: int | None = None  # b
    replica_only_correct: int | None = None  # c
    seed_sd_pp: float | None = None
    chance: float | None = None  # accuracy of guessing; absent when it is not known
    above_chance: bool | None = None  # the original, one-sided at 5 %; absent when chance is not known
    p_equivalence: float | None
    p_beyond_margin: float | None
    evidence: EvidenceStatus
    items_needed: int | None = None
    units_needed: int | None = None


class ReplicaAlone(Record):
    """One of several replicas, judged by itself as if it were the only one."""

    path: str
    model_name: str | None = None
    literal: LiteralStatus
    evidence: EvidenceStatus
    worst: Worst | None = None
    differences_pp: dict[str, float]


class BesideControls(Record):
    """One benchmark of the replica beside `runs` runs of the original's recipe: the original and its other seeds.

    `difference_pp` is replica − `mean` of these runs, `sd_pp` the standard deviation between them. `p_as_far`: the
    share of further seeds of that recipe that would lie at least so far from the mean; null where runs do not differ.
    """

    name: str
    runs: int
    mean: float
    sd_pp: float
    lowest: float
    highest: float
    difference_pp: float
    p_as_far: float | None


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
    """What the criterion says about an original and a replica, or about a recipe of which there are several replicas.

    `controls` are further runs of the original's own recipe. With several replicas `benchmarks` are of their mean, and
    each stands by itself in `each_replica`. `refusals` say why nothing was compared (the verdicts are then `invalid`,
    or `not_evaluated` where no benchmark is shared). `metric_overrides`: {benchmark: metric} that the caller asked for.
    """

    schema_: Literal["replibench.verdict/1"] = Field(default=SCHEMA, alias="schema")
    threshold_pp: float = MARGIN_PP
    original: EvaluatedModel
    replicas: tuple[EvaluatedModel, ...]
    controls: tuple[EvaluatedModel, ...] = ()
    literal: LiteralLayer
    evidence: EvidenceLayer
    benchmarks: tuple[BenchmarkVerdict, ...] = ()
    each_replica: tuple[ReplicaAlone, ...] = ()
    mechanism: Mechanism = "unknown"
    mechanism_reason: str = "no manifest of a run was there"
    only_original: tuple[str, ...] = ()  # benchmarks evaluated for one side only: named, not compared
    only_replica: tuple[str, ...] = ()
    metric_overrides: dict[str, str] = Field(default_factory=dict)
    identity_differences: tuple[IdentityDifference, ...] = ()
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    beside_controls: tuple[BesideControls, ...] = ()  # decides nothing
    held_out_loss: HeldOutLoss | None = None

    def exit_code(self, gate: Literal["literal", "evidence"] = "literal") -> int:
        """0 pass, 1 not, 2 refused or nothing shared (the input does not allow a verdict)."""
        if self.literal.verdict not in ("pass", "fail"):
            return 2
        if gate == "evidence":
            return 0 if self.evidence.verdict == "replicated" else 1
        return 0 if self.literal.verdict == "pass" else 1

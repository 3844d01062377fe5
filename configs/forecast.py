"""What a forecast assumes. Every default has a source; every uncertain input is a 90 % range, never a point."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat, field_validator, model_validator

from configs.errors import BadInputError


def _not_a_bool(value: Any) -> Any:
    # YAML's `yes` and `on` become True, and pydantic would read True as 1.
    if isinstance(value, bool):
        raise ValueError("is a truth value, not a number")
    return value


PositiveCount = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=1)]


class Range90(BaseModel):
    """The central 90 % of a belief: 5 % lies below `low`, 5 % above `high`. `low` = `high` is a certainty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Annotated[PositiveFloat, BeforeValidator(_not_a_bool), Field(allow_inf_nan=False)]
    high: Annotated[PositiveFloat, BeforeValidator(_not_a_bool), Field(allow_inf_nan=False)]
    source: str = "given in the configuration"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


# Model FLOP over booked accelerator-hours × dense peak, of the six published runs whose hours are known
# (docs/forecast.md has the table): GPT-3 20 %, Gopher 30 %, GPT-NeoX-20B 30 %, PaLM 30 %, OPT-175B 21 %, BLOOM 32 %.
# Geometric mean 26.5 %; the range is the 90 % prediction interval for a seventh run (Student's t on the logs, 5 degrees
# of freedom). Lost work is inside, since the hours are those booked.
PUBLISHED_EFFECTIVE_MFU = Range90(
    low=0.165,
    high=0.426,
    source="90 % prediction interval from six published runs (GPT-3, Gopher, GPT-NeoX-20B, PaLM, OPT-175B, BLOOM), "
    "6ND over booked accelerator-hours × dense peak; docs/forecast.md",
)

# The forward model that reproduces the study's compute share takes the cloud cost of the final run times LN(1.2, 4)
# for the experiments and failed attempts before it. The study: "enough compute to train the model a number of times".
EXPERIMENTS_MULTIPLIER = Range90(
    low=1.2,
    high=4.0,
    source="assumed: the multiplier with which a forward model gives the study's 87 % share of compute for GPT-3",
)


class ForecastConfig(BaseModel):
    """The target, the machine and the beliefs of one forecast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = Field(default="gpt3-175b", description="an architecture preset")
    tokens: PositiveCount = Field(default=300_000_000_000, description="Brown et al. 2020, Table D.1")
    sequence_length: PositiveCount = Field(default=2048, description="Brown et al. 2020, section 2.1")
    cluster: str = Field(default="a100-1024", description="a cluster preset; this one is the size of OPT-175B's")
    accelerator_count: PositiveCount | None = Field(default=None, description="instead of the cluster's own number")
    price_usd_per_accelerator_hour: Range90 | None = Field(
        default=None, description="instead of the cluster's own price"
    )
    mfu: Range90 = PUBLISHED_EFFECTIVE_MFU
    mfu_kind: Literal["effective", "while_training"] = Field(
        default="effective",
        description="effective: over all booked hours, lost work inside; while_training: of steps that count, "
        "and then `goodput` is needed. Never both",
    )
    goodput: Range90 | None = Field(default=None, description="share of booked hours that ends up in the model")
    experiments_multiplier: Range90 = Field(
        default=EXPERIMENTS_MULTIPLIER,
        description="accelerator-hours of everything over those of the final run, at least 1",
    )
    draws: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=100, le=10_000_000)] = 100_000
    seed: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=0)] = 0

    @field_validator("target")
    @classmethod
    def _known_target(cls, name: str) -> str:
        from configs import presets  # late: presets reads this module

        try:
            presets.architecture(name)
        except BadInputError as error:
            raise ValueError(str(error)) from None
        return name

    @field_validator("cluster")
    @classmethod
    def _known_cluster(cls, name: str) -> str:
        from configs import presets

        try:
            presets.cluster(name)
        except BadInputError as error:
            raise ValueError(str(error)) from None
        return name

    @field_validator("mfu", "goodput")
    @classmethod
    def _is_a_share(cls, value: Range90 | None) -> Range90 | None:
        # A logit-normal cannot reach 1, a certainty can.
        if value is not None and (value.high > 1 or (value.high == 1 and value.low < 1)):
            raise ValueError(f"is a share: high {value.high} must be below 1")
        return value

    @field_validator("experiments_multiplier")
    @classmethod
    def _counts_the_final_run(cls, value: Range90) -> Range90:
        if value.low < 1:
            raise ValueError(f"counts the final run too: low {value.low} must be at least 1")
        return value

    @model_validator(mode="after")
    def _lost_work_once(self) -> Self:
        if self.mfu_kind == "effective" and self.goodput is not None:
            raise ValueError("`goodput` is already inside an effective MFU; set mfu_kind: while_training to give both")
        if self.mfu_kind == "while_training" and self.goodput is None:
            raise ValueError("mfu_kind: while_training needs `goodput`, the share of booked hours that counts")
        if self.mfu_kind == "while_training" and self.mfu == PUBLISHED_EFFECTIVE_MFU:
            raise ValueError("mfu_kind: while_training needs `mfu`; the default is an effective one")
        return self

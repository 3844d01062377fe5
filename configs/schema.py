"""The typed configuration of a run. Every key of a run YAML is a field here, with its default and its unit."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from configs.forecast import ForecastConfig


def _not_a_bool(value: Any) -> Any:
    # YAML's `yes` and `on` become True, and pydantic would read True as 1.
    if isinstance(value, bool):
        raise ValueError("is a truth value, not a number")
    return value


Count = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=1)]
Natural = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=0)]
Positive = Annotated[float, BeforeValidator(_not_a_bool), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, BeforeValidator(_not_a_bool), Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, BeforeValidator(_not_a_bool), Field(ge=0, le=1)]
HalfOpenFraction = Annotated[float, BeforeValidator(_not_a_bool), Field(ge=0, lt=1)]


class Section(BaseModel):
    """A part of the configuration: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """The corpus: documents of the generated world (see docs/suite.md). Seeds fix it to the byte."""

    source: Literal["tinyworld"] = "tinyworld"
    world_seed: Natural = 0
    documents: Count = 200_000
    documents_seed: Natural = 0
    held_out_documents: Count = Field(4_000, description="for the held-out loss; none of them occurs in the corpus")
    vocab_size: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=300)] = Field(
        512, description="of the BPE tokenizer, trained only where there is no reference to take one from"
    )


class OptimizerConfig(Section):
    """AdamW. Weight decay acts on matrices only, as in the GPT-3 and Pythia recipes."""

    learning_rate: Positive = 1e-3
    betas: tuple[HalfOpenFraction, HalfOpenFraction] = (0.9, 0.95)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.1
    gradient_clipping: NonNegative = Field(1.0, description="largest global gradient norm; 0: no clipping")


class ScheduleConfig(Section):
    """Learning rate over steps: linear warm-up, then `kind` down to `final_fraction` of the peak."""

    kind: Literal["linear", "cosine", "constant", "wsd"] = "linear"
    warmup_fraction: HalfOpenFraction = Field(0.05, description="of all steps")
    final_fraction: Fraction = Field(0.0, description="of the peak learning rate; not used by 'constant'")
    decay_fraction: Annotated[float, BeforeValidator(_not_a_bool), Field(gt=0, le=1)] = Field(
        0.2, description="of all steps, at the end; used by 'wsd' (warm-up, stable, decay) only"
    )


class CheckpointConfig(Section):
    """When to write a checkpoint, and how many to keep."""

    every_steps: Count = 500
    keep_last: Count = 2
    keep_every_steps: Count | None = Field(
        None, description="checkpoints of steps that it divides are kept for good, beside the last ones"
    )
    asynchronous: bool = Field(
        True, description="sync, hash and seal a checkpoint while training goes on; false: wait for it"
    )


class TrainConfig(Section):
    """One training run. Global batch: micro_batch_size × gradient_accumulation_steps × data_parallel_size rows."""

    steps: Count = 1_000
    sequence_length: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=8)] = 64
    micro_batch_size: Count = Field(8, description="rows per data-parallel rank and forward pass")
    gradient_accumulation_steps: Count = 1
    data_parallel_size: Count = 1
    tensor_parallel_size: Count = 1
    pipeline_parallel_size: Count = Field(
        1, description="stages that the layers are cut into, one process each; with `train.zero_stage` 1 only"
    )
    zero_stage: Annotated[Literal[0, 1, 2, 3], BeforeValidator(_not_a_bool)] = 1
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: bf16 on CUDA, fp32 on a CPU")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    initialisation: Literal["paper", "transformers"] = Field(
        "paper",
        description="paper: as the family's paper says; transformers: as its class does",
    )
    activation_checkpointing: bool = Field(
        False, description="each layer is computed again in the backward pass: less memory, a third more work"
    )
    compile: bool = Field(False, description="torch.compile: a slow first step, which short runs do not win back")
    offload_optimizer: bool = Field(
        False, description="ZeRO's: optimizer states in the host's memory, and the optimizer's work on its cores"
    )
    vocab_parallel_head: bool = Field(
        False, description="tensor parallelism splits the embedding and the head over the vocabulary too"
    )
    threads_per_process: Count = Field(
        1, description="CPU threads of each process; it fixes the order of sums, so it is part of the recipe"
    )
    seed: Natural = Field(0, description="initialisation and data order")
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log_every_steps: Count = 10
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (), description="who else gets the logged lines; each is an extra: pip install 'replibench[tensorboard,wandb]'"
    )
    max_skipped_steps: Natural = Field(
        3, description="steps in a row that may be skipped because a loss or gradient is not finite; then the run stops"
    )
    collective_timeout_s: Positive = Field(
        600, description="a rank that waits longer for the others ends the run, saying who waits and who is missing"
    )

    @property
    def global_batch_rows(self) -> int:
        """Rows per optimizer step, over all ranks."""
        return self.micro_batch_size * self.gradient_accumulation_steps * self.data_parallel_size

    @property
    def world_size(self) -> int:
        """Processes of the run."""
        return self.data_parallel_size * self.tensor_parallel_size * self.pipeline_parallel_size


class EvaluationConfig(Section):
    """What both models are evaluated on, through lm-eval."""

    suite: Literal["tinyworld"] = "tinyworld"
    items: dict[str, Count] = Field(
        default_factory=dict, description="items per benchmark where not the suite's own number"
    )
    items_seed: Natural = 7
    num_fewshot: Natural = 0
    batch_size: Count = 64


class RunConfig(Section):
    """A run: the reference (or an architecture of its own), the data, the training, the evaluation, the forecast."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="also the run directory's name: runs/<name>"
    )
    reference: str | None = Field(
        None, description="the original: a Hugging Face directory (relative to this file) or a hub id"
    )
    revision: str | None = Field(None, description="the hub revision of `reference`")
    architecture: dict[str, Any] = Field(
        default_factory=dict,
        description="keys of a Hugging Face config.json; with a reference they change its architecture, "
        "which then is no replication",
    )
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    forecast: ForecastConfig = ForecastConfig()
    calibration: str | None = Field(
        None, description="a calibration.json of this suite and recipe, shown beside the verdict"
    )

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.reference is None and "model_type" not in self.architecture:
            raise ValueError("needs `reference` (what to replicate) or `architecture` with a model_type")
        if self.reference is None and self.revision is not None:
            raise ValueError("`revision` is of a `reference`, and there is none")
        return self

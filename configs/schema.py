"""The typed configuration of a run. Every key of a run YAML is a field here, with its default and its unit."""

from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from configs.forecast import ForecastConfig
from configs.hygiene import HygieneConfig


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


Initialisation = Literal["paper", "scaled_normal", "transformers"]


class Section(BaseModel):
    """A part of the configuration: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TinyworldData(Section):
    """The embedded default: documents of the generated world (see docs/suite.md). Seeds fix it to the byte."""

    source: Literal["tinyworld"] = "tinyworld"
    world_seed: Natural = 0
    documents: Count = 200_000
    documents_seed: Natural = 0
    held_out_documents: Count = Field(4_000, description="for the held-out loss; none of them occurs in the corpus")
    vocab_size: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=300)] = Field(
        512, description="of the BPE tokenizer, trained only where there is no reference to take one from"
    )


class SourceConfig(Section):
    """One source of a corpus of files: `path`, or `dataset`, a data set of the Hugging Face hub."""

    path: str | None = Field(
        None,
        description="a file, a directory or a pattern such as `novels/*.txt`: .txt, .jsonl, .parquet, the first two "
        "also with .gz or .zst; or the .bin of a tokenised corpus, with its .idx beside it",
    )
    dataset: str | None = Field(None, description="a data set's name on the Hugging Face hub")
    subset: str | None = Field(None, description="of `dataset`: its configuration")
    split: str = Field("train", description="of `dataset`")
    revision: str | None = Field(
        None,
        description="of `dataset`: branch, tag or commit; left out: main. A run stays with the commit it began with",
    )
    streaming: bool = Field(
        True,
        description="read `dataset` while it is downloaded; false: download it first, as parts of a split "
        "(`train[:1%]`) need",
    )
    key: str = Field("text", description="which field of a JSON line, a Parquet row or a data set's row is the text")
    separator: str | None = Field(
        None,
        description="a text file is cut into documents at lines that hold this and nothing else ('' for blank lines); "
        "left out, each file is one document",
    )
    weight: Positive | None = Field(
        None, description="share of the rows, relative to the other sources'; left out (by all): by size"
    )
    name: str | None = Field(None, description="what reports call it; left out: the path's or data set's own name")

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError("needs either `path` (files) or `dataset` (of the Hugging Face hub)")
        return self

    @property
    def label(self) -> str:
        """The name in reports: `name`, or the last part of the path that is no pattern, or the data set's."""
        if self.name is not None or self.path is None:
            return self.name or str(self.dataset)
        parts = [part for part in PurePath(self.path).parts if not set(part) & set("*?[")]
        return PurePath(parts[-1]).name.split(".")[0] if parts else self.path


class FilesData(Section):
    """A corpus of real text, from files or the Hugging Face hub (see docs/corpora.md)."""

    source: Literal["files"] = "files"
    sources: Annotated[tuple[SourceConfig, ...], Field(min_length=1)] = Field(
        description="where the text comes from, each with the keys of the table below"
    )
    tokenizer: str | None = Field(
        None,
        description="a tokenizer.json, or a directory with one; with a `reference`, its own is taken; with neither, a "
        "byte-level BPE is trained on the corpus",
    )
    vocab_size: Annotated[int, BeforeValidator(_not_a_bool), Field(ge=300)] = Field(
        4_096, description="of the tokenizer that is trained on the corpus, where none is given"
    )
    end_of_text: str | None = Field(
        None,
        description="the token after each document; left out: that of the `eos_token_id` which the reference's "
        "config.json or, with `tokenizer`, `architecture` states; without one `<|endoftext|>` or, where there is none, "
        "`</s>`",
    )
    held_out_fraction: HalfOpenFraction = Field(
        0.005,
        description="of the documents, chosen by the hash of their words, for the held-out loss; 0 with `held_out`, "
        "and with nothing else",
    )
    held_out: SourceConfig | None = Field(
        None,
        description="a source of its own for the held-out loss, all of it, so that `sources` are trained on whole "
        "(with `held_out_fraction` 0); nothing looks whether they contain its text",
    )
    hygiene: HygieneConfig | None = Field(
        None,
        description="what is taken out of the text before it is tokenised (docs/corpora-hygiene.md); left out: "
        "nothing; `{}`: duplicates and the benchmarks' text",
    )
    order: Literal["shuffled", "stored"] = Field(
        "shuffled",
        description="stored: rows of `train.sequence_length` + 1 tokens one after the other as they lie in the one "
        "source, as Pythia's pre-shuffled corpus is read",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.order == "stored" and len(self.sources) > 1:
            raise ValueError(f"order 'stored' is of one source, and there are {len(self.sources)}")
        weighted = sum(source.weight is not None for source in self.sources)
        if weighted not in (0, len(self.sources)):
            raise ValueError("give every source a `weight`, or none (then each counts by its size)")
        labels = [source.label for source in self.sources]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"two sources are called {twice!r}; give one a `name`")
        if self.held_out is None and not self.held_out_fraction:
            raise ValueError("`held_out_fraction` 0 needs `held_out`, a source of its own for the held-out loss")
        if self.held_out is not None and self.held_out_fraction:
            raise ValueError(
                f"`held_out` takes the place of `held_out_fraction`, which is {self.held_out_fraction}; set that to 0"
            )
        if self.held_out is not None and self.held_out.weight is not None:
            raise ValueError("`held_out` is read whole and once; leave out its `weight`")
        return self

    @property
    def every_source(self) -> tuple[SourceConfig, ...]:
        """All text that is read: the sources, and the held-out one last, if it is one of its own."""
        return self.sources if self.held_out is None else (*self.sources, self.held_out)


def _data_source(value: Any) -> str:
    """Which of the two a `data` section is: `source` may be left out."""
    if isinstance(value, BaseModel):
        return str(getattr(value, "source", ""))
    if isinstance(value, dict):
        return str(value.get("source", "files" if "sources" in value else "tinyworld"))
    return "tinyworld"


DataConfig = Annotated[
    Annotated[TinyworldData, Tag("tinyworld")] | Annotated[FilesData, Tag("files")],
    Discriminator(
        _data_source,
        custom_error_type="literal_error",
        custom_error_context={"expected": "'tinyworld' or 'files'"},
    ),
]


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
    horizon_steps: Count | None = Field(
        None,
        description="steps that the schedule is made for, where training ends before them (at a revision of the "
        "original) or goes on after them at the final rate; null: `train.steps`",
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


class DistillationConfig(Section):
    """Model extraction: training on the reference's own outputs. Used where `train.objective` is distillation."""

    source: Literal["logits", "generated_text"] = Field(
        "logits",
        description="logits: the reference's distribution of each next token of the corpus; generated_text: the corpus "
        "is documents sampled from the reference",
    )
    temperature: Positive = Field(1.0, description="of both distributions in the loss, or of the sampling")
    documents: Count = Field(200_000, description="how many are sampled, for `source` generated_text")
    seed: Natural = Field(0, description="of the sampling")


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
    initialisation: Initialisation = Field(
        "paper",
        description="paper: as the family's paper says; scaled_normal: std 0.02, and 0.02/√(2L) where a matrix writes "
        "into the residual stream (as GPT-2's paper says, and GPT-NeoX's where its configuration names none); "
        "transformers: as its class does",
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
    objective: Literal["language_modelling", "distillation"] = Field(
        "language_modelling",
        description="distillation: the replica learns from the outputs of `reference`, which is model extraction",
    )
    distillation: DistillationConfig = DistillationConfig()
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
    def learns_logits(self) -> bool:
        """Whether the loss is taken against the reference's logits."""
        return self.objective == "distillation" and self.distillation.source == "logits"

    @property
    def learns_generated_text(self) -> bool:
        """Whether the corpus is text that the reference generates."""
        return self.objective == "distillation" and self.distillation.source == "generated_text"

    @property
    def world_size(self) -> int:
        """Processes of the run."""
        return self.data_parallel_size * self.tensor_parallel_size * self.pipeline_parallel_size


class EvaluationConfig(Section):
    """What both models are evaluated on, through lm-eval."""

    suite: Literal["tinyworld", "lm_eval"] = Field(
        "tinyworld", description="tinyworld: the generated benchmarks; lm_eval: those of lm-eval that `tasks` names"
    )
    tasks: tuple[str, ...] = Field(
        (), description="lm_eval: tasks, groups (each of their tasks is a benchmark) and tags, by lm-eval's names"
    )
    limit: Count | None = Field(None, description="lm_eval: only the first so many items of each task")
    items: dict[str, Count] = Field(
        default_factory=dict, description="tinyworld: items per benchmark where not the suite's own number"
    )
    items_seed: Natural = 7
    num_fewshot: Natural = 0
    num_fewshot_of: dict[str, Natural] = Field(
        default_factory=dict, description="lm_eval: solved examples of the tasks that have another number of them"
    )
    batch_size: Count = 64

    @model_validator(mode="after")
    def _of_one_suite(self) -> Self:
        stock = {"tasks": self.tasks, "limit": self.limit, "num_fewshot_of": self.num_fewshot_of}
        generated = {"items": self.items}
        for suite, keys in (("lm_eval", stock), ("tinyworld", generated)):
            for key, value in keys.items():
                if value and self.suite != suite:
                    raise ValueError(f"`{key}` is of suite {suite}, and `suite` is {self.suite}")
        if self.suite == "lm_eval" and not self.tasks:
            raise ValueError("suite lm_eval needs `tasks`, such as [lambada_openai, piqa]")
        if len({*self.tasks}) < len(self.tasks):
            raise ValueError("a task stands twice in `tasks`")
        return self


class RunConfig(Section):
    """A run: the reference (or an architecture of its own), the data, the training, the evaluation, the forecast."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="also the run directory's name: runs/<name>"
    )
    reference: str | None = Field(
        None, description="the original: a Hugging Face directory (relative to this file) or a hub id"
    )
    revision: str | None = Field(
        None, description="of `reference`: a branch, tag or commit of the hub, or a directory's subdirectory"
    )
    reference_sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]] = Field(
        default_factory=dict,
        description="file → sha256 that the reference must have; `replibench init` writes what it found",
    )
    controls: dict[str, str | None] = Field(
        default_factory=dict,
        description="further runs of the original's own recipe (other seeds): name → their lm-eval results, if at "
        "hand; the verdict sets the replica's difference beside their spread",
    )
    offline: str | None = Field(
        None, description="a directory that `replibench fetch` filled: nothing is asked of the internet"
    )
    architecture: dict[str, Any] = Field(
        default_factory=dict,
        description="keys of a Hugging Face config.json; with a reference they change its architecture, "
        "which then is no replication",
    )
    data: DataConfig = TinyworldData()
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
        if self.reference is None and self.train.objective == "distillation":
            raise ValueError("`train.objective: distillation` needs a `reference` whose outputs are learned")
        if self.reference is None and (self.reference_sha256 or self.controls):
            raise ValueError("`reference_sha256` and `controls` are of a `reference`, and there is none")
        return self

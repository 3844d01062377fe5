"""What training leaves behind for the other rooms: the manifest (provenance) and the run record (measurements).

Plain data, no torch: `report`, `extrapolate` and `eval` read these files on any machine.
"""

from typing import Any, Literal

from pydantic import Field

from accounting.architecture import Architecture
from accounting.flops import FlopLedger
from configs.files import Record

Precision = Literal["fp32", "bf16", "fp16"]


class Difference(Record):
    """One field in which the replica's architecture is not the reference's."""

    field: str
    reference: Any
    replica: Any


class Identity(Record):
    """Is the replica's architecture the reference's, key by key of the config that matters?

    The reference's weights were checked, name by name and shape by shape, to be what its own config describes; the
    replica is built from the same config by the same class.
    """

    identical: bool
    differences: tuple[Difference, ...] = ()


class ReferenceFacts(Record):
    """The original, pinned: where it was read from and the sha256 of what was read."""

    source: str
    revision: str | None = None
    sha256: dict[str, str] = Field(description="file name → hex sha256: config.json, tokenizer.json, model.safetensors")


class SourceFacts(Record):
    """One source of a corpus of files."""

    name: str
    sha256: str = Field(description="of the .bin's bytes, as far as they are trained on")
    documents: int
    rows: int
    tokens: int = Field(description="of the documents, each one's end-of-text among them")
    text_bytes: int | None = Field(None, description="UTF-8; None: it came tokenised")
    empty_documents: int | None = Field(None, description="left out because there is nothing in them")
    held_out_documents: int
    held_out_tokens: int
    held_out_sha256: str
    largest_id: int
    dataset: str | None = Field(None, description="of the hub")
    revision: str | None = Field(None, description="of `dataset`: the commit that was read")


class CorpusFacts(Record):
    """What was trained on. `tokens` counts positions that are predicted, `positions` adds the padding."""

    source: str
    sha256: str = Field(
        description="of the token ids in their stored order; of several sources: of the JSON list of theirs"
    )
    documents: int
    rows: int
    sequence_length: int
    tokens: int
    positions: int
    held_out_tokens: int
    held_out_sha256: str
    generated_by: str | None = Field(
        None, description="sha256 of the model.safetensors whose outputs this text is; then it is model extraction"
    )
    generation_flop: int | None = Field(
        None, description="of the reference's forward passes that made the text; no part of the run's FLOPs"
    )
    generated_empty: int | None = Field(
        None, description="samples of the reference that had nothing in them; they are no documents"
    )
    generated_cut: int | None = Field(
        None, description="documents of the reference that were cut off at the longest length; no end-of-text follows"
    )
    bytes_per_token: float | None = Field(None, description="of the text that is trained on; None: it came tokenised")
    sources: tuple[SourceFacts, ...] = ()
    held_out_source: SourceFacts | None = Field(
        None, description="what the held-out text is, where it is a source of its own; None: documents of the corpus"
    )


class Extraction(Record):
    """Model extraction: what of the reference's outputs the replica was trained on, from random initialisation."""

    source: Literal["logits", "generated_text"]
    temperature: float


class Manifest(Record):
    """manifest.json: all that is needed to say where a result came from."""

    schema_: Literal["replibench.manifest/1"] = Field("replibench.manifest/1", alias="schema")
    created: str = Field(description="UTC, ISO 8601")
    name: str
    code: dict[str, Any] = Field(description="version, commit (or null outside git), dirty")
    versions: dict[str, str] = Field(description="Python and the libraries that numbers depend on")
    machine: dict[str, Any] = Field(description="processor, cores, memory_bytes, accelerators")
    seeds: dict[str, int]
    training_config_sha256: str = Field(description="of the sections that the weights depend on")
    recipe: dict[str, Any] | None = Field(
        None, description="what makes a training the same recipe whatever its seed and layout: key → value"
    )
    tokenizer_sha256: str
    corpus: CorpusFacts
    epochs: dict[str, float] | None = Field(
        None, description="source → how often the run goes through it; None: a generated corpus, once at most"
    )
    reference: ReferenceFacts | None = None
    identity: Identity | None = None
    extraction: Extraction | None = Field(
        None, description="None: it was trained on text that is not the reference's output"
    )


class StepTime(Record):
    """Seconds of rank 0 by phase, in all attempts. Phases do not overlap; `other_s` is the rest of the wall-clock."""

    start_up_s: float = Field(description="imports, process group, model, checkpoint, peak")
    compile_s: float | None = Field(
        None, description="torch.compile at work on the host, mostly in each attempt's first step; None: not used"
    )
    data_s: float
    forward_backward_s: float
    teacher_s: float | None = Field(
        None, description="the reference's forward passes; None: its logits are not learned"
    )
    optimizer_s: float
    communication_s: float | None = Field(
        None,
        description="waited for collectives in steps, so for slower ranks too; None: not known (CUDA), or one process",
    )
    checkpoint_s: float
    evaluation_s: float
    other_s: float


class Goodput(Record):
    """What became of the time of all attempts. The parts add up to `booked_s`; waiting is beside it.

    `productive_s` is at the median step time, so that it may be multiplied with `mfu`, which is too.
    """

    booked_s: float = Field(description="from when each attempt had its nodes to its end, idle and lost included")
    productive_s: float = Field(description="steps × the median step")
    start_up_s: float = Field(
        description="preparing on the nodes, of all attempts; starting processes, of those that reached a checkpoint"
    )
    checkpoint_s: float
    evaluation_s: float
    lost_s: float = Field(description="after the checkpoint that the next attempt began from: lost steps, hangs, ends")
    other_s: float = Field(description="slow steps, compiling, logging; below 0 where most steps beat the median")
    waiting_s: float | None = Field(
        description="without nodes: between two attempts, and before the first since it was submitted; None: not known"
    )

    @property
    def share(self) -> float:
        """Of the booked time, that which its steps took."""
        return min(1.0, self.productive_s / self.booked_s)


class Peak(Record):
    """The denominator of MFU: all devices of the run together, and how it is known."""

    flop_per_s: float
    source: str = Field(description="'measured matmul, …' on a CPU, or the accelerator's row and dtype")


class HeldOutLoss(Record):
    """Mean cross-entropy in nats per token on the held-out documents."""

    replica: float
    original: float | None = None
    tokens: int


class RunRecord(Record):
    """run.json: what the run took and what it reached."""

    schema_: Literal["replibench.run/1"] = Field("replibench.run/1", alias="schema")
    name: str
    finished: bool
    steps: int
    tokens: int = Field(description="positions processed: steps × rows per step × sequence length; what FLOPs count")
    predicted_tokens: int = Field(description="`tokens` less padding")
    loss: float = Field(description="mean training loss of the last logged interval, nats per token; see `objective`")
    objective: Literal["language_modelling", "distillation"] = Field(
        "language_modelling",
        description="what `loss` is: cross-entropy with the text, or KL divergence from the reference's distribution",
    )
    held_out_loss: HeldOutLoss | None = None
    export_logit_difference: float = Field(
        description="largest absolute difference of logits, engine against the exported checkpoint (fp32: at most 1e-5)"
    )
    architecture: Architecture
    flops: FlopLedger
    device_type: Literal["cpu", "cuda"]
    device_name: str
    n_devices: int
    data_parallel_size: int
    tensor_parallel_size: int
    pipeline_parallel_size: int = 1
    zero_stage: int
    precision: Precision
    wall_clock_s: float = Field(description="over all attempts, start-up included, lost work included")
    device_s: float = Field(description="devices × wall-clock over all attempts, each with the devices it had")
    time: StepTime
    step_time_median_s: float = Field(description="first steps excluded")
    tokens_per_s: float = Field(description="at the median step time")
    peak: Peak | None = Field(description="None: an accelerator that the table does not know; then no MFU")
    mfu: float | None = Field(description="model FLOPs (full attention) at the median step time over the peak")
    hfu: float | None = Field(None, description="hardware FLOPs (recompute and teacher included) likewise")
    peak_memory_bytes: int | None = Field(
        description="while training, of the fullest device; on a CPU the largest resident set"
    )
    energy_joules: float | None = Field(None, description="over all attempts, as wall_clock_s; None: not measured")
    energy_source: str | None = Field(None, description="what was measured, and how: GPUs alone or CPU packages")
    goodput: Goodput | None = Field(None, description="None: of an earlier version")
    restarts: int
    lost_steps: int = Field(description="steps done again after restarts")
    skipped_steps: int = Field(0, description="steps that changed no weight: a loss or gradient was not finite")
    data_order_sha256: str | None = Field(
        None, description="the data-order certificate: of every token id consumed, in order (train/certificate.py)"
    )

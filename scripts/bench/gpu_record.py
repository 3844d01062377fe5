"""What the GPU bench measures, what became of each measurement, and gpu.json, which holds all of it. No torch."""

import statistics
from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field

from accounting.architecture import Architecture
from accounting.flops import flop_ledger
from accounting.hf_config import from_hf_config
from accounting.memory import Layout, MemoryBytes, memory
from configs.files import Record
from train.record import Peak, Precision


class Case(Record):
    """One measurement. It runs in a process of its own."""

    what: Literal["training", "nanogpt", "losses"]
    model: str
    hf_config: dict[str, Any]
    sequence_length: int
    micro_batch_size: int
    gradient_accumulation_steps: int
    precision: Precision
    compiled: bool
    warm_up_steps: int = Field(description="before the clock starts; the first one compiles")
    steps: int = Field(description="timed ones, at most")
    timed_s: float = Field(description="no step is begun after so many seconds of timed ones")
    device: Literal["cuda", "cpu"] = "cuda"
    zero_stage: Literal[1] = 1
    directory: str | None = Field(None, description="nanoGPT's checkout, or where the corpus of `losses` is kept")

    @property
    def title(self) -> str:
        """In a few words."""
        if self.what == "losses":
            return f"{self.model} losses, {self.precision}"
        code = "nanoGPT" if self.what == "nanogpt" else "ours"
        return f"{self.model} {code}, {'compiled' if self.compiled else 'eager'}"

    @property
    def architecture(self) -> Architecture:
        """The shape that `hf_config` says."""
        return from_hf_config(self.hf_config)

    @property
    def tokens_per_step(self) -> int:
        """Positions of one optimizer step."""
        return self.micro_batch_size * self.gradient_accumulation_steps * self.sequence_length

    def flop_per_token(self) -> dict[str, int]:
        """Training FLOP of one token by convention, named as `replibench estimate` names them."""
        ledger = flop_ledger(self.architecture, 1, self.sequence_length)
        return {
            "model_exact": ledger.model_flop,
            "model_exact_causal": ledger.model_flop_causal_halved,
            "six_nd": ledger.six_n_d_all_flop,
        }

    @property
    def layout(self) -> Layout:
        """As `accounting` has it; `selective` is also what a flash-attention kernel keeps."""
        return Layout(
            precision=self.precision,
            zero_stage=self.zero_stage,
            micro_batch_size=self.micro_batch_size,
            recompute="selective",
        )

    def predicted_memory(self) -> MemoryBytes:
        """`accounting`'s bytes."""
        return memory(self.architecture, self.layout, self.sequence_length)


class Spread(Record):
    """Several measurements of one thing."""

    median: float
    first_quartile: float
    third_quartile: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least two values."""
        first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median=middle, first_quartile=first, third_quartile=third, minimum=min(values), maximum=max(values))


class Profile(Record):
    """One more step under torch's profiler: which attention ran, and where the device's time went."""

    attention: tuple[str, ...] = Field(description="the operators of scaled-dot-product attention that ran")
    kernels: tuple[tuple[str, float], ...] = Field(description="(name, share of all kernels' time), the longest first")
    error: str | None = Field(None, description="why there is none")


class Speed(Record):
    """What training took."""

    parameters: int
    first_step_s: float = Field(description="torch.compile's time is in it")
    step_s: Spread = Field(description="wall clock of one optimizer step, the device waited for")
    timed_steps: int
    tokens_per_s: float = Field(description="at the median step")
    flop_per_token: dict[str, int] = Field(description="by convention")
    peak: Peak | None
    mfu: dict[str, float] | None = Field(description="by convention; None for a device without a known peak")
    allocated_bytes: int | None = Field(description="most at once, in the timed steps; None on a CPU")
    reserved_bytes: int | None = Field(description="most that torch's allocator held of the device")
    predicted: MemoryBytes
    energy_j: float | None = Field(description="of the whole board over the timed steps, by NVML; None without it")
    first_loss: float
    last_loss: float
    profile: Profile


class Outcome(Record):
    """What became of a case. `reason` says why there is no figure."""

    case: Case
    status: Literal["measured", "skipped", "out_of_memory", "timed_out", "failed"]
    reason: str | None = None
    took_s: float
    speed: Speed | None = None
    losses: tuple[float, ...] | None = Field(None, description="nats per token, of each step")


class Device(Record):
    """The GPU."""

    name: str
    memory_bytes: int
    capability: str
    driver: str | None
    cuda: str | None
    matmul_bf16_flop_per_s: float = Field(description="median of ten products of 8192 × 8192 random matrices")


class LossGap(Record):
    """How far two loss curves of the same data and seed are apart."""

    steps: int
    largest: float
    mean: float
    last_losses: dict[str, float] = Field(description="by precision, the mean of the last tenth of the steps")

    @classmethod
    def between(cls, curves: dict[str, tuple[float, ...]]) -> Self:
        """Of two curves of one length, by their precision."""
        one, other = curves.values()
        gaps = [abs(a - b) for a, b in zip(one, other, strict=True)]
        tail = max(1, len(gaps) // 10)
        return cls(
            steps=len(gaps),
            largest=max(gaps),
            mean=statistics.fmean(gaps),
            last_losses={name: statistics.fmean(curve[-tail:]) for name, curve in curves.items()},
        )


class GpuBench(Record):
    """gpu.json: the machine, the software, and each measurement with its settings."""

    schema_: Literal["replibench.gpu-bench/1"] = Field("replibench.gpu-bench/1", alias="schema")
    created: str = Field(description="UTC, ISO 8601")
    commit: str | None = Field(description="of this code; None outside git")
    dirty: bool | None
    nanogpt_commit: str | None
    versions: dict[str, str | None] = Field(description="None: not installed")
    device: Device
    budget_s: float
    took_s: float
    outcomes: tuple[Outcome, ...]
    loss_gap: LossGap | None = Field(description="bf16 against fp32; None where one of the two is missing")

"""Measuring, apart from what is measured: phases of a step, losses of an interval, the processor's peak."""

import math
import statistics
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import torch
import torch.distributed as dist

from train import certificate
from train.rows import Ids

PHASES = (
    *("start_up", "compile", "data", "forward_backward", "teacher", "optimizer", "communication"),
    *("checkpoint", "evaluation"),
)
_OF_A_STEP = ("forward_backward", "optimizer", "agreement")  # in which waiting for a collective is communication


class PhaseClock:
    """Seconds by phase. On CUDA by events in the stream, so that measuring adds no synchronisation.

    Phases do not overlap: what lies in another phase is taken off that one.
    """

    def __init__(self, device: torch.device, without: Collection[str] = ()) -> None:
        """`without`: phases that cannot be known apart, or that there are not."""
        self.seconds = {name: 0.0 for name in PHASES if name not in without}
        self.current, self.beats = "start_up", 0  # what is being done, and how often that changed: for the watchdog
        self._cuda = device.type == "cuda"
        self._open: list[tuple[str, Any]] = []
        self._pending: list[tuple[str, str | None, Any, Any]] = []

    def go_on_from(self, earlier: dict[str, float]) -> None:
        """Begin with the seconds of the attempts before this one. A phase is known only if it was in all of them."""
        self.seconds = {name: earlier[name] for name in self.seconds if name in earlier}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the enclosed work as `name`."""
        self.at(name)
        self.begin(name)
        yield
        self.end()

    def begin(self, name: str) -> None:
        """Count what comes as `name`, until `end`."""
        self._open.append((name, self._mark()))

    def end(self) -> None:
        """The phase begun last is over."""
        name, begin = self._open.pop()
        around = self._open[-1][0] if self._open else None
        if self._cuda:
            self._pending.append((name, around, begin, self._mark()))
        else:
            self._add(name, around, self._mark() - begin)

    def at(self, name: str) -> None:
        """Say what is being done, without counting it."""
        self.current, self.beats = name, self.beats + 1

    def settle(self) -> None:
        """Read the events of finished work. Waits for the device."""
        if self._pending:
            torch.cuda.synchronize()
            for name, around, begin, end in self._pending:
                self._add(name, around, begin.elapsed_time(end) / 1e3)
            self._pending.clear()

    def _mark(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event: Any = torch.cuda.Event
        mark = event(enable_timing=True)
        mark.record()
        return mark

    def _add(self, name: str, around: str | None, seconds: float) -> None:
        self.seconds[name] += seconds
        if around is not None:
            self.seconds[around] -= seconds


@contextmanager
def waits_counted(clock: PhaseClock) -> Iterator[None]:
    """Count as communication what a step waits for a collective: for the slower ranks, then for the data.

    gloo works in threads of its own; `Work.wait` is where a caller waits for it, with `async_op` and without, so that
    nothing is synchronised that was not before. Does nothing where the clock is without communication: on CUDA
    collectives are queued, not waited for, and may run beside the computation.
    """
    plain: Callable[..., Any] = dist.Work.wait

    def wait(work: Any, *arguments: Any, **options: Any) -> Any:
        if clock.current not in _OF_A_STEP:
            return plain(work, *arguments, **options)
        clock.begin("communication")
        try:
            return plain(work, *arguments, **options)
        finally:
            clock.end()

    if "communication" in clock.seconds:
        dist.Work.wait = wait  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        dist.Work.wait = plain  # type: ignore[method-assign]


@contextmanager
def compiling_counted(clock: PhaseClock) -> Iterator[None]:
    """Count as compile what torch.compile does on the host: tracing, generating code, waiting for compilers.

    Does nothing where the clock is without compile.
    """
    if "compile" not in clock.seconds:
        yield
        return
    from torch._dynamo.callback import callback_handler  # slow to import

    def begin(_: Any) -> None:
        clock.begin("compile")

    def end(_: Any) -> None:
        clock.end()

    callback_handler.register_start_callback(begin)
    callback_handler.register_end_callback(end)
    try:
        yield
    finally:
        callback_handler.remove_start_callback(begin)
        callback_handler.remove_end_callback(end)


class Interval:
    """The steps between two logged lines, and their time without checkpoints and compiling. Settle the clock first."""

    def __init__(self, clock: PhaseClock) -> None:
        self._clock = clock
        self.is_first = True  # of this attempt: caches, allocators and kernels warm up
        self._start()

    def seconds_per_step(self) -> float:
        """So far."""
        return (time.perf_counter() - self._begin - (self._apart() - self._apart_before)) / self.steps

    def start_next(self) -> None:
        """From here on count the steps of the next one."""
        self.is_first = False
        self._start()

    def _start(self) -> None:
        self.steps = 0
        self._begin, self._apart_before = time.perf_counter(), self._apart()

    def _apart(self) -> float:
        return self._clock.seconds["checkpoint"] + self._clock.seconds.get("compile", 0.0)


@dataclass
class Progress:
    """Where training stands; all that a checkpoint needs beside DeepSpeed's state. Equal on all ranks."""

    step: int = 0
    predicted_tokens: int = 0
    data_order_sha256: str = certificate.START
    data_order_links: list[certificate.Link] = field(default_factory=list)  # of some steps, the last among them
    corpus_sha256: str | None = None  # of what is trained on; None before the first step
    interval_loss: float = 0.0  # sum over the steps since the last logged one
    interval_steps: int = 0  # of them, those whose loss is a number
    last_logged_loss: float | None = None
    interval_step_times_s: list[float] = field(default_factory=list)
    warm_up_step_times_s: list[float] = field(default_factory=list)  # of each attempt's first interval
    recent_losses: list[float] = field(default_factory=list)
    skipped_steps: int = 0  # steps that changed no weight
    skipped_in_row: int = 0  # of them, the last ones, fp16's loss scaling not counted
    phase_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return asdict(self)

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Self:
        """From what a checkpoint has, as it came out of JSON."""
        return cls(**{**state, "data_order_links": [certificate.Link(*link) for link in state["data_order_links"]]})

    def read(self, rows: Ids) -> None:
        """Put the global batch of the step that begins into the certificate."""
        before = self.data_order_sha256
        self.data_order_sha256 = certificate.after_batch(before, self.step, rows)
        link = certificate.Link(self.step, before, self.data_order_sha256)
        self.data_order_links = certificate.with_link(self.data_order_links, link)

    def add(self, loss: float, predicted_tokens: int) -> None:
        """Count one finished optimizer step, skipped or not."""
        self.step += 1
        self.predicted_tokens += predicted_tokens
        if math.isfinite(loss):
            self.interval_loss += loss
            self.interval_steps += 1

    def count_skip(self, *, is_scaling: bool) -> None:
        """The step just added changed no weight; `is_scaling`: because fp16's loss scale was too large."""
        self.skipped_steps += 1
        self.skipped_in_row += not is_scaling

    def close_interval(self, seconds_per_step: float, *, is_warm_up: bool) -> float | None:
        """Mean loss of the interval that ends here, None where no step had one; starts the next one."""
        mean = self.interval_loss / self.interval_steps if self.interval_steps else None
        self.last_logged_loss = mean if mean is not None else self.last_logged_loss
        self.interval_loss, self.interval_steps = 0.0, 0
        (self.warm_up_step_times_s if is_warm_up else self.interval_step_times_s).append(seconds_per_step)
        return mean

    def median_step_time_s(self) -> float:
        """Over the logged intervals but each attempt's first; over those where there is no other."""
        return statistics.median(self.interval_step_times_s or self.warm_up_step_times_s)


def matmul_flop_per_s(dtype: torch.dtype = torch.float32, sizes: tuple[int, ...] = (512, 1024, 1536)) -> float:
    """Best rate of a square matmul on this process's own threads, FLOP/s: what a CPU has in place of a datasheet."""
    best = 0.0
    for n in sizes:
        a, b = torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype)
        for _ in range(6):
            start = time.perf_counter()
            a @ b
            best = max(best, 2 * n**3 / (time.perf_counter() - start))
    return best

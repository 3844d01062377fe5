"""Measuring, apart from what is measured: phases of a step, losses of an interval, the processor's peak."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from train import certificate

PHASES = ("start_up", "data", "forward_backward", "optimizer", "checkpoint", "evaluation")


class PhaseClock:
    """Seconds by phase. On CUDA by events in the stream, so that measuring adds no synchronisation."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.current, self.beats = "start_up", 0  # what is being done, and how often that changed: for the watchdog
        self._cuda = device.type == "cuda"
        self._pending: list[tuple[str, Any, Any]] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the enclosed work as `name`."""
        self.at(name)
        if not self._cuda:
            start = time.perf_counter()
            yield
            self.seconds[name] += time.perf_counter() - start
            return
        event: Any = torch.cuda.Event
        begin, end = event(enable_timing=True), event(enable_timing=True)
        begin.record()
        yield
        end.record()
        self._pending.append((name, begin, end))

    def at(self, name: str) -> None:
        """Say what is being done, without counting it."""
        self.current, self.beats = name, self.beats + 1

    def settle(self) -> None:
        """Read the events of finished work. Waits for the device."""
        if self._pending:
            torch.cuda.synchronize()
            for name, begin, end in self._pending:
                self.seconds[name] += begin.elapsed_time(end) / 1e3
            self._pending.clear()


@dataclass
class Progress:
    """Where training stands; all that a checkpoint needs beside DeepSpeed's state. Equal on all ranks."""

    step: int = 0
    predicted_tokens: int = 0
    data_order_sha256: str = certificate.START
    interval_loss: float = 0.0  # sum over the steps since the last logged one
    interval_steps: int = 0  # of them, those whose loss is a number
    last_logged_loss: float | None = None
    interval_step_times_s: list[float] = field(default_factory=list)
    recent_losses: list[float] = field(default_factory=list)
    skipped_steps: int = 0  # steps that changed no weight
    skipped_in_row: int = 0  # of them, the last ones, fp16's loss scaling not counted
    phase_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return asdict(self)

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

    def close_interval(self, seconds_per_step: float) -> float | None:
        """Mean loss of the interval that ends here, None where no step had one; starts the next one."""
        mean = self.interval_loss / self.interval_steps if self.interval_steps else None
        self.last_logged_loss = mean if mean is not None else self.last_logged_loss
        self.interval_loss, self.interval_steps = 0.0, 0
        self.interval_step_times_s.append(seconds_per_step)
        return mean


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

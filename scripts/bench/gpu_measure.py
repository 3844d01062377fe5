"""Training, timed: our engine's step and nanoGPT's, on the same rows, and the loss curves of a small model.

A step here is the loop's (train/loop.py) without what the loop writes and agrees on: rows to the device, forward, the
loop's loss, backward, clipping, AdamW, and waiting for the loss. The figures are of the median step.
"""

import contextlib
import importlib.util
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch._C._autograd import DeviceType  # as torch.profiler's own code has it

from configs.errors import WorkFailedError, first_line
from configs.schema import CheckpointConfig, OptimizerConfig, RunConfig, ScheduleConfig, TinyworldData, TrainConfig
from scripts.bench.gpu_record import Case, Profile, Speed, Spread
from train import data
from train import engine as deepspeed_engine
from train.energy import gpu_meter
from train.families import family_of
from train.model import build, full_config
from train.peak import find_peak
from train.rows import inputs_and_labels
from train.schedule import learning_rate_factor
from train.skipping import poisoned

Rows = list[tuple[torch.Tensor, torch.Tensor]]  # a step's micro-batches on the host: inputs and labels, (rows, length)
Step = Callable[[Rows, float], float]  # rows and learning rate → the step's loss, nats per token
LEARNING_RATE = 1e-4  # of the timed steps: random rows teach nothing, and no step shall be skipped
PEAK_LEARNING_RATE = 1e-3  # of the loss curves
TOP_KERNELS = 15
FEWEST_STEPS = 3
DOCUMENTS = 95_000  # of the loss curves' corpus: rows for every step


def speed(case: Case) -> Speed:
    """Train `case` on random rows and time it. Raises torch.OutOfMemoryError, and WorkFailedError for a loss that is
    not finite (a step is skipped then, and would be too fast)."""
    where = _start(case)
    step = _nanogpt_step(case, where) if case.what == "nanogpt" else _engine_step(case, where)
    rows = _random_rows(case)
    peak = find_peak(where, case.precision, threads=1)
    print("warming up", flush=True)
    first_s, first_loss = _timed(step, next(rows))
    for _ in range(case.warm_up_steps - 1):
        step(next(rows), LEARNING_RATE)
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)  # what compiling tried out is not in it
    print("timing", flush=True)
    times, loss, joules = _timed_steps(case, step, rows, where)
    spread, flops = Spread.of(times), case.flop_per_token()
    tokens_per_s = case.tokens_per_step / spread.median
    print("profiling", flush=True)
    return Speed(
        parameters=case.architecture.parameter_counts().total,
        first_step_s=first_s,
        step_s=spread,
        timed_steps=len(times),
        tokens_per_s=tokens_per_s,
        flop_per_token=flops,
        peak=peak,
        mfu={name: tokens_per_s * flop / peak.flop_per_s for name, flop in flops.items()} if peak else None,
        allocated_bytes=torch.cuda.max_memory_allocated(where) if where.type == "cuda" else None,
        reserved_bytes=torch.cuda.max_memory_reserved(where) if where.type == "cuda" else None,
        predicted=case.predicted_memory(),
        energy_j=joules,
        first_loss=first_loss,
        last_loss=loss,
        profile=_profile(step, next(rows), where),
    )


def losses(case: Case) -> list[float]:
    """The loss of each of `case.steps` steps on the generated corpus, nats per token: same rows, order, initial weights
    and schedule whatever the precision."""
    where = _start(case)
    assert case.directory is not None
    config = _run_config(case)
    corpus_directory = Path(case.directory)
    data.prepare(config, corpus_directory, None, lambda text: print(text, flush=True), {})
    corpus = data.open_corpus(corpus_directory, config)
    step = _engine_step(case, where)
    curve = []
    for number in range(case.steps):
        stored = corpus.batch(number)
        factor = learning_rate_factor(config.train.schedule, number, case.steps)
        curve.append(step(_micro_batches(stored, case), PEAK_LEARNING_RATE * factor))
    return curve


def _start(case: Case) -> torch.device:
    if case.device == "cuda":
        torch.cuda.set_device(0)
    where = torch.device("cuda", 0) if case.device == "cuda" else torch.device("cpu")
    torch.set_num_threads(1)
    deepspeed_engine.initialise(where, timeout_s=600)
    return where


def _train_config(case: Case) -> TrainConfig:
    return TrainConfig(
        steps=case.steps,
        sequence_length=case.sequence_length,
        micro_batch_size=case.micro_batch_size,
        gradient_accumulation_steps=case.gradient_accumulation_steps,
        zero_stage=case.zero_stage,
        precision=case.precision,
        device=case.device,
        compile=case.compiled,
        optimizer=OptimizerConfig(weight_decay=0.1),
        schedule=ScheduleConfig(kind="cosine", warmup_fraction=0.1, final_fraction=0.1),
        checkpoint=CheckpointConfig(),
    )


def _run_config(case: Case) -> RunConfig:
    corpus = TinyworldData(documents=DOCUMENTS, held_out_documents=1, vocab_size=case.hf_config["vocab_size"])
    return RunConfig(name="losses", architecture=case.hf_config, data=corpus, train=_train_config(case))


def _engine_step(case: Case, where: torch.device) -> Step:
    """The product's own: train.model.build, train.engine.start, the loop's loss."""
    train = _train_config(case)
    model = build(full_config(case.hf_config), train.seed, where)
    engine = deepspeed_engine.start(model, family_of(case.hf_config, "case"), train, case.precision)

    def step(rows: Rows, rate: float) -> float:
        for group in engine.optimizer.param_groups:
            group["lr"] = rate
        tokens = sum(int((labels != -100).sum()) for _, labels in rows)
        summed = torch.zeros((), device=where)
        for inputs, labels in _moved(rows, where):
            logits = engine(input_ids=inputs).logits
            loss = deepspeed_engine.summed_loss(engine, logits, labels)
            engine.backward(poisoned(loss, len(rows) / tokens))
            summed += loss.detach()
            engine.step()
        if deepspeed_engine.skipped_steps(engine):
            raise WorkFailedError("a step was skipped: a gradient was not finite")
        return float(summed) / tokens

    return step


def _nanogpt_step(case: Case, where: torch.device) -> Step:
    """nanoGPT's model and optimizer as its train.py uses them: autocast, fused AdamW, clipping, no DeepSpeed."""
    shape = case.architecture
    nanogpt = _nanogpt_model(Path(str(case.directory)))
    torch.manual_seed(0)
    with where:
        model = nanogpt.GPT(
            nanogpt.GPTConfig(
                block_size=shape.context,
                vocab_size=shape.padded_vocab_size,
                n_layer=shape.n_layers,
                n_head=shape.n_heads,
                n_embd=shape.d_model,
                dropout=0.0,
                bias=True,
            )
        )
    optimizer = model.configure_optimizers(0.1, LEARNING_RATE, (0.9, 0.95), where.type)
    torch.backends.cuda.matmul.allow_tf32 = True
    forward = torch.compile(model) if case.compiled else model
    half = torch.autocast(where.type, torch.bfloat16) if case.precision == "bf16" else contextlib.nullcontext()

    def step(rows: Rows, rate: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=where)
        for inputs, labels in _moved(rows, where):
            with half:
                _, loss = forward(inputs, labels)
            (loss / len(rows)).backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(total) / len(rows)

    return step


def _nanogpt_model(checkout: Path) -> Any:
    """model.py of the checkout that the user named, under a name that is not ours."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", checkout / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def _moved(rows: Rows, where: torch.device) -> Rows:
    return [tuple(part.to(where, non_blocking=True) for part in pair) for pair in rows]  # type: ignore[misc]


def _random_rows(case: Case) -> Iterator[Rows]:
    """A new batch for each step, uniform over the vocabulary that means something."""
    rng = np.random.default_rng(0)
    shape = (case.micro_batch_size * case.gradient_accumulation_steps, case.sequence_length + 1)
    while True:
        yield _micro_batches(rng.integers(0, min(case.architecture.vocab_size, 50_257), shape, dtype=np.uint16), case)


def _micro_batches(stored: NDArray[np.uint16], case: Case) -> Rows:
    inputs, labels = (torch.from_numpy(part) for part in inputs_and_labels(stored))
    size = case.micro_batch_size
    return [(inputs[start : start + size], labels[start : start + size]) for start in range(0, len(inputs), size)]


def _timed(step: Step, rows: Rows) -> tuple[float, float]:
    """Seconds and loss."""
    start = time.perf_counter()
    loss = step(rows, LEARNING_RATE)
    return time.perf_counter() - start, loss


def _timed_steps(
    case: Case, step: Step, rows: Iterator[Rows], where: torch.device
) -> tuple[list[float], float, float | None]:
    """Seconds of each step, the last loss, joules of all."""
    times: list[float] = []
    loss = math.nan
    uuid = f"GPU-{torch.cuda.get_device_properties(where).uuid}" if where.type == "cuda" else None
    meter = gpu_meter(uuid) if uuid else None
    while len(times) < case.steps and (len(times) < FEWEST_STEPS or sum(times) < case.timed_s):
        seconds, loss = _timed(step, next(rows))
        times.append(seconds)
    joules = meter.joules() if meter else None
    if not math.isfinite(loss):
        raise WorkFailedError(f"the loss is {loss}")
    return times, loss, joules


def _profile(step: Step, rows: Rows, where: torch.device) -> Profile:
    """One step under the profiler. What it cannot say is no reason to lose what was timed."""
    activity, on_cuda = torch.profiler.ProfilerActivity, where.type == "cuda"
    try:
        with torch.profiler.profile(activities=[activity.CPU, *([activity.CUDA] if on_cuda else [])]) as profiler:
            step(rows, LEARNING_RATE)
        events = list(profiler.key_averages())
    except Exception as error:
        return Profile(attention=(), kernels=(), error=first_line(error))
    attention = sorted({str(event.key) for event in events if _is_attention(str(event.key))})
    of_device: Any = DeviceType.CUDA if on_cuda else DeviceType.CPU
    clock = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    # An annotation spans kernels and would be counted beside them.
    kernels = [event for event in events if event.device_type == of_device and not event.is_user_annotation]
    spent = {str(event.key): float(getattr(event, clock)) for event in kernels}
    total = sum(spent.values())
    longest = sorted(spent.items(), key=lambda item: -item[1])[:TOP_KERNELS] if total else []
    return Profile(
        attention=tuple(attention),
        kernels=tuple((name, microseconds / total) for name, microseconds in longest),
        error=None if total else "the profiler saw no kernel",
    )


def _is_attention(name: str) -> bool:
    return name.startswith("aten::_scaled_dot_product") and "backward" not in name

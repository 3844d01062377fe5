"""What one process of a training run does: set up, train, export, measure, record."""

import json
import math
import os
import resource
import signal
import time
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import torch
import torch.distributed as dist

from accounting.flops import Recompute, flop_ledger
from accounting.hf_config import from_hf_config
from accounting.utilisation import hfu, mfu
from configs.errors import BadInputError
from configs.files import write_record
from configs.loader import load_config
from configs.schema import RunConfig, TrainConfig
from train import engine as deepspeed_engine
from train import events, links, resuming
from train.attempts import Attempts
from train.checkpoints import Layout
from train.data import open_corpus
from train.distillation import Teacher
from train.energy import RunEnergy
from train.export import export, logit_difference, publish
from train.families import family_of
from train.heldout import held_out_loss
from train.loop import Workplace, train_steps
from train.meters import PhaseClock, Progress, compiling_counted, waits_counted
from train.model import build, full_config
from train.peak import find_peak
from train.prepare import code_version, device_and_precision
from train.record import HeldOutLoss, Peak, Precision, RunRecord, StepTime
from train.reference import reference_directory
from train.rows import Corpus
from train.saving import Saver
from train.trackers import open_trackers
from train.watchdog import Watchdog

STARTED = psutil.Process().create_time()  # so that imports count as start-up


class StopFlag:
    """Set by SIGUSR1 (the launcher, a scheduler), SIGTERM or SIGINT: finish the step, write a checkpoint, end."""

    def __init__(self) -> None:
        self.is_set = False
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


def main(run_dir: Path, stop: StopFlag | None = None) -> bool:
    """Train, export, measure the held-out loss, write run.json (rank 0). Goes on from the newest checkpoint.

    Returns False when a stop was requested (a checkpoint is written). A process may train several runs in turn; `stop`
    is then its own, for all of them.
    """
    stop = stop or StopFlag()
    started = time.time() if dist.is_initialized() else STARTED  # the first one's start-up has the imports
    config = load_config(run_dir / "config.yaml")
    device, precision = _device_and_precision(config)
    torch.set_num_threads(config.train.threads_per_process)
    timeout_s = config.train.collective_timeout_s
    deepspeed_engine.initialise(device, timeout_s)
    clock = PhaseClock(device, _unknown_phases(config.train, device))
    with Watchdog(run_dir, dist.get_rank(), dist.get_world_size(), clock, timeout_s) as watchdog:
        place, finished = _work(config, run_dir, started, device, precision, clock, watchdog, stop)
    for feed in place.trackers:  # last of all, when no other rank waits for this one
        feed.close()
    place.attempts.close()
    deepspeed_engine.stop(place.engine, config.train)
    dist.destroy_process_group(place.control)
    return finished


def _work(
    config: RunConfig,
    run_dir: Path,
    started: float,
    device: torch.device,
    precision: Precision,
    clock: PhaseClock,
    watchdog: Watchdog,
    stop: StopFlag,
) -> tuple[Workplace, bool]:
    control = deepspeed_engine.control_group(config.train.collective_timeout_s)
    watchdog.nodes = links.nodes_of_ranks(control)
    links.check(run_dir, watchdog.nodes, device, control)
    place, progress, corpus, energy = _set_up(config, run_dir, started, device, precision, clock, control)
    watchdog.progress = progress
    peak = find_peak(device, precision, config.train.threads_per_process)
    clock.seconds["start_up"] += time.time() - started

    def totals() -> dict[str, float]:
        return place.attempts.totals(energy.joules())

    with waits_counted(clock), compiling_counted(clock):
        _forget_peak_memory(device)
        finished = train_steps(place, config.train, corpus, progress, run_dir, totals, lambda: stop.is_set)
    if finished:
        memory_bytes = _peak_memory_bytes(place)  # of training: the export gathers all weights, the losses load models
        with clock.phase("evaluation"):
            held_out, logit_gap = _finish(place, config, corpus, run_dir, precision)
        clock.settle()
        spent = totals()
        if place.is_main:
            record = _record(config, place, progress, spent, peak, held_out, logit_gap, memory_bytes, precision)
            write_record(run_dir / "run.json", record)
        dist.barrier()
    elif place.is_main:
        events.note(run_dir, progress.step, "stop_requested", f"asked to stop: step {progress.step:,} is saved")
    return place, finished


def _device_and_precision(config: RunConfig) -> tuple[torch.device, Precision]:
    kind, precision = device_and_precision(config.train)
    if kind == "cpu":
        return torch.device("cpu"), precision
    local = int(os.environ["LOCAL_RANK"])
    if local >= torch.cuda.device_count():
        raise BadInputError(
            "train.data_parallel_size × tensor_parallel_size × pipeline_parallel_size needs "
            f"{os.environ['LOCAL_WORLD_SIZE']} GPUs on this node and it has {torch.cuda.device_count()}"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local), precision


def _set_up(
    config: RunConfig,
    run_dir: Path,
    started: float,
    device: torch.device,
    precision: Precision,
    clock: PhaseClock,
    control: Any,
) -> tuple[Workplace, Progress, Corpus, RunEnergy]:
    train = config.train
    corpus = open_corpus(run_dir / "data", config)
    energy = RunEnergy(device, control)
    layout = resuming.layout_of(train, precision)
    found = resuming.find(run_dir, layout, control)
    architecture = json.loads((run_dir / "model.json").read_text(encoding="utf-8"))
    family = family_of(architecture, "model.json")
    clock.at("start_up")
    model = build(full_config(architecture), train.seed, device, train.initialisation)
    clock.at("start_up")  # each of these may be long, and none is a wait
    universal = found is not None and found.needs_conversion
    engine = deepspeed_engine.start(model, family, train, precision, universal=universal)
    clock.at("start_up")
    progress, is_main = Progress(corpus_sha256=corpus.facts.sha256), dist.get_rank() == 0
    if found is not None:
        progress = resuming.load(found, engine, run_dir, layout, control, clock)
        resuming.check_data_order(progress, corpus)
        clock.go_on_from(progress.phase_s)
    clock.at("start_up")
    teacher = _teacher(train, run_dir, engine, device)
    provenance = _provenance(device, layout)
    attempts = Attempts.begin(
        run_dir, progress.step, started, train.world_size, energy.source, provenance, write=is_main
    )
    place = Workplace(
        engine=engine,
        device=device,
        control=control,
        clock=clock,
        teacher=teacher,
        saver=Saver(run_dir, layout, train.checkpoint, control, train.collective_timeout_s),
        trackers=open_trackers(config, run_dir, progress.step, attempts) if is_main else [],
        attempts=attempts,
        data_parallel_rank=deepspeed_engine.data_parallel_rank(engine),
        is_main=is_main,
    )
    dist.barrier()
    return place, progress, corpus, energy


def _teacher(train: TrainConfig, run_dir: Path, engine: Any, device: torch.device) -> Teacher | None:
    """The run's reference, where its logits are learned."""
    if not train.learns_logits:
        return None
    reference = reference_directory(run_dir)
    assert reference is not None  # the configuration was checked
    dtype = next(engine.module.parameters()).dtype
    return Teacher(reference, train.distillation.temperature, device, dtype, compiled=train.compile)


def _unknown_phases(train: TrainConfig, device: torch.device) -> list[str]:
    unknown = [] if train.compile else ["compile"]
    unknown += [] if train.learns_logits else ["teacher"]
    # Collectives inside a compiled model are waited for out of sight; one process waits for nobody.
    if device.type == "cuda" or train.world_size == 1 or (train.compile and train.tensor_parallel_size > 1):
        unknown.append("communication")
    return unknown


def _provenance(device: torch.device, layout: Layout) -> dict[str, Any]:
    """What may differ between the attempts at one run."""
    return {
        "code": code_version(),
        "torch": torch.__version__,
        "deepspeed": metadata.version("deepspeed"),
        "device_name": _device_name(device),
        "layout": layout.model_dump(mode="json"),
    }


def _finish(
    place: Workplace, config: RunConfig, corpus: Corpus, run_dir: Path, precision: Precision
) -> tuple[HeldOutLoss, float]:
    architecture = json.loads((run_dir / "model.json").read_text(encoding="utf-8"))
    family, hf_config = family_of(architecture, "model.json"), full_config(architecture)
    replica, partial = run_dir / "replica", run_dir / ".replica.partial"

    def beat() -> None:  # the watchdog is about waits, and each of these may be long work
        place.clock.at("evaluation")

    export(place.engine, family, hf_config, config, run_dir / "data", partial)
    beat()
    gap = logit_difference(place.engine, partial, corpus, precision, place.device)
    beat()
    publish(partial, replica)
    reference = reference_directory(run_dir)
    losses = HeldOutLoss(
        replica=held_out_loss(replica, corpus, place.device, beat),
        original=held_out_loss(reference, corpus, place.device, beat) if reference else None,
        tokens=corpus.facts.held_out_tokens,
    )
    return losses, gap


def _record(
    config: RunConfig,
    place: Workplace,
    progress: Progress,
    spent: dict[str, float],
    peak: Peak | None,
    held_out: HeldOutLoss,
    logit_gap: float,
    memory_bytes: int,
    precision: Precision,
) -> RunRecord:
    train, attempts = config.train, place.attempts
    batch_tokens = train.global_batch_rows * train.sequence_length
    architecture = from_hf_config(place.engine.module.config.to_dict())
    recompute: Recompute = "full" if train.activation_checkpointing else "none"
    flops = flop_ledger(
        architecture,
        progress.step * batch_tokens,
        train.sequence_length,
        recompute,
        teacher=place.teacher.architecture if place.teacher else None,
        teacher_copies=train.tensor_parallel_size,  # each rank of a split replica has the whole teacher
    )
    median_s = progress.median_step_time_s()
    wall_clock_s, joules = spent["elapsed_s"], spent.get("energy_joules")
    phases = place.clock.seconds
    training_s = progress.step * median_s
    return RunRecord(
        name=config.name,
        finished=True,
        steps=progress.step,
        tokens=progress.step * batch_tokens,
        predicted_tokens=progress.predicted_tokens,
        data_order_sha256=progress.data_order_sha256,
        loss=progress.last_logged_loss if progress.last_logged_loss is not None else math.nan,
        objective="distillation" if place.teacher else "language_modelling",
        held_out_loss=held_out,
        export_logit_difference=logit_gap,
        architecture=architecture,
        flops=flops,
        device_type="cuda" if place.device.type == "cuda" else "cpu",
        device_name=_device_name(place.device),
        n_devices=dist.get_world_size(),
        data_parallel_size=train.data_parallel_size,
        tensor_parallel_size=train.tensor_parallel_size,
        pipeline_parallel_size=train.pipeline_parallel_size,
        zero_stage=train.zero_stage,
        precision=precision,
        wall_clock_s=wall_clock_s,
        device_s=attempts.device_s(wall_clock_s),
        time=StepTime(
            **{f"{name}_s": seconds for name, seconds in phases.items()},
            other_s=wall_clock_s - sum(phases.values()),
        ),
        step_time_median_s=median_s,
        tokens_per_s=batch_tokens / median_s,
        peak=peak,
        mfu=mfu(flops, training_s, peak.flop_per_s) if peak else None,
        hfu=hfu(flops, training_s, peak.flop_per_s) if peak else None,
        peak_memory_bytes=memory_bytes,
        energy_joules=joules,
        energy_source=None if joules is None else "; ".join(attempts.energy_sources),
        goodput=attempts.goodput(wall_clock_s, training_s, phases),
        restarts=attempts.restarts,
        lost_steps=attempts.lost_steps,
        skipped_steps=progress.skipped_steps,
    )


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "CPU"


def _forget_peak_memory(device: torch.device) -> None:
    """Of setting up: there the whole model is on the device for a moment."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory_bytes(place: Workplace) -> int:
    """Of the fullest device; on a CPU, of the largest process. Collective."""
    if place.device.type == "cuda":
        mine = torch.cuda.max_memory_allocated(place.device)
    else:
        mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    largest = torch.tensor([mine], dtype=torch.int64)
    dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=place.control)
    return int(largest)

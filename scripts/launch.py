"""The command `launch`: checks a run against a profile, renders, and submits; a dry run prints instead."""

import math
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NoReturn

from pydantic import Field

from configs import presets
from configs.errors import BadInputError, WorkFailedError
from configs.files import Record, write_record, write_text
from configs.loader import load_config, write_config
from configs.profiles import Kubernetes, Local, Profile, SkyPilot, Slurm, is_plain, profile
from configs.schema import RunConfig, TrainConfig
from configs.sweeps import HELD_OUT, is_sweep, load_sweep
from configs.sweeps import members as sweep_members
from eval.launch import check_suite
from scripts.elsewhere import foreign, relocated
from scripts.rendering import Job, Member, Rendered, check_arrays, render
from scripts.sweep import check_ladder
from train.checkpoints import all_of, name_of, step_of
from train.layouts import check_change, fitted, recipe
from train.processes import ROOT

SUBMISSION = Path("launch") / "submission.json"
Nodes = tuple[int, int] | None


class Submission(Record):
    """launch/submission.json: what was handed to which scheduler, and when."""

    schema_: Literal["replibench.submission/1"] = Field("replibench.submission/1", alias="schema")
    scheduler: str
    profile: str
    job: str | None = Field(None, description="the scheduler's name for it; None: it has none")
    nodes: tuple[int, int] = Field(description="least and most")
    processes: int = Field(description="on each node")
    command: str
    time: float = Field(description="seconds since the epoch")
    usd_per_accelerator_hour: float | None = None


def plan(
    configs: Sequence[str],
    on: str,
    overrides: Sequence[str],
    nodes: Nodes,
    run_dir: Path | None,
    warn: Callable[[str], None],
) -> Job:
    """The checked job. Raises BadInputError, before anything is submitted, naming flag, key or file."""
    where = profile(on)
    if any(is_sweep(config) for config in configs):
        return _plan_sweep(configs, where, overrides, nodes, run_dir, warn)
    every = [load_config(config, overrides) for config in configs]
    if len(every) > 1:
        check_arrays(where)
    if len(every) > 1 and run_dir is not None:
        raise BadInputError("--run-dir: is of one run; several have directories by their names")
    names = [settings.name for settings in every]
    if len({*names}) < len(names):
        raise BadInputError(f"CONFIG: {', '.join(names)}: runs of one job need names of their own")
    sizes, processes = _common_sizes(every, where, nodes, warn)
    _check_shared(where)
    members = tuple(_member(settings, _directory(settings.name, where, run_dir)) for settings in every)
    return Job(where, members, sizes, processes)


def _plan_sweep(
    configs: Sequence[str],
    where: Profile,
    overrides: Sequence[str],
    nodes: Nodes,
    run_dir: Path | None,
    warn: Callable[[str], None],
) -> Job:
    """The ladder of a sweep. The held-out run is not among them: its prediction has to come first."""
    if len(configs) > 1:
        raise BadInputError("CONFIG: a sweep is launched by itself: its members are the array")
    check_arrays(where)
    sweep = load_sweep(configs[0], overrides)
    check_ladder(sweep)
    ladder = {name: settings for name, settings in sweep_members(sweep).items() if name != HELD_OUT}
    sizes, processes = _common_sizes(list(ladder.values()), where, nodes, warn)
    _check_shared(where)
    directory = _directory(sweep.name, where, run_dir)
    members = tuple(_member(settings, directory / name) for name, settings in ladder.items())
    return Job(where, members, sizes, processes, corpus=str(directory / "data"))


def plan_evaluations(config: str, on: str, overrides: Sequence[str], steps: Sequence[int], run_dir: Path | None) -> Job:
    """The checked job of evaluating these checkpoints of a run, each by one process. Raises BadInputError."""
    where, settings = profile(on), load_config(config, overrides)
    check_arrays(where)
    check_suite(settings)
    _check_shared(where)
    directory = _directory(settings.name, where, run_dir)
    for step in steps:
        path = directory / "checkpoints" / name_of(step)
        if isinstance(where.site, Slurm) and not path.is_dir():  # of other schedulers the directory is not seen here
            there = ", ".join(str(step_of(each)) for each in all_of(path.parent))
            raise BadInputError(f"--evaluate {step}: {path}: no such checkpoint; there are: {there or 'none'}")
    config_path = str(directory / "launch" / "evaluation.yaml")
    members = tuple(Member(settings, config_path, str(directory), step) for step in steps)
    return Job(where, members, (1,), 1)


def parse_steps(text: str) -> tuple[int, ...]:
    """`1000,2000`."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len({*words}) < len(words):
        raise BadInputError(f"--evaluate: {text!r} are no steps of checkpoints, such as 1000,2000")
    return tuple(int(word) for word in words)


def _common_sizes(
    every: Sequence[RunConfig], where: Profile, nodes: Nodes, warn: Callable[[str], None]
) -> tuple[tuple[int, ...], int]:
    """The numbers of nodes that all members can train on, least first, and processes on each."""
    asked = {_size(settings.train, where, nodes) for settings in every}
    if len(asked) > 1:
        raise BadInputError("CONFIG: the members of an array need the same nodes and processes; give --nodes")
    least, most, processes = asked.pop()
    for settings in every:
        _check_train(settings, where, least, most, processes, warn)
        if isinstance(where.site, Kubernetes | SkyPilot) and (paths := foreign(settings, where.site.shared)):
            warn(f"{'; '.join(paths)}: of this machine; see that it is in the image or on the volume, under that path")
    between = range(least + 1, most)
    fitting = [n for n in between if all(_fits(settings.train, n * processes) for settings in every)]
    return tuple(sorted({least, *fitting, most})), processes


def _fits(train: TrainConfig, processes: int) -> bool:
    try:
        fitted(train, processes)
    except BadInputError:
        return False
    return True


def parse_nodes(text: str | None) -> Nodes:
    """`4`, or `2-4` for as many as can be had."""
    if text is None:
        return None
    least, dash, most = text.partition("-")
    if not (least.isdecimal() and (most.isdecimal() or not dash)) or not 1 <= int(least) <= int(most or least):
        raise BadInputError(f"--nodes: {text!r} is no number of nodes, such as 4, nor a range, such as 2-4")
    return int(least), int(most or least)


def _size(train: TrainConfig, where: Profile, nodes: Nodes) -> tuple[int, int, int]:
    """Least and most nodes, and processes on each: without --nodes as many as the configuration's processes need."""
    if isinstance(where.site, Local) and where.accelerator is None and where.site.per_node is None:
        nodes, processes = nodes or (1, 1), train.world_size  # this machine, whatever is asked of it
    elif nodes is None:
        count = math.ceil(train.world_size / where.per_node)
        processes = min(train.world_size, where.per_node)
        if count * processes != train.world_size:
            raise BadInputError(
                f"train: {train.world_size} processes do not fill nodes of {where.per_node} ({where.name}); give "
                "--nodes, and train.data_parallel_size follows"
            )
        nodes = count, count
    else:
        processes = where.per_node if where.accelerator or nodes[1] > 1 else min(train.world_size, where.per_node)
    if where.most_nodes is not None and nodes[1] > where.most_nodes:
        raise BadInputError(f"--nodes: {nodes[1]} is more than the {where.most_nodes} of {where.name}")
    return (*nodes, processes)


def _check_train(
    settings: RunConfig, where: Profile, least: int, most: int, processes: int, warn: Callable[[str], None]
) -> None:
    train = settings.train
    if where.accelerator is not None and train.device == "cpu":
        raise BadInputError(f"train.device: cpu, and {where.name} has {where.accelerator.name}; take auto")
    if where.accelerator is None and train.device == "cuda" and not isinstance(where.site, Local):
        raise BadInputError(f"train.device: cuda, and the profile {where.name} names no accelerator")
    for nodes in {least, most}:
        fitted(train, nodes * processes)
    size = train.tensor_parallel_size
    if most > 1 and (size > processes or processes % size):
        warn(_cost_of_crossing(size, processes, where))


def _cost_of_crossing(size: int, processes: int, where: Profile) -> str:
    words = (
        f"train.tensor_parallel_size: {size} crosses nodes of {processes}: four all-reduces a layer and micro-batch go "
        "over the network"
    )
    node = presets.nodes().get(where.accelerator.name) if where.accelerator else None
    inside = where.accelerator.interconnect_bytes_per_s if where.accelerator else None
    if node is None or inside is None:
        return words
    outside = node.bandwidth_bytes_per_s / node.accelerators
    return (
        f"{words}, at {outside / 1e9:.0f} GB/s a device where the links within a node have {inside / 2 / 1e9:.0f}: "
        f"{inside / 2 / outside:.0f} times as long; `replibench extrapolate plan` says what a step takes"
    )


def _check_shared(where: Profile) -> None:
    if where.site.shared is None and not isinstance(where.site, Local):
        raise BadInputError(
            f"--on {where.name}: launch.shared: is missing: checkpoints and the run's records must be where every node "
            "sees them; name a directory of the shared file system"
        )


def _directory(name: str, where: Profile, run_dir: Path | None) -> Path:
    shared = where.site.shared
    base = Path(shared) if shared else Path("runs").resolve()
    directory = (base / name) if run_dir is None else Path(run_dir).absolute()
    if not is_plain(str(directory)):
        raise BadInputError(
            f"--run-dir {directory}: schedulers and ssh read more into such a name; take one of letters, digits and "
            "._/@:+-"
        )
    if shared and not directory.is_relative_to(shared):
        raise BadInputError(f"--run-dir {directory}: is not in launch.shared ({shared}) of {where.name}")
    return directory


def _member(settings: RunConfig, directory: Path) -> Member:
    """Raises BadInputError where the directory holds another run, whose job may be at work with what is written there.

    A finished one is left as it is, so that its layout does not matter.
    """
    begun = directory / "config.yaml"
    if begun.is_file():
        stored = load_config(begun)
        if not (directory / "run.json").is_file() or recipe(stored) != recipe(settings):
            check_change(stored, settings, directory)
    return Member(settings, str(directory / "launch" / "config.yaml"), str(directory))


def submit(job: Job) -> Submission:
    """Check with the scheduler, write script and configuration into the run directory, hand it over.

    Raises BadInputError with the scheduler's word where it refuses, before anything is written or queued; what runs in
    the foreground (local, ssh) is not started here.
    """
    now = time.time()
    rendered = render(replace(job, submitted=now))
    remote = isinstance(job.site, Kubernetes | SkyPilot)  # whose run directories are not to be seen from here
    path = Path.cwd() / rendered.path.name if remote else rendered.path
    command = (*rendered.command[:-1], str(path))
    if not shutil.which(command[0]):
        raise BadInputError(f"{command[0]}: is not installed here; launch where it is")
    check_with_scheduler(job, rendered.text)
    write_text(path, rendered.text)
    if not remote:
        for member in job.members:
            write_config(Path(member.config), relocated(member.settings, job.site.checkout or str(ROOT)))
    foreground = command[0] == "bash"
    said = None if foreground else _handed_over(command)
    record = Submission(
        scheduler=str(getattr(job.site, "scheduler")),  # noqa: B009 (each kind of site has its own literal)
        profile=job.profile.name,
        job=said,
        nodes=(job.nodes[0], job.nodes[-1]),
        processes=job.processes,
        command=shlex.join(command),
        time=now,
        usd_per_accelerator_hour=job.site.usd_per_accelerator_hour,
    )
    if not remote and job.trains:
        for member in job.members:
            write_record(Path(member.run_dir) / SUBMISSION, record)
    return record


def check_with_scheduler(job: Job, text: str) -> None:
    """Raises BadInputError in the scheduler's words where it would refuse: a partition, an account, a size."""
    if isinstance(job.site, Slurm):
        done = _run(("sbatch", "--test-only"), text)
        if done.returncode:
            partitions = " ".join(_run(("sinfo", "--noheader", "--format=%R")).stdout.split())
            raise BadInputError(f"--on {job.profile.name}: {_last_line(done)} (partitions here: {partitions or '?'})")
    elif isinstance(job.site, Kubernetes):
        done = _run(("kubectl", "create", "--dry-run=server", "--filename", "-"), text)
        if done.returncode:
            raise BadInputError(f"--on {job.profile.name}: {_last_line(done)}")


def _handed_over(command: tuple[str, ...]) -> str:
    done = _run(command)
    if done.returncode:
        raise WorkFailedError(f"{command[0]}: {_last_line(done)}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _run(command: tuple[str, ...], text: str | None = None) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired:  # Slurm's commands wait for ever for a controller that is down
        raise WorkFailedError(f"{command[0]}: no answer within 120 s: is the scheduler up?") from None


def _last_line(done: "subprocess.CompletedProcess[str]") -> str:
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return said[-1] if said else f"exit code {done.returncode}"


def next_words(job: Job) -> str:
    """What to look at."""
    directory = Path(job.members[0].run_dir)
    if not job.trains:
        return f"results: {directory / 'evaluations'}"
    if job.corpus is None:
        return f"`replibench status {directory}` says where it is"
    sweep = directory.parent
    return f"`replibench status {sweep}` says where they are; then `replibench sweep SWEEP --run-dir {sweep}` predicts"


def become(record: Submission) -> NoReturn:
    """Turn into the script of a target without a queue, so that a signal to this process is one to the script."""
    command = shlex.split(record.command)
    os.execvp(command[0], command)


def dry_run(rendered: Rendered) -> str:
    """The exact script and command."""
    return f"{rendered.text.rstrip()}\n\n# {rendered.path}, to be submitted with:\n# {shlex.join(rendered.command)}\n"

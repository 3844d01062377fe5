"""`replibench calibrate`: train good seeds and broken recipes, one process each, side by side, and judge all pairs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.controls import broken, one_process, with_seed
from configs.errors import WorkFailedError
from configs.files import read_record, write_record
from configs.loader import write_config
from configs.schema import RunConfig
from eval.calibration import Calibration, CalibrationRun, calibrate
from eval.launch import evaluations_to_do, prepare_benchmarks, texts_of_benchmarks
from eval.results import read_scores
from scripts.console import Screen
from train.prepare import prepare_run
from train.processes import worker_environment
from train.record import Manifest, RunRecord

FIRST_SEED = 101  # far from the seeds that references and runs use
POLL_S = 0.5


@dataclass(frozen=True)
class Member:
    """One run of the calibration."""

    recipe: str
    seed: int
    config: RunConfig
    directory: Path

    @property
    def label(self) -> str:
        return f"{self.recipe}-{self.seed}"

    def is_done(self, benchmarks: Path, tasks: Mapping[str, Path]) -> bool:
        """Trained, and evaluated on these very items."""
        replica = {self.directory / "replica": self.directory / "eval" / "replica"}
        trained = (self.directory / "run.json").is_file()
        return trained and not evaluations_to_do(replica, benchmarks, tasks, self.config)

    def steps_done(self) -> int:
        """From its metrics, for the progress bar."""
        metrics = self.directory / "metrics.jsonl"
        lines = metrics.read_bytes().count(b"\n") if metrics.is_file() else 0
        return min(self.config.train.steps, lines * self.config.train.log_every_steps)


def calibrate_recipe(
    config: RunConfig,
    directory: Path,
    seeds: int,
    controls: dict[str, int],
    jobs: int | None,
    screen: Screen,
) -> Calibration:
    """Train and evaluate every member that is not there yet, then write calibration.json. Resumable."""
    members = _members(config, directory, seeds, controls)
    with screen.stage("preparing") as update:
        tasks = prepare_benchmarks(config, directory / "benchmarks")
        texts = texts_of_benchmarks(config, directory / "benchmarks")
        for member in members:
            _share_data(member, directory)
            prepare_run(member.config, member.directory, lambda text: update(0, text), texts)
            write_config(directory / f"{member.label}.yaml", member.config)
    total = sum(member.config.train.steps for member in members)
    with screen.stage(f"{len(members)} runs", total) as update:

        def on_poll() -> None:
            update(sum(member.steps_done() for member in members), "")

        waiting = [member for member in members if not member.is_done(directory / "benchmarks", tasks)]
        _run_all(waiting, directory, jobs or len(os.sched_getaffinity(0)), on_poll)
    held_out = read_record(members[0].directory / "manifest.json", Manifest).corpus.held_out_sha256
    result = calibrate([_outcome(member) for member in members], held_out_sha256=held_out)
    write_record(directory / "calibration.json", result)
    return result


def _members(config: RunConfig, directory: Path, seeds: int, controls: dict[str, int]) -> list[Member]:
    config = config.model_copy(update={"calibration": None})  # it is about to be measured
    recipes = [("good", config, seeds), *((name, broken(config, name), runs) for name, runs in controls.items())]
    return [
        Member(recipe, seed, one_process(with_seed(recipe_config, seed)), directory / f"{recipe}-{seed}")
        for recipe, recipe_config, count in recipes
        for seed in range(FIRST_SEED, FIRST_SEED + count)
    ]


def _share_data(member: Member, directory: Path) -> None:
    """All members read one corpus: a link instead of a copy."""
    (directory / "data").mkdir(parents=True, exist_ok=True)
    member.directory.mkdir(exist_ok=True)
    link = member.directory / "data"
    if not link.is_symlink():
        link.symlink_to(Path("..") / "data")


def _run_all(waiting: list[Member], directory: Path, jobs: int, on_poll: Callable[[], None]) -> None:
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                member = waiting.pop(0)
                running[member.label] = _start(member, directory)
            time.sleep(POLL_S)
            for label, process in list(running.items()):
                if process.poll() is not None:
                    del running[label]
                    if process.returncode:
                        raise WorkFailedError(f"{label} failed: {_last_line(directory / f'{label}.log')}")
            on_poll()
    finally:
        for process in running.values():
            process.terminate()  # it writes a checkpoint; the next call goes on from there
        for process in running.values():
            process.wait()


def _start(member: Member, directory: Path) -> "subprocess.Popen[bytes]":
    """Train, then evaluate, as two commands of ours in one process."""
    config, run_dir = str(directory / f"{member.label}.yaml"), str(member.directory)
    with (directory / f"{member.label}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.member", config, run_dir],
            env=worker_environment(member.config.train.threads_per_process, member.config.train.device),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"see {log}"


def _outcome(member: Member) -> CalibrationRun:
    scores = read_scores(member.directory / "eval" / "replica")
    held_out = read_record(member.directory / "run.json", RunRecord).held_out_loss
    return CalibrationRun(
        label=member.label,
        recipe=member.recipe,
        seed=member.seed,
        scores={name: (task.correct, task.n_items) for name, task in scores.tasks.items()},
        held_out_loss=held_out.replica if held_out else None,
    )

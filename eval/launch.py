"""Evaluate several models, each in a process of its own: side by side on a CPU, one after the other on a GPU."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from configs.errors import BadInputError, WorkFailedError
from configs.files import sha256_of, sha256_of_json, write_text
from configs.schema import RunConfig
from tinyworld.benchmarks import BENCHMARKS, write_benchmarks
from train.processes import ROOT, worker_environment

_REQUESTS = re.compile(rb"Running loglikelihood requests:.*?(\d+)/(\d+) \[")


def check_suite(config: RunConfig) -> None:
    """Raises BadInputError for a benchmark that the suite does not have: before training, not after."""
    for name in config.evaluation.items:
        if name not in BENCHMARKS:
            raise BadInputError(f"evaluation.items.{name}: unknown benchmark; choices: {', '.join(BENCHMARKS)}")


def prepare_benchmarks(config: RunConfig, directory: Path) -> dict[str, Path]:
    """Write the generated suite's items and lm-eval task files into `directory`; {task name: YAML}."""
    evaluation = config.evaluation
    check_suite(config)
    try:
        written = write_benchmarks(
            directory, evaluation.items, seed=evaluation.items_seed, world_seed=config.data.world_seed
        )
    except ValueError as error:  # more items than the grammar can yield
        raise BadInputError(f"evaluation.items: {error}") from None
    return {f"tinyworld_{name}": path for name, path in written.items()}


def evaluations_to_do(
    models: Mapping[Path, Path], benchmarks: Path, tasks: Mapping[str, Path], config: RunConfig
) -> list[dict[str, Any]]:
    """One job for each {model directory: output directory} whose output is not of this model, items and settings."""
    jobs = [_job(model, output, benchmarks, tasks, config) for model, output in models.items()]
    return [job for job in jobs if not _is_done(job)]


def evaluate_models(jobs: list[dict[str, Any]], config: RunConfig, on_progress: Callable[[float], None]) -> None:
    """Do the evaluations. `on_progress` gets the share of requests done, 0..1.

    Raises WorkFailedError with the last line of the log.
    """
    for job in jobs:
        shutil.rmtree(job["output"], ignore_errors=True)
        Path(job["output"]).mkdir(parents=True)
    side_by_side = config.train.device == "cpu" or not _has_gpu()
    for group in [jobs] if side_by_side else [[job] for job in jobs]:
        _run(group, config.train.threads_per_process, on_progress)


def _job(model: Path, output: Path, benchmarks: Path, tasks: Mapping[str, Path], config: RunConfig) -> dict[str, Any]:
    evaluation = config.evaluation
    settings = {
        "num_fewshot": evaluation.num_fewshot,
        "batch_size": evaluation.batch_size,
        "device": config.train.device,
        "threads": config.train.threads_per_process,
    }
    names = ("config.json", "tokenizer.json", "tokenizer_config.json")
    files = [*model.glob("*.safetensors"), *(model / name for name in names)]
    files += [path.with_suffix(".jsonl") for path in tasks.values()]
    inputs = {
        "settings": settings,
        "versions": {name: metadata.version(name) for name in ("lm_eval", "transformers", "torch")},
        "sha256": {path.name: sha256_of(path) for path in files if path.is_file()},
        # the task files name their data by its path, which is no part of what is asked
        "tasks": {name: path.read_text().replace(str(benchmarks.resolve()), "") for name, path in tasks.items()},
    }
    return {
        **settings,
        "model": str(model),
        "benchmarks": str(benchmarks),
        "output": str(output),
        "tasks": sorted(tasks),
        "key": sha256_of_json(inputs),
    }


def _is_done(job: dict[str, Any]) -> bool:
    """Same weights, same items, same settings, and it came to its end."""
    marker = Path(job["output"]) / "complete"
    return marker.is_file() and marker.read_text() == job["key"]


def _run(jobs: list[dict[str, Any]], threads: int, on_progress: Callable[[float], None]) -> None:
    script = str(ROOT / "eval" / "harness.py")
    env = {**worker_environment(threads, jobs[0]["device"]), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    env["HF_DATASETS_CACHE"] = str(Path(jobs[0]["output"]).parent / ".cache")  # not into the user's home
    running = []
    for job in jobs:
        log = (Path(job["output"]) / "lm_eval.log").open("wb")
        arguments = [sys.executable, script, json.dumps(job)]
        process = subprocess.Popen(arguments, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        running.append((job, log, process))
    try:
        while any(process.poll() is None for _, _, process in running):
            time.sleep(0.3)
            on_progress(sum(_share_done(Path(log.name)) for _, log, _ in running) / len(running))
            failed = [job for job, _, process in running if process.poll() not in (None, 0)]
            if failed:
                raise WorkFailedError(_failure(failed[0]))
        for job, _, process in running:
            if process.returncode:
                raise WorkFailedError(_failure(job))
            write_text(Path(job["output"]) / "complete", job["key"])
    finally:
        for _, log, process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
            log.close()


def _failure(job: dict[str, Any]) -> str:
    log = Path(job["output"]) / "lm_eval.log"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"evaluating {job['model']} failed: {lines[-1] if lines else 'no output'} (log: {log})"


def _share_done(log: Path) -> float:
    """From lm-eval's own progress bar in its log; 0 before it starts."""
    found = _REQUESTS.findall(log.read_bytes()[-4000:])
    return int(found[-1][0]) / max(1, int(found[-1][1])) if found else 0.0


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()

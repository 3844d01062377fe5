"""Evaluate models in a process of its own, which imports what is heavy, and pass on what it tells."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from configs.errors import BadInputError, WorkFailedError
from configs.files import sha256_of, sha256_of_json, write_text
from configs.schema import FilesData, RunConfig
from eval.stock import (
    OFFLINE,
    RECORD,
    check_stock,
    datasets_cache,
    items_asked,
    prepare_stock,
    stock_files,
    texts_of_stock,
)
from tinyworld.benchmarks import BENCHMARKS, write_benchmarks
from train.processes import ROOT, worker_environment

DTYPE = "float32"  # on every device: rounding must not be what separates two models


def check_suite(config: RunConfig) -> None:
    """Raises BadInputError for what can be seen at once of a benchmark that cannot be evaluated."""
    check_stock(config)
    if config.reference is not None:
        _check_kind(config)
    for name in config.evaluation.items:
        if name not in BENCHMARKS:
            raise BadInputError(f"evaluation.items.{name}: unknown benchmark; choices: {', '.join(BENCHMARKS)}")


def has_suite(config: RunConfig) -> bool:
    """Is there anything to evaluate on? The generated suite says nothing of a model of real text."""
    return config.evaluation.suite == "lm_eval" or not isinstance(config.data, FilesData)


def _check_kind(config: RunConfig) -> None:
    if not has_suite(config):
        raise BadInputError(
            "evaluation.suite: tinyworld is of the generated world, and the run's data are files; set it to lm_eval, "
            "and evaluation.tasks to lm-eval's tasks, such as [lambada_openai, hellaswag]"
        )


def prepare_benchmarks(config: RunConfig, directory: Path) -> dict[str, Path]:
    """Write the suite's lm-eval task files (and generated items) into `directory`; {task name: YAML}."""
    evaluation = config.evaluation
    if evaluation.suite == "lm_eval":
        return prepare_stock(config, directory)
    check_suite(config)
    _check_kind(config)
    assert not isinstance(config.data, FilesData)  # just checked
    try:
        written = write_benchmarks(
            directory, evaluation.items, seed=evaluation.items_seed, world_seed=config.data.world_seed
        )
    except ValueError as error:  # more items than the grammar can yield
        raise BadInputError(f"evaluation.items: {error}") from None
    return {f"tinyworld_{name}": path for name, path in written.items()}


def prepared_benchmarks(config: RunConfig, directory: Path) -> dict[str, Path]:
    """As `prepare_benchmarks` gave for this configuration; stock items are not loaded again: evaluating does."""
    return stock_files(directory) if config.evaluation.suite == "lm_eval" else prepare_benchmarks(config, directory)


def texts_of_benchmarks(config: RunConfig, directory: Path) -> dict[str, Path]:
    """{benchmark: JSON lines with the `texts` of each item} of a prepared suite of real text."""
    return texts_of_stock(directory) if config.evaluation.suite == "lm_eval" else {}


def evaluations_to_do(
    models: Mapping[Path, Path], benchmarks: Path, tasks: Mapping[str, Path], config: RunConfig
) -> list[dict[str, Any]]:
    """One job for each {model directory: output directory} whose output is not of this model, items and settings."""
    jobs = [_job(model, output, benchmarks, tasks, config) for model, output in models.items()]
    return [job for job in jobs if not _is_done(job)]


def evaluate_models(
    jobs: list[dict[str, Any]],
    config: RunConfig,
    on_progress: Callable[[float], None],
    on_warning: Callable[[str], None] = lambda text: None,
) -> None:
    """Do the evaluations. `on_progress` gets the share of all requests done, 0..1; `on_warning` a line to show.

    Raises WorkFailedError with the first error of a model, or the last line of the log.
    """
    for job in jobs:
        shutil.rmtree(job["output"], ignore_errors=True)
        Path(job["output"]).mkdir(parents=True)
    log = Path(jobs[0]["output"]).parent / "lm_eval.log"
    with log.open("wb") as stream, _start(jobs, config, stream) as process:
        try:
            _follow(process, {job["model"]: job for job in jobs}, on_progress, on_warning, log)
        except BaseException:  # Ctrl-C too
            with contextlib.suppress(OSError):  # it may be gone
                os.killpg(process.pid, signal.SIGKILL)  # with all that it forked
            raise
    if process.returncode:
        raise WorkFailedError(f"evaluating failed: {_last_line(log)} (log: {log})")


def _job(model: Path, output: Path, benchmarks: Path, tasks: Mapping[str, Path], config: RunConfig) -> dict[str, Any]:
    evaluation = config.evaluation
    settings = {
        "num_fewshot": evaluation.num_fewshot,
        "num_fewshot_of": evaluation.num_fewshot_of,
        "limit": evaluation.limit,
        "batch_size": evaluation.batch_size,
        "dtype": DTYPE,
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
        "tasks": _asked(benchmarks, tasks),
    }
    pinned = items_asked(benchmarks)["items"] if (benchmarks / RECORD).is_file() else {}
    return {
        **settings,
        "model": str(model),
        "benchmarks": str(benchmarks),
        "output": str(output),
        "tasks": sorted(tasks),
        "pinned": {task: items["sha256"] for task, items in pinned.items()},
        "key": sha256_of_json(inputs),
    }


def _asked(benchmarks: Path, tasks: Mapping[str, Path]) -> dict[str, Any]:
    """What is asked, as JSON: of lm-eval's own tasks the items (its version has the wording), of others their files."""
    if (benchmarks / RECORD).is_file():
        return items_asked(benchmarks)
    # the task files name their data by its path, which is no part of what is asked
    return {name: path.read_text().replace(str(benchmarks.resolve()), "") for name, path in tasks.items()}


def _is_done(job: dict[str, Any]) -> bool:
    """Same weights, same items, same settings, and it came to its end."""
    marker = Path(job["output"]) / "complete"
    return marker.is_file() and marker.read_text() == job["key"]


def _start(jobs: list[dict[str, Any]], config: RunConfig, log: IO[bytes]) -> "subprocess.Popen[bytes]":
    env = worker_environment(config.train.threads_per_process, config.train.device)
    env |= OFFLINE | datasets_cache(config, Path(jobs[0]["output"]).parent)
    models = [{"model": job["model"], "output": job["output"]} for job in jobs]
    work = {**jobs[0], "models": models}  # the settings are those of the run, so the same for all
    return subprocess.Popen(
        [sys.executable, str(ROOT / "eval" / "harness.py"), json.dumps(work)],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        process_group=0,  # Ctrl-C reaches us alone; we end it with all that it started
    )


def _follow(
    process: "subprocess.Popen[bytes]",
    jobs: Mapping[str, dict[str, Any]],
    on_progress: Callable[[float], None],
    on_warning: Callable[[str], None],
    shared_log: Path,
) -> None:
    """Act on each message of eval/harness.py until its end. Raises WorkFailedError for the first error."""
    assert process.stdout is not None
    shares = dict.fromkeys(jobs, 0.0)
    for line in process.stdout:
        message = json.loads(line)
        model = message["model"]  # None: it concerns them all
        if "error" in message:
            own_log = Path(jobs[model]["output"]) / "lm_eval.log" if model else shared_log
            log = own_log if own_log.is_file() else shared_log  # a model that cannot be loaded has none yet
            raise WorkFailedError(f"evaluating {model or 'the models'} failed: {message['error']} (log: {log})")
        if "warning" in message:
            on_warning(f"{model}: {message['warning']}")
        if "complete" in message:
            write_text(Path(jobs[model]["output"]) / "complete", jobs[model]["key"])
        shares[model] = message.get("share", shares[model])
        on_progress(sum(shares.values()) / len(shares))


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"

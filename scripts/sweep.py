"""`replibench sweep`: train a ladder in one process, predict the held-out run by its law, train that, say what came."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from configs.errors import BadInputError
from configs.files import write_record, write_text
from configs.locks import CORPUS_LOCK, exclusive
from configs.schema import RunConfig
from configs.sweeps import HELD_OUT, SweepConfig, ledger, load_sweep, members
from eval.launch import prepare_benchmarks, texts_of_benchmarks
from extrapolate.runs import Runs
from extrapolate.sweep import (
    PREDICTION,
    RESULT,
    RUNS,
    SweepPrediction,
    SweepResult,
    predict,
    result,
    stored_prediction,
    write_runs,
)
from scripts.console import Screen

SWEEP = "sweep.yaml"  # the configuration, as it was given


def check_ladder(sweep: SweepConfig) -> None:
    """Raises BadInputError for a ladder that gives no law, before anything is trained."""
    ledgers = [ledger(config) for name, config in members(sweep).items() if name != HELD_OUT]
    sizes, tokens = ([float(getattr(each, name)) for each in ledgers] for name in ("parameters_all", "tokens"))
    reason = Runs(np.array(sizes), np.array(tokens), np.ones(len(ledgers))).why_too_few()
    if reason:
        raise BadInputError(f"{sweep.name}: {reason}")


def run_sweep(sweep: SweepConfig, directory: Path, screen: Screen) -> SweepResult:
    """The whole sweep. What is finished is not done again; the prediction is made once, before the held-out run."""
    found = members(sweep)
    run_dirs = {name: directory / name for name in found}
    ladder = {name: run_dir for name, run_dir in run_dirs.items() if name != HELD_OUT}
    target, held_out = ledger(found[HELD_OUT]), run_dirs[HELD_OUT]
    begun = (held_out / "attempts.jsonl").is_file()
    _check_directory(sweep, directory, found)
    if begun:
        _refuse_more(ladder, held_out)
    with ExitStack() as locks:
        for run_dir in run_dirs.values():
            locks.enter_context(exclusive(run_dir))
        _prepare(sweep, found, directory, screen)
        _train({name: found[name] for name in ladder}, directory, f"training {len(ladder)} runs", screen)
        write_runs(directory / RUNS, ladder)
        prediction = _prediction(directory, target.parameters_all, target.tokens, screen, begun=begun)
        _train({HELD_OUT: found[HELD_OUT]}, directory, f"training {HELD_OUT}", screen)
        outcome = result(sweep.name, prediction, ladder, held_out)
        write_record(directory / RESULT, outcome)
    return outcome


def _prediction(directory: Path, parameters: int, tokens: int, screen: Screen, *, begun: bool) -> SweepPrediction:
    """The one that is there, or a new one, written before this returns."""
    prediction = stored_prediction(directory, parameters, tokens, begun=begun)
    if prediction is None:
        with screen.stage("predicting"):
            prediction = predict(directory / RUNS, HELD_OUT, parameters, tokens)
            write_record(directory / PREDICTION, prediction)
    loss = prediction.loss
    screen.say(f"{HELD_OUT}: loss {loss.median:.4f} predicted, 90 % {loss.p5:.4f} to {loss.p95:.4f}")
    return prediction


def _check_directory(sweep: SweepConfig, directory: Path, found: Collection[str]) -> None:
    """Raises BadInputError unless the directory is new or of a sweep with this base: its members share one corpus."""
    stored = directory / SWEEP
    if stored.is_file():
        if load_sweep(stored).base != sweep.base:
            raise BadInputError(f"--run-dir {directory}: holds a sweep with another `base`; name another directory")
    elif {path.name for path in directory.iterdir()} - {".lock", CORPUS_LOCK, "data", *found}:  # launched, perhaps
        raise BadInputError(f"--run-dir {directory}: has files in it and is no sweep's directory; name an empty one")


def _refuse_more(ladder: Mapping[str, Path], held_out: Path) -> None:
    """Raises BadInputError where a ladder would go on after what it is to predict was seen."""
    waiting = next((run_dir for run_dir in ladder.values() if not (run_dir / "run.json").is_file()), None)
    if waiting is not None:
        raise BadInputError(
            f"{waiting}: is still to be trained, and {held_out} was begun already, so a prediction from it would come "
            "late; name another --run-dir"
        )


def _prepare(sweep: SweepConfig, found: Mapping[str, RunConfig], directory: Path, screen: Screen) -> None:
    """Check every member and write what its training reads. They share one corpus: a link instead of a copy."""
    from train.prepare import prepare_run

    write_text(directory / SWEEP, yaml.safe_dump(sweep.model_dump(mode="json", exclude_unset=True), sort_keys=False))
    (directory / "data").mkdir(exist_ok=True)
    with screen.stage("preparing") as update:
        texts = _texts(next(iter(found.values())), directory / "benchmarks")
        for name, config in found.items():
            run_dir = directory / name
            if not (run_dir / "data").is_symlink():
                (run_dir / "data").symlink_to(Path("..") / "data")
            prepare_run(config, run_dir, lambda text: update(0, text), texts)


def _texts(config: RunConfig, directory: Path) -> dict[str, Path]:
    """Of the benchmarks that `data.hygiene` keeps out of the corpus, where the runs name some."""
    if config.evaluation.suite != "lm_eval":
        return {}
    prepare_benchmarks(config, directory)
    return texts_of_benchmarks(config, directory)


def _train(found: Mapping[str, RunConfig], directory: Path, title: str, screen: Screen) -> None:
    """Train, in the same processes, those that are not finished."""
    from train.launch import launch_in_turn

    work = {name: ledger(config).model_flop for name, config in found.items()}
    done = {name: float(work[name]) for name in found if (directory / name / "run.json").is_file()}
    waiting = [name for name in found if name not in done]
    if not waiting:
        return
    with screen.stage(title, sum(work.values())) as update:

        def on_progress(run_dir: Path, line: dict[str, Any]) -> None:
            name = run_dir.name
            done[name] = work[name] * line["step"] / found[name].train.steps
            loss = "none" if line["loss"] is None else f"{line['loss']:.3f}"
            update(sum(done.values()), f"{name}: loss {loss}, {line['tokens_per_s']:,.0f} tok/s")

        launch_in_turn([directory / name for name in waiting], found[waiting[0]].train, on_progress, screen.say)

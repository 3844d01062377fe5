"""The stages of a run, each from files to files, with its progress shown. `run` is all of them in order."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from configs.errors import BadInputError
from configs.files import read_record, write_record, write_text
from configs.locks import exclusive
from configs.schema import FilesData, RunConfig
from eval.calibration import Calibration
from eval.criterion import held_out_loss
from eval.judge import judge_files
from eval.launch import (
    check_suite,
    evaluate_models,
    evaluations_to_do,
    has_suite,
    prepare_benchmarks,
    prepared_benchmarks,
    texts_of_benchmarks,
)
from eval.verdict import Verdict
from extrapolate.forecast import Forecast, forecast
from scripts.console import Screen
from train.record import Manifest, RunRecord
from train.reference import reference_directory


def prepare(config: RunConfig, run_dir: Path, screen: Screen) -> Manifest:
    """Check all input, also what later stages need, and write what the workers read; nothing is done twice."""
    from train.corpus.cleaning import REPORT
    from train.corpus.hygiene import HygieneReport
    from train.corpus.hygiene import told as told_of_hygiene
    from train.corpus.opened import told
    from train.corpus.sources import check_files
    from train.prepare import check_directory, prepare_run

    if config.offline and not Path(config.offline).is_dir():
        raise BadInputError(f"offline: {config.offline}: no such directory; `replibench fetch` makes and fills one")
    check_suite(config)
    if isinstance(config.data, FilesData):
        check_files(config.data)
    for name, results in config.controls.items():
        if results is not None and not Path(results).exists():
            raise BadInputError(f"controls.{name}: {results}: no such file or directory; null where there are none")
    if config.calibration:
        read_record(Path(config.calibration), Calibration)
    with screen.stage("preparing") as update:
        check_directory(config, run_dir)
        texts = {}
        if has_suite(config):  # first: a corpus may take hours
            prepare_benchmarks(config, run_dir / "benchmarks")
            texts = texts_of_benchmarks(config, run_dir / "benchmarks")
        manifest = prepare_run(config, run_dir, lambda text: update(0, text), texts)
    if manifest.epochs is not None and not (run_dir / "run.json").is_file():
        report = run_dir / "data" / REPORT
        removed = told_of_hygiene(read_record(report, HygieneReport)) if report.is_file() else ()
        for line in (*removed, *told(manifest.corpus, manifest.epochs)):
            screen.say(line)
    return manifest


def train(config: RunConfig, run_dir: Path, screen: Screen) -> RunRecord:
    """Train a prepared run, from where an earlier attempt stopped; a finished run is left as it is."""
    from train.launch import launch

    if not (run_dir / "run.json").is_file():
        with screen.stage(f"training {config.train.steps:,} steps", config.train.steps) as update:

            def on_progress(line: dict[str, Any]) -> None:
                loss = "none" if line["loss"] is None else f"{line['loss']:.3f}"
                left_s = (config.train.steps - line["step"]) * line["step_time_s"]
                update(line["step"], f"loss {loss}, {line['tokens_per_s']:,.0f} tok/s", left_s)

            launch(run_dir, config.train, on_progress, screen.say)
    return read_record(run_dir / "run.json", RunRecord)


def evaluate(config: RunConfig, run_dir: Path, screen: Screen, sides: Sequence[str] = ("original", "replica")) -> None:
    """The models on the suite, through lm-eval; results of the same weights and items are not computed again."""
    models = {run_dir / "replica": run_dir / "eval" / "replica"}
    reference = reference_directory(run_dir)
    if "original" in sides and reference is not None:
        models[reference] = run_dir / "eval" / "original"
    _evaluate(config, models, run_dir, screen)


def evaluate_checkpoint(config: RunConfig, run_dir: Path, step: int, screen: Screen) -> Path:
    """The model of one checkpoint on the suite, in a directory of its own, which is returned; the run is left alone.

    So several may be at work, and the training too. Raises BadInputError where there is no such checkpoint.
    """
    from train.checkpoints import name_of
    from train.snapshot import export_checkpoint

    check_suite(config)
    directory = run_dir / "evaluations" / name_of(step)
    with exclusive(directory):
        with screen.stage(f"exporting step {step:,}"):
            export_checkpoint(run_dir, config, step, directory / "replica")
        prepare_benchmarks(config, directory / "benchmarks")
        _evaluate(config, {directory / "replica": directory / "eval" / "replica"}, directory, screen)
    return directory / "eval" / "replica"


def _evaluate(config: RunConfig, models: dict[Path, Path], directory: Path, screen: Screen) -> None:
    """{model: where its results go} on the suite, whose items are in `directory`."""
    with screen.stage(f"evaluating {len(models)} model{'s' if len(models) > 1 else ''}", 1.0) as update:
        benchmarks = directory / "benchmarks"
        tasks = prepared_benchmarks(config, benchmarks)
        waiting = evaluations_to_do(models, benchmarks, tasks, config)
        if waiting:
            for stale in ("verdict.json", "report.html", "report.md"):  # they speak of other evaluations
                (directory / stale).unlink(missing_ok=True)
            evaluate_models(waiting, config, lambda share: update(share, ""), screen.say)


def judge(config: RunConfig, run_dir: Path) -> Verdict:
    """Apply the criterion to the run's two evaluations (or refuse, where the architectures differ)."""
    if read_record(run_dir / "manifest.json", Manifest).identity is None:
        raise BadInputError(f"{config.name}: has no `reference`, so there is nothing to compare with")
    losses = None
    if (run_dir / "run.json").is_file():
        loss = read_record(run_dir / "run.json", RunRecord).held_out_loss
        if loss is not None and loss.original is not None:
            losses = held_out_loss(loss.original, loss.replica, _tolerance(run_dir))
    beside = [Path(results) for results in config.controls.values() if results is not None]
    sides = run_dir / "eval" / "original", run_dir / "eval" / "replica"
    of_hub = config.reference is not None and not Path(config.reference).is_dir()
    revision = config.revision if of_hub else None
    verdict = judge_files(sides[0], sides[1:], beside=beside, revision=revision, held_out=losses)
    missing = [name for name, results in config.controls.items() if results is None]
    if missing:
        said = (
            f"controls: {len(missing)} of {len(config.controls)} runs of the original's recipe have no results here "
            f"({missing[0]}, …): set `controls` to their lm-eval results to see the replica among them"
        )
        verdict = verdict.model_copy(update={"warnings": (*verdict.warnings, said)})
    write_record(run_dir / "verdict.json", verdict)
    return verdict


def predict(config: RunConfig, run_dir: Path | None) -> Forecast:
    """Forecast the target of `config`, with what the run says of it, if there is a run."""
    path = run_dir / "run.json" if run_dir else None
    record = read_record(path, RunRecord) if path and path.is_file() else None
    result = forecast(config.forecast, () if record is None else (record,))
    if run_dir and (run_dir / "config.yaml").is_file():
        write_record(run_dir / "forecast.json", result)
    return result


def check_forecast(config: RunConfig) -> None:
    """Raises BadInputError, before anything is trained, for a forecast that cannot be made."""
    forecast(config.forecast.model_copy(update={"samples": 1_000}))


def lay_beside(config: RunConfig, run_dir: Path, say: Callable[[str], None]) -> None:
    """Copy into the run what is judged and shown beside it: the suite's calibration, the original's loss curve.

    A calibration on other held-out text than the run's says nothing of it: it is left out, and that is said.
    """
    manifest = read_record(run_dir / "manifest.json", Manifest)
    calibration = Path(config.calibration) if config.calibration else None
    if calibration and read_record(calibration, Calibration).held_out_sha256 != manifest.corpus.held_out_sha256:
        say(f"calibration: {calibration.name} was measured on another corpus, so there is no gate on held-out loss")
        calibration = None
    reference = reference_directory(run_dir)
    curve = reference / "metrics.jsonl" if reference else None
    for name, source in (("calibration.json", calibration), ("original_metrics.jsonl", curve)):
        if source is not None and source.is_file():
            write_text(run_dir / name, source.read_text(encoding="utf-8"))
        else:
            (run_dir / name).unlink(missing_ok=True)


def check_trained(config: str, run_dir: Path) -> None:
    """Raises BadInputError where no training came to its end, before anything else is done."""
    if not (run_dir / "run.json").is_file():
        raise BadInputError(
            f"{run_dir}: is not trained to the end; first `replibench train {config} --run-dir {run_dir}`"
        )


def _tolerance(run_dir: Path) -> float | None:
    calibration = run_dir / "calibration.json"
    return read_record(calibration, Calibration).loss_tolerance if calibration.is_file() else None

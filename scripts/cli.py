"""The `replibench` command. Thin: it reads arguments, calls a stage, prints, and sets the exit code.

Heavy imports wait until a command needs them, so that --help, compare and estimate answer at once.
"""

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from configs.errors import BadInputError, InterruptedRunError, WorkFailedError
from scripts.cases import cases_app
from scripts.clusters import add_cluster_commands
from scripts.commands import Format, OutputFormat, State, print_json, reporting_errors, show
from scripts.extrapolate import extrapolate_app
from scripts.references import doctor, fetch, init

INTERRUPTED = InterruptedRunError.exit_code

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train a replica of a language model, judge it against the original, forecast GPT-3 scale.\n\n"
    "Exit codes: 0 done or pass, 1 the criterion failed, 2 bad input, 3 the work itself failed, 75 stopped by a "
    "signal and to be started again, 130 interrupted.",
)
app.add_typer(extrapolate_app, name="extrapolate")
app.add_typer(cases_app, name="cases")
add_cluster_commands(app)
for command in (init, doctor, fetch):
    app.command()(command)


class CompareFormat(StrEnum):
    """What stdout gets from `compare`."""

    table = "table"
    json = "json"
    markdown = "markdown"


class Reading(StrEnum):
    """The three readings of "at most two percentage points on the benchmarks"."""

    every = "every"
    mean_absolute = "mean-absolute"
    absolute_mean = "absolute-mean"


class Gate(StrEnum):
    """The layer of the verdict that the exit code of `compare` follows."""

    literal = "literal"
    evidence = "evidence"


class Precision(StrEnum):
    """Data types that training is done in."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Recompute(StrEnum):
    """Which activations are computed again in the backward pass."""

    none = "none"
    selective = "selective"
    full = "full"


Config = Annotated[str, typer.Argument(metavar="CONFIG", help="a run's YAML, or the name of a preset such as smoke")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key, such as train.steps=100")
]
RunDir = Annotated[Path | None, typer.Option("--run-dir", help="where the run lives [default: runs/NAME]")]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="show a traceback with an error")] = False,
) -> None:
    State.debug = debug


@app.command()
def run(config: Config, overrides: Overrides = None, run_dir: RunDir = None, fmt: OutputFormat = Format.text) -> None:
    """Train a replica, evaluate it and the original, give the verdict, the forecast and the report.

    Example: replibench run configs/runs/smoke.yaml --set train.seed=3 --run-dir runs/seed3
    """
    from report.html import write_report
    from report.terminal import forecast_summary
    from report.verdict_terminal import verdict_table
    from scripts import stages

    with _run_directory(config, overrides, run_dir) as (settings, directory, screen):
        _needs_reference(settings)
        stages.check_forecast(settings)
        manifest = stages.prepare(settings, directory, screen)
        if manifest.identity is not None and manifest.identity.identical:
            stages.train(settings, directory, screen)
            stages.evaluate(settings, directory, screen)
        stages.lay_beside(settings, directory, screen.say)
        verdict = stages.judge(settings, directory)
        forecast = stages.predict(settings, directory)
        page = write_report(directory)
        if fmt is Format.json:
            print_json(verdict)
        else:
            if verdict.exit_code() < BadInputError.exit_code:
                screen.show(forecast_summary(forecast))
            screen.show(verdict_table(verdict))
            screen.say(f"report: {page}")
    raise typer.Exit(verdict.exit_code())


@app.command()
def train(config: Config, overrides: Overrides = None, run_dir: RunDir = None, fmt: OutputFormat = Format.text) -> None:
    """Train only, and export a Hugging Face checkpoint to RUN_DIR/replica. Goes on where it was stopped.

    Example: replibench train configs/runs/tinyworld-reference.yaml
    """
    from report.terminal import run_table
    from scripts import stages

    with _run_directory(config, overrides, run_dir) as (settings, directory, screen):
        stages.prepare(settings, directory, screen)
        record = stages.train(settings, directory, screen)
        print_json(record) if fmt is Format.json else screen.show(run_table(record))
        screen.say(f"checkpoint: {directory / 'replica'}")


@app.command()
def evaluate(
    config: Config,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    checkpoint: Annotated[
        int | None, typer.Option("--checkpoint", min=1, help="the model after so many steps, instead of the replica")
    ] = None,
    fmt: OutputFormat = Format.text,
) -> None:
    """Evaluate a trained run's replica, and the original if it has one, with lm-eval.

    With --checkpoint the model of one of the checkpoints that are kept (train.checkpoint), also while training goes on.

    Example: replibench evaluate configs/runs/smoke.yaml --set evaluation.items.facts=2000
    """
    from scripts import stages

    if checkpoint is not None:
        with reporting_errors():
            from configs.loader import load_config
            from scripts.console import Screen

            settings = load_config(config, overrides or ())
            directory = run_dir or Path("runs") / settings.name
            results = stages.evaluate_checkpoint(settings, directory, checkpoint, Screen())
            typer.echo(json.dumps({"replica": str(results)}) if fmt is Format.json else results)
        return
    with _run_directory(config, overrides, run_dir) as (settings, directory, screen):
        stages.check_trained(config, directory)
        stages.prepare(settings, directory, screen)
        stages.evaluate(settings, directory, screen)
        sides = sorted(path for path in (directory / "eval").iterdir() if (path / "complete").is_file())
        if fmt is Format.json:
            typer.echo(json.dumps({side.name: str(side) for side in sides}))
        else:
            for side in sides:
                typer.echo(side)


@app.command()
def compare(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="ORIGINAL REPLICA [REPLICA…]", help="results, or one CSV")
    ] = None,
    controls: Annotated[
        list[Path] | None, typer.Option("--control", help="another run of the original's own recipe; repeatable")
    ] = None,
    benchmarks: Annotated[str | None, typer.Option("--benchmarks", help="only these, by comma")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", metavar="BENCHMARK=METRIC", help="instead of the rule's; repeatable")
    ] = None,
    threshold: Annotated[str, typer.Option("--threshold", help="percentage points, inclusive")] = "2",
    reading: Annotated[Reading, typer.Option("--reading", help="what the literal verdict reads")] = Reading.every,
    gate: Annotated[Gate, typer.Option("--gate", help="what the exit code follows")] = Gate.literal,
    output: Annotated[Path | None, typer.Option("--output", help="also write the verdict to this file")] = None,
    fmt: Annotated[CompareFormat, typer.Option("--format", help="what stdout gets")] = CompareFormat.table,
    plan: Annotated[bool, typer.Option("--plan", help="say what could be shown, before anything is evaluated")] = False,
    accuracy: Annotated[
        float | None, typer.Option("--accuracy", help="plan: the original's [default: its results']")
    ] = None,
    correlation: Annotated[
        float | None, typer.Option("--correlation", help="plan: of the models' right answers [default: 0.5]")
    ] = None,
    difference: Annotated[
        float | None, typer.Option("--true-difference", help="plan: the true one, in points [default: 0]")
    ] = None,
) -> None:
    """Apply the criterion to anybody's lm-eval results: within two percentage points on every shared benchmark?

    Results are files or directories of lm-eval (old and new), samples_*.jsonl, run directories, or one CSV of
    published scores (benchmark,metric,shots,original,replica,n). Several replicas are seeds of one recipe.

    With --plan: how many items each benchmark needs, and what those there are can show.

    Example: replibench compare runs/smoke/eval/original runs/smoke/eval/replica
    """
    with reporting_errors():
        from scripts.compare import refuse_unused, verdict_from_arguments

        of_plans = {"--accuracy": accuracy, "--correlation": correlation, "--true-difference": difference}
        of_verdicts = {
            "--control": controls,
            "--reading": None if reading is Reading.every else reading,
            "--gate": None if gate is Gate.literal else gate,
        }
        refuse_unused(of_verdicts if plan else of_plans, plan)
        if plan:
            from scripts.compare import plan_from_arguments

            half, none = 0.5, 0.0
            planned = plan_from_arguments(
                paths or (),
                benchmarks,
                metrics or (),
                threshold,
                accuracy,
                half if correlation is None else correlation,
                none if difference is None else difference,
            )
            _written(output, planned)
            _show_plan(planned, fmt)
            raise typer.Exit(0)

        verdict = verdict_from_arguments(
            paths or (), controls or (), benchmarks, metrics or (), threshold, reading.value
        )
        _written(output, verdict)
        _show_verdict(verdict, fmt)
    raise typer.Exit(verdict.exit_code(gate.value))


@app.command()
def calibrate(
    config: Config,
    seeds: Annotated[int, typer.Option("--seeds", min=2, help="good runs: the recipe itself from so many seeds")] = 4,
    controls: Annotated[
        str, typer.Option("--controls", help="broken recipes, by comma, as NAME or NAME:RUNS")
    ] = "lr_tenth,half_steps",
    control_seeds: Annotated[int, typer.Option("--control-seeds", min=1, help="runs of a broken recipe")] = 2,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="runs side by side [default: cores]")] = None,
    overrides: Overrides = None,
    run_dir: RunDir = None,
    fmt: OutputFormat = Format.text,
) -> None:
    """Measure what the suite can tell apart: how often good seeds pass, and how often broken recipes pass.

    Example: replibench calibrate configs/runs/smoke.yaml --seeds 4 --controls lr_tenth,half_steps
    """
    from configs.controls import parse_controls
    from report.terminal import calibration_table
    from scripts.calibrate import calibrate_recipe

    with _run_directory(config, overrides, run_dir, suffix="-calibration") as (settings, directory, screen):
        wanted = parse_controls(controls, control_seeds)
        result = calibrate_recipe(settings, directory, seeds, wanted, jobs, screen)
        print_json(result) if fmt is Format.json else screen.show(calibration_table(result))
        screen.say(f"calibration: {directory / 'calibration.json'}")


@app.command()
def sweep(
    config: Annotated[str, typer.Argument(metavar="SWEEP", help="a sweep's YAML, or the name of a preset such as cpu")],
    overrides: Overrides = None,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="where it lives [default: runs/NAME]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be trained, and train nothing")] = False,
    fmt: OutputFormat = Format.text,
) -> None:
    """Train a ladder of small runs, predict a larger one by their law before it is trained, train it, say the error.

    Example: replibench sweep configs/sweeps/cpu.yaml
    """
    with reporting_errors():
        from configs.locks import exclusive
        from configs.sweeps import load_sweep
        from report.sweep_tables import plan_tables, sweep_tables
        from scripts.console import Screen
        from scripts.sweep import check_ladder, run_sweep

        settings, screen = load_sweep(config, overrides or ()), Screen()
        check_ladder(settings)
        if dry_run:
            from extrapolate.sweep_plan import sweep_plan

            plan = sweep_plan(settings)
            print_json(plan) if fmt is Format.json else show(*plan_tables(plan))
            raise typer.Exit(0)
        directory = run_dir or Path("runs") / settings.name
        with exclusive(directory):
            result = run_sweep(settings, directory, screen)
        print_json(result) if fmt is Format.json else show(*sweep_tables(result))


@app.command()
def estimate(
    model: Annotated[str, typer.Option("--model", help="a preset, a Hugging Face checkpoint, or a config.json")],
    tokens: Annotated[float | None, typer.Option("--tokens", help="training tokens [default: those published]")] = None,
    sequence_length: Annotated[
        int | None, typer.Option("--sequence-length", min=1, max=10**9, help="[default: context]")
    ] = None,
    accelerator: Annotated[str | None, typer.Option("--accelerator", help="a row of configs/accelerators.yaml")] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, max=10**9, help="accelerators [default: one model's]")
    ] = None,
    mfu: Annotated[float | None, typer.Option("--mfu", help="speed as model FLOPs over the peak, 0 to 1")] = None,
    hfu: Annotated[float | None, typer.Option("--hfu", help="speed as hardware FLOPs over the peak")] = None,
    flop_per_s: Annotated[
        float | None,
        typer.Option("--flop-per-s-per-accelerator", help="speed as hardware FLOP/s, recompute included"),
    ] = None,
    tokens_per_s: Annotated[
        float | None, typer.Option("--tokens-per-s-per-accelerator", help="speed as tokens per second")
    ] = None,
    precision: Annotated[Precision, typer.Option("--precision", help="of the peak and of memory")] = Precision.bf16,
    recompute: Annotated[Recompute, typer.Option("--recompute", help="of activations")] = Recompute.none,
    tensor_parallel: Annotated[int, typer.Option("--tensor-parallel", min=1, help="devices that share a layer")] = 1,
    pipeline_parallel: Annotated[int, typer.Option("--pipeline-parallel", min=1, help="stages")] = 1,
    interleave: Annotated[int, typer.Option("--interleave", min=1, help="chunks of layers a stage")] = 1,
    sequence_parallel: Annotated[bool, typer.Option("--sequence-parallel", help="split norms too")] = False,
    zero_stage: Annotated[int, typer.Option("--zero-stage", min=0, max=3, help="over the data-parallel copies")] = 0,
    micro_batch: Annotated[int, typer.Option("--micro-batch", min=1, max=10**6, help="sequences at a time")] = 1,
    fmt: OutputFormat = Format.text,
) -> None:
    """Parameters, FLOPs, memory and time of training a model on a machine, by arithmetic, without training.

    Example: replibench estimate --model gpt2-1.5b --tokens 30e9 --accelerator h100-sxm-80gb --mfu 0.4
    """
    with reporting_errors():
        from scripts.estimate import estimate_from_flags

        result = estimate_from_flags(
            model,
            tokens,
            sequence_length,
            accelerator,
            count,
            speeds={
                "mfu": mfu,
                "hfu": hfu,
                "flop_per_s_per_accelerator": flop_per_s,
                "tokens_per_s_per_accelerator": tokens_per_s,
            },
            layout={
                "precision": precision.value,
                "recompute": recompute.value,
                "tensor_parallel_size": tensor_parallel,
                "pipeline_parallel_size": pipeline_parallel,
                "interleave": interleave,
                "sequence_parallel": sequence_parallel,
                "zero_stage": zero_stage,
                "micro_batch_size": micro_batch,
            },
        )
        if fmt is Format.json:
            print_json(result)
        else:
            from report.drawing import draw
            from report.estimate_tables import estimate_tables
            from scripts.console import Screen

            Screen().show(draw(*estimate_tables(result)))


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(help="a run directory, such as runs/smoke")]) -> None:
    """Write report.html and report.md from the records of a run directory.

    Example: replibench report runs/smoke
    """
    with reporting_errors():
        from report.html import write_report

        typer.echo(write_report(run_dir))


@contextmanager
def _run_directory(
    config: str, overrides: list[str] | None, run_dir: Path | None, suffix: str = ""
) -> Iterator[tuple[Any, Path, Any]]:
    """The checked configuration, its directory held for us alone, and the screen; errors become exit codes."""
    with reporting_errors():
        from configs.loader import load_config
        from configs.locks import exclusive
        from scripts.console import Screen

        settings = load_config(config, overrides or ())
        directory = run_dir or Path("runs") / f"{settings.name}{suffix}"
        with exclusive(directory):
            yield settings, directory, Screen()


def _written(output: Path | None, record: Any) -> None:
    """The record in its file, if one was asked for."""
    if output is None:
        return
    if output.is_dir():
        raise BadInputError(f"--output {output}: is a directory; name a file")
    from configs.files import write_record

    write_record(output, record)


def _show_plan(planned: Any, fmt: CompareFormat) -> None:
    if fmt is CompareFormat.json:
        print_json(planned)
        return
    from report.plan_tables import plan_tables

    if fmt is CompareFormat.markdown:
        from report.markdown import render_blocks

        typer.echo(render_blocks(plan_tables(planned)))
    else:
        from report.drawing import draw
        from scripts.console import Screen

        Screen().show(draw(*plan_tables(planned)))


def _show_verdict(verdict: Any, fmt: CompareFormat) -> None:
    if fmt is CompareFormat.json:
        print_json(verdict)
        return
    from report.verdict_terminal import verdict_markdown, verdict_table

    if fmt is CompareFormat.markdown:
        typer.echo(verdict_markdown(verdict))
    else:
        from scripts.console import Screen

        Screen().show(verdict_table(verdict))


def _needs_reference(settings: Any) -> None:
    if settings.reference is None:
        raise BadInputError(f"{settings.name}: `run` needs a `reference` to compare with; `replibench train` does not")


def main() -> None:
    """Entry point of the `replibench` command."""
    logging.disable(logging.WARNING)  # the libraries' chatter
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without × shows ? instead of a traceback
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if State.debug:
            traceback.print_exc()
        if hasattr(error, "format_message"):  # click's, or typer's own copy of it: a flag that is wrong or missing
            typer.echo(_usage_error(error.format_message()), err=True)
            sys.exit(BadInputError.exit_code)
        # a bug of ours: still one line, and the way to the traceback
        typer.echo(f"error: {type(error).__name__}: {error} (a bug: run again with `replibench --debug …`)", err=True)
        sys.exit(WorkFailedError.exit_code)
    sys.exit(code)


def _usage_error(message: str) -> str:
    """One line; the help itself where a command was given nothing at all."""
    if "\n" in message:
        return message
    return f"error: {message.replace('Value error, ', '').rstrip('.')} (--help says what there is)"


if __name__ == "__main__":
    main()

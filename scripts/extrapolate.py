"""The commands `extrapolate …`: from measured runs to GPT-3 scale. Thin, and light until a command is called."""

from pathlib import Path
from typing import Annotated

import typer

from scripts.commands import Format, OutputFormat, print_json, reporting_errors, show

extrapolate_app = typer.Typer(no_args_is_help=True, help="From measured runs to GPT-3 scale.")


@extrapolate_app.command("forecast")
def forecast_command(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help="finished runs of yours, or a CSV for the loss")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="an architecture preset [default: gpt3-175b, or the run's own]")
    ] = None,
    tokens: Annotated[float | None, typer.Option("--tokens", help="to train on [default: those published]")] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="such as 1024xa100-sxm-80gb, which is the default, or a preset")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, max=10**9, help="sequences a step, over all devices")
    ] = None,
    price_date: Annotated[str | None, typer.Option("--price-date", help="such as 2022-01 [default: 2025-03]")] = None,
    assumptions: Annotated[
        Path | None, typer.Option("--assumptions", help="your copy of configs/costs/default.yaml")
    ] = None,
    goodput: Annotated[
        str | None, typer.Option("--goodput", metavar="SHARE|LOW-HIGH", help="such as 0.9, or 0.5-0.97 (90 %)")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Monte Carlo draws [default: 100000]")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="of the draws [default: 0]")] = None,
    fmt: OutputFormat = Format.text,
) -> None:
    """Time, cost and loss of training the target on a cluster, with 90 % intervals and what they rest on.

    Your own runs replace what is known of published ones: their MFU, goodput and losses. Of one run directory the
    defaults are its own configuration's, and the forecast is written into it.

    Example: replibench extrapolate forecast --target gpt3-175b --cluster 1024xa100-sxm-80gb --price-date 2022-01
    """
    with reporting_errors():
        from report.forecast_tables import forecast_tables
        from scripts.forecast import forecast_from_arguments

        flags = {
            "target": target,
            "tokens": tokens,
            "cluster": cluster,
            "batch": batch,
            "price_date": price_date,
            "assumptions": assumptions,
            "goodput": goodput,
            "samples": samples,
            "seed": seed,
        }
        result = forecast_from_arguments(runs or (), {key: value for key, value in flags.items() if value is not None})
        print_json(result) if fmt is Format.json else show(*forecast_tables(result))


@extrapolate_app.command("study")
def study_command(
    models: Annotated[Path | None, typer.Option("--models", help="Epoch AI's table of models, a CSV")] = None,
    gpus: Annotated[Path | None, typer.Option("--gpus", help="Epoch AI's table of GPUs, a CSV")] = None,
    fmt: OutputFormat = Format.text,
) -> None:
    """Compute again what the study of diffusion claims: each claim, ours, whether they agree, and why not.

    Example: replibench extrapolate study
    """
    with reporting_errors():
        from report.study_tables import study_paragraphs
        from scripts.study import study_from_flags

        result = study_from_flags(models, gpus)
        print_json(result) if fmt is Format.json else show(*study_paragraphs(result))


@extrapolate_app.command("arrival")
def arrival_command(
    table: Annotated[
        Path | None, typer.Option("--table", help="CSV of model, date, flop, domain [default: ours]")
    ] = None,
    trends: Annotated[
        list[str] | None, typer.Option("--trend", metavar="DOMAIN[:SINCE]", help="rows of a line, such as all:2015-09")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="last date of a line [default: before the target]")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", help="an architecture preset [default: gpt3-175b]")] = None,
    target_flop: Annotated[float | None, typer.Option("--target-flop", help="training FLOP, instead")] = None,
    published: Annotated[str | None, typer.Option("--published", help="of the target [default: GPT-3's]")] = None,
    estimates: Annotated[str | None, typer.Option("--estimates", help="months, by comma, instead of trends")] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="by comma, their sum 1 [default: equal]")] = None,
    spread: Annotated[
        float | None,
        typer.Option("--spread", help="half width of each estimate's 90 %, months; needed with --estimates"),
    ] = None,
    correlation: Annotated[float, typer.Option("--correlation", help="of the estimates' errors")] = 0.0,
    fmt: OutputFormat = Format.text,
) -> None:
    """How early a model came: several estimates of when it was due, from trends or given, weighted and combined.

    Without options: GPT-3, by the trend of the models in configs/facts/training_flop.csv.

    Example: replibench extrapolate arrival --trend Language --target opt-175b --published 2022-05-02
    """
    with reporting_errors():
        from report.study_tables import arrival_tables
        from scripts.study import arrival_from_flags

        result = arrival_from_flags(
            table, trends or (), until, target, target_flop, published, estimates, weights, spread, correlation
        )
        print_json(result) if fmt is Format.json else show(*arrival_tables(result))


@extrapolate_app.command("plan")
def plan_command(
    model: Annotated[str, typer.Option("--model", help="a preset, a Hugging Face checkpoint, or a config.json")],
    cluster: Annotated[str, typer.Option("--cluster", help="such as 1024xa100-sxm-80gb, or a preset")],
    batch: Annotated[int, typer.Option("--batch", min=1, max=10**9, help="sequences in a step, over all devices")],
    sequence_length: Annotated[
        int | None, typer.Option("--sequence-length", min=1, max=10**9, help="[default: context]")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, max=10**6, help="accelerators [default: the cluster's]")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="a finished run of yours, for its measured MFU")] = None,
    best: Annotated[int, typer.Option("--best", min=1, max=1000, help="plans to show")] = 5,
    fmt: OutputFormat = Format.text,
) -> None:
    """The fastest ways to split a model over a cluster, what a step takes, and why not otherwise.

    Example: replibench extrapolate plan --model gpt3-175b --cluster 1024xa100-sxm-80gb --batch 1536
    """
    with reporting_errors():
        from report.layout_tables import layout_tables
        from scripts.plan import plan_from_flags

        result = plan_from_flags(model, cluster, batch, sequence_length, count, run, best)
        print_json(result) if fmt is Format.json else show(*layout_tables(result))


@extrapolate_app.command("law")
def law_command(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUNS", help="a CSV (parameters,tokens,loss), or run directories")
    ] = None,
    drop_highest: Annotated[int, typer.Option("--drop-highest", min=0, help="highest losses to leave out")] = 0,
    parameters: Annotated[
        float | None, typer.Option("--target-parameters", help="predict the loss of this size")
    ] = None,
    tokens: Annotated[float | None, typer.Option("--target-tokens", help="trained on so many tokens")] = None,
    flop: Annotated[float | None, typer.Option("--flop", help="the best model of this budget, C = 6ND")] = None,
    fmt: OutputFormat = Format.text,
) -> None:
    """Fit L(N, D) = E + A/N^alpha + B/D^beta to finished runs, and predict larger ones with a tested interval.

    Example: replibench extrapolate law configs/facts/hoffmann2022_runs.csv --drop-highest 5 --flop 5.76e23
    """
    with reporting_errors():
        from report.law_tables import law_tables
        from scripts.law import law_from_arguments

        result = law_from_arguments(runs or (), drop_highest, parameters, tokens, flop)
        print_json(result) if fmt is Format.json else show(*law_tables(result))

"""The commands `launch`, `status` and `logs`: a run on any scheduler, and what its directory says of it."""

from pathlib import Path
from typing import Annotated

import typer

from configs.errors import BadInputError
from scripts.commands import Format, OutputFormat, print_json, reporting_errors


def launch(
    configs: Annotated[list[str], typer.Argument(metavar="CONFIG…", help="a run; a sweep, or several, as an array")],
    on: Annotated[str, typer.Option("--on", metavar="PROFILE", help="a cluster with a launch section, or your file")],
    nodes: Annotated[str | None, typer.Option("--nodes", help="N, or LEAST-MOST [default: by the processes]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the script and the command; start nothing")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key, such as train.steps=100")
    ] = None,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", help="[default: NAME in the shared directory]")] = None,
    evaluate: Annotated[
        str | None, typer.Option("--evaluate", metavar="STEP,…", help="evaluate these checkpoints; an array")
    ] = None,
) -> None:
    """Train on a cluster: render the script for its scheduler, check, submit. The run goes on by itself to its end.

    Of a sweep the ladder; then `replibench sweep` predicts the held-out run and trains that.

    Example: replibench launch gpt3-xl-1.3b-8xh100 --on slurm-h100 --nodes 2 --dry-run
    """
    with reporting_errors():
        from scripts import launch as launching
        from scripts.console import Screen
        from scripts.rendering import render

        say = Screen().say
        warn = lambda text: say(f"warning: {text}")  # noqa: E731
        if evaluate is None:
            job = launching.plan(configs, on, overrides or (), launching.parse_nodes(nodes), run_dir, warn)
        elif len(configs) > 1 or nodes is not None:
            raise BadInputError("--evaluate: takes the checkpoints of one CONFIG, each on one node, without --nodes")
        else:
            steps = launching.parse_steps(evaluate)
            job = launching.plan_evaluations(configs[0], on, overrides or (), steps, run_dir)
        if dry_run:
            typer.echo(launching.dry_run(render(job)), nl=False)
            return
        record = launching.submit(job)
        if record.job is None:
            launching.become(record)
        say(f"{record.scheduler} job {record.job}; {launching.next_words(job)}")


def status(
    run_dir: Annotated[
        Path | None, typer.Argument(metavar="[RUN_DIR]", help="a run, or a directory of runs [default: runs]")
    ] = None,
    fmt: OutputFormat = Format.text,
) -> None:
    """Where a run stands: step, time left, restarts, how its last attempt ended. By its directory alone.

    Example: replibench status runs/smoke
    """
    with reporting_errors():
        from scripts import follow

        path = run_dir or Path("runs")
        is_run = (path / "config.yaml").is_file() or (path / "launch").is_dir()
        found = [follow.status(each) for each in ([path] if is_run else follow.all_runs(path))]
        for each in found:
            print_json(each) if fmt is Format.json else typer.echo(follow.words(each))


def logs(
    run_dir: Annotated[Path, typer.Argument(help="a run directory, such as runs/smoke")],
    rank: Annotated[int | None, typer.Option("--rank", min=0, help="what this process said last")] = None,
    lines: Annotated[int, typer.Option("--lines", min=1, help="how many of the last ones")] = 50,
) -> None:
    """What happened in a run, or what one of its processes said in its newest attempt.

    Example: replibench logs runs/smoke --rank 3
    """
    with reporting_errors():
        from scripts.follow import log_lines

        for line in log_lines(run_dir, rank, lines):
            typer.echo(line)


def add_cluster_commands(app: typer.Typer) -> None:
    """Put them into the `replibench` command."""
    for command in (launch, status, logs):
        app.command()(command)

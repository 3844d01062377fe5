"""The commands about originals: `init`, `doctor`, `fetch`. Thin, and light until a command is called."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from configs.errors import BadInputError
from scripts.commands import Format, OutputFormat, print_json, reporting_errors


def init(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="a hub id, a directory, or a preset's name")],
    revision: Annotated[
        str | None, typer.Option("--revision", help="a branch, tag or commit; stepN sets the budget to N steps")
    ] = None,
    scale_down: Annotated[
        float | None, typer.Option("--scale-down", help="train this share of the original's steps, such as 0.001")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="lay it out for this one, such as 8xh100-sxm-80gb, or a preset")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="[default: NAME.yaml]")] = None,
) -> None:
    """Write the YAML of a replication: the original pinned, its recipe as far as it is known, what it takes.

    Example: replibench init EleutherAI/pythia-70m --revision step1000 --cluster 8xh100-sxm-80gb
    """
    with reporting_errors():
        from scripts.init import start
        from scripts.init_file import write

        flags = {"--revision": revision, "--scale-down": scale_down, "--cluster": cluster}
        given = [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]
        command = shlex.join(["replibench", "init", reference, *given])
        if output is not None and output.is_dir():
            raise BadInputError(f"--output {output}: is a directory; name a file")
        typer.echo(write(start(reference, revision, scale_down), command, cluster, output))


def doctor(
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="a hub id, or a directory with a subdirectory for each revision")
    ],
    revision: Annotated[
        str | None, typer.Option("--revision", help="look at this one, its neighbours and main [default: all]")
    ] = None,
    fmt: OutputFormat = Format.text,
) -> None:
    """Are a reference's revisions what their names say? Finds copies and swaps; exit 1 where there are some.

    Of a hub id nothing is downloaded without --revision; then copies are found, and swaps are not.

    Example: replibench doctor EleutherAI/pythia-14m --revision step1000
    """
    with reporting_errors():
        from train.integrity import examine

        found = examine(reference, revision)
        if fmt is Format.json:
            print_json(found)
        else:
            for finding in found.findings:
                typer.echo(f"{finding.kind.replace('_', ' ')}: {finding.words}")
            order = (
                f"the order of {len(found.order_checked)}" if found.order_checked else "no order (it takes three steps)"
            )
            looked = f"looked at the weights of {len(found.revisions)} revisions and {order}"
            typer.echo(f"{looked}: {len(found.findings) or 'nothing'} found")
    raise typer.Exit(1 if found.findings else 0)


def fetch(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="a run's YAML, or the name of a preset")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="what is brought to the machine without internet")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key, such as train.steps=100")
    ] = None,
) -> None:
    """Collect what a run needs of the internet: reference, tokenizer, data sets, benchmarks. Then set `offline: DIR`.

    Example: replibench fetch configs/runs/pythia-70m.yaml --to bundle
    """
    with reporting_errors():
        from configs.loader import load_config
        from scripts.console import Screen
        from scripts.fetch import collect

        screen = Screen()
        for line in collect(load_config(config, overrides or ()), to, screen.say):
            typer.echo(line)

"""The commands about originals: `init`. Thin, and light until a command is called."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from configs.errors import BadInputError
from scripts.commands import reporting_errors


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

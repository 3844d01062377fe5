"""What the commands share: their output formats, a result on stdout, and errors as one line with an exit code."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer

from configs.errors import BadInputError, InterruptedRunError, WorkFailedError


class Format(StrEnum):
    """What stdout gets."""

    text = "text"
    json = "json"


OutputFormat = Annotated[Format, typer.Option("--format", help="text for people, json for machines")]


class State:
    """Of this process: whether errors show their traceback."""

    debug = False


@contextmanager
def reporting_errors() -> Iterator[None]:
    """One line on stderr and the exit code of the design; a traceback only with --debug."""
    try:
        yield
    except OSError as error:  # a path that cannot be read or written
        if State.debug:
            traceback.print_exc()
        typer.echo(f"error: {error.filename or 'input or output'}: {error.strerror or error}", err=True)
        raise typer.Exit(BadInputError.exit_code) from None
    except (BadInputError, WorkFailedError) as error:
        if State.debug:
            traceback.print_exc()
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    except (KeyboardInterrupt, InterruptedRunError) as stop:
        typer.echo(str(stop) or "interrupted; run the same command again to go on", err=True)
        raise typer.Exit(getattr(stop, "exit_code", InterruptedRunError.exit_code)) from None


def show(*blocks: Any) -> None:
    """Tables and paragraphs on stdout."""
    from report.drawing import draw
    from scripts.console import Screen

    Screen().show(draw(*blocks))


def print_json(record: Any) -> None:
    """A record on stdout, by its aliases."""
    typer.echo(record.model_dump_json(indent=2, by_alias=True))

"""Train a prepared run directory as the command does, without what the command does before: for tests that kill it."""

import sys
from pathlib import Path

import typer

from configs.loader import load_config
from scripts.commands import reporting_errors
from train.launch import launch

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    try:
        with reporting_errors():
            launch(
                directory,
                load_config(directory / "config.yaml").train,
                print,
                lambda text: print(text, file=sys.stderr),
            )
    except typer.Exit as end:
        sys.exit(end.exit_code)

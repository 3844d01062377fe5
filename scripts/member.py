"""One member of a calibration, in a process of its own: train, then evaluate the replica alone."""

import signal
import sys
from pathlib import Path

from configs.loader import load_config
from scripts import stages
from scripts.cli import reporting_errors
from scripts.console import Screen
from train.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent(signal.SIGTERM)
    with reporting_errors():
        config, run_dir = load_config(sys.argv[1]), Path(sys.argv[2])
        stages.prepare(config, run_dir, Screen())
        stages.train(config, run_dir, Screen())
        stages.evaluate(config, run_dir, Screen(), sides=("replica",))

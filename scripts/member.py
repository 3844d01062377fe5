"""One member of a calibration, in a process of its own: train, then evaluate the replica alone."""

import signal
import sys
from pathlib import Path

from configs.loader import load_config
from configs.locks import exclusive
from scripts import stages
from scripts.commands import reporting_errors
from scripts.console import Screen
from train.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent(signal.SIGTERM)
    run_dir = Path(sys.argv[2])
    with reporting_errors(), exclusive(run_dir):
        config = load_config(sys.argv[1])
        stages.prepare(config, run_dir, Screen())
        stages.train(config, run_dir, Screen())
        stages.evaluate(config, run_dir, Screen(), sides=("replica",))

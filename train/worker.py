"""One process of a training run. Started by torchrun with the run directory as its argument, or with several.

Everything it needs lies in that directory (see train/prepare.py), so any scheduler that can start torchrun can
start it: `torchrun --nproc-per-node N train/worker.py runs/NAME`. Several runs, of equally many processes, are
trained one after the other.
"""

import os
import signal
import sys
import traceback
from pathlib import Path

from train.failures import leave_failure, left_in
from train.processes import die_with_parent
from train.tail import name_logs

if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)  # before the imports, which take seconds
    directories = [Path(argument) for argument in sys.argv[1:]]
    directory = directories[0]
    try:
        name_logs(directory)
        from train.trainer import StopFlag, main

        stop = StopFlag()
        for directory in directories:
            if not main(directory, stop):
                break
        # for the launcher: not killed
        (left_in(directories[0]) / f"ended-{os.environ.get('RANK', '0')}").touch()
    except BaseException as exception:
        try:
            traceback.print_exc()
            leave_failure(left_in(directory), exception)
        finally:
            # Not sys.exit: the other ranks may sit in a collective, and torch's clean-up would wait for them.
            os._exit(1)

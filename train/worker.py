"""One process of a training run. Started by torchrun with the run directory as its only argument.

Everything it needs lies in that directory (see train/prepare.py), so any scheduler that can start torchrun can
start it: `torchrun --nproc-per-node N train/worker.py runs/NAME`.
"""

import os
import signal
import sys
import traceback
from pathlib import Path

from train.failures import leave_failure
from train.processes import die_with_parent
from train.tail import name_logs

if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)  # before the imports, which take seconds
    directory = Path(sys.argv[1])
    try:
        name_logs(directory)
        from train.trainer import main

        main(directory)
        (directory / "logs" / f"ended-{os.environ.get('RANK', '0')}").touch()  # for the launcher: not killed
    except BaseException as exception:
        try:
            traceback.print_exc()
            leave_failure(directory, exception)
        finally:
            # Not sys.exit: the other ranks may sit in a collective, and torch's clean-up would wait for them.
            os._exit(1)

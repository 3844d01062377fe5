"""torchrun, tied to the life of the command that started it: on its end the workers write a checkpoint and stop."""

import signal

from torch.distributed.run import main

from train.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent(signal.SIGTERM)
    main()

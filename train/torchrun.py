"""torchrun, tied to the life of the command that started it: on its end the workers write a checkpoint and stop."""

import signal

from torch.distributed.run import main

from train.processes import die_with_parent

if __name__ == "__main__":
    # SIGUSR1 to the process group asks the workers for a checkpoint; torchrun itself must live through it. (Its own
    # way, SIGTERM, kills them after 30 s, and a large checkpoint takes longer.) A worker ignores it until it listens.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    die_with_parent(signal.SIGTERM)
    main()

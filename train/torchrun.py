"""torchrun, tied to the life of the command that started it: on its end the workers write a checkpoint and stop."""

import signal

from train.processes import die_with_parent, parent_of_next

if __name__ == "__main__":
    die_with_parent(signal.SIGTERM)
    parent_of_next()
    # SIGUSR1 asks a worker for a checkpoint (torchrun's own way, SIGTERM, kills it 30 s later, and a large checkpoint
    # takes longer). Workers inherit this: one that is still importing ignores the signal instead of dying of it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    from torch.distributed.run import main

    main()

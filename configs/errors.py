"""The ways in which a command can end early, each with its exit code and a message that is one line."""


class BadInputError(Exception):
    """The user's input cannot be used (exit 2). The message names the key, file or flag, and the mend."""

    exit_code = 2


class WorkFailedError(Exception):
    """The input was fine and the work itself failed (exit 3). The message names the first real error.

    `kind` is the class of exit that it leads to (train/exits.py).
    """

    exit_code = 3
    kind = "error"


class NotFiniteError(WorkFailedError):
    """Losses or gradients are not numbers, step after step."""

    kind = "nan"


class HangError(WorkFailedError):
    """No rank made progress for too long."""

    kind = "hang"


class OutOfMemoryError(WorkFailedError):
    """A device's memory, or the machine's, was not enough."""

    kind = "out_of_memory"


class NodeError(WorkFailedError):
    """A machine of the run is gone, or is not fit to train on; the message names it."""

    kind = "node_failure"


class InterruptedRunError(Exception):
    """The user stopped the work (exit 130, as a shell has it for Ctrl-C); what it says is how to go on."""

    exit_code = 130


class RequeueError(InterruptedRunError):
    """A signal of a scheduler stopped the work, and a checkpoint is written (exit 75, sysexits' EX_TEMPFAIL).

    The same command, started again, goes on.
    """

    exit_code = 75


def first_line(error: BaseException) -> str:
    """What a library's error says, cut to a line; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__

"""The ways in which a command can end early, each with its exit code and a message that is one line."""


class BadInputError(Exception):
    """The user's input cannot be used (exit 2). The message names the key, file or flag, and the mend."""

    exit_code = 2


class WorkFailedError(Exception):
    """The input was fine and the work itself failed (exit 3). The message names the first real error."""

    exit_code = 3


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

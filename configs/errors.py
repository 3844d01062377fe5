"""The two ways a command can fail, each with its exit code and a message that is one line."""


class BadInputError(Exception):
    """The user's input cannot be used (exit 2). The message names the key, file or flag, and the mend."""

    exit_code = 2


class WorkFailedError(Exception):
    """The input was fine and the work itself failed (exit 3). The message names the first real error."""

    exit_code = 3


class InterruptedRunError(Exception):
    """The user stopped the work; what it says is how to go on."""


def first_line(error: BaseException) -> str:
    """What a library's error says, cut to a line; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__

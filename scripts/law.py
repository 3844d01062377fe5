"""The command `extrapolate law`: its arguments to one `LawReport`; an error names the flag."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from configs.errors import BadInputError
from extrapolate.law import LawReport, law_report
from extrapolate.rollout import calibrated
from extrapolate.runs import Quantity, read_runs


def law_from_arguments(
    paths: Sequence[Path], drop_highest: int, parameters: float | None, tokens: float | None, flop: float | None
) -> LawReport:
    """The law of a CSV or of run directories, and its prediction for a target or a budget. BadInputError says the mend.

    What is asked for is checked against the runs before anything is fitted.
    """
    if (parameters is None) != (tokens is None):
        given, missing = ("--target-parameters", "--target-tokens")[:: 1 if tokens is None else -1]
        raise BadInputError(f"{given}: a target is a size and a number of tokens; give {missing} too")
    if flop is not None and parameters is not None:
        raise BadInputError("--flop: the best model of a budget, or a target; give one")
    runs = read_runs(paths)
    with _naming("--drop-highest"):
        kept = runs.without_highest(drop_highest)
    asked: dict[Quantity, tuple[str, float | None]] = {
        "parameters": ("--target-parameters", parameters),
        "tokens": ("--target-tokens", tokens),
        "flop": ("--flop", flop),
    }
    for quantity, (flag, value) in asked.items():
        if value is not None:
            with _naming(flag):
                kept.refuse_smaller(value, quantity)
    targets = [] if parameters is None or tokens is None else [(parameters, tokens)]
    return law_report(calibrated(runs, drop_highest), targets, [] if flop is None else [flop])


@contextmanager
def _naming(flag: str) -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"{flag}: {error}") from None

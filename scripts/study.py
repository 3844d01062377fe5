"""The commands `extrapolate study` and `extrapolate arrival`: their flags to one record; an error names the flag."""

import datetime as dt
import math
from collections.abc import Sequence
from pathlib import Path

from configs.errors import BadInputError
from extrapolate.arrival import Arrival, arrival, estimates_from_trends, given_estimates, preset_flop
from extrapolate.claims import GPT3_PUBLISHED, read_tables
from extrapolate.study import Study, study
from extrapolate.trends import OUR_TABLE, date_said, fit_selections, read_models

GPT3 = "gpt3-175b"


def study_from_flags(models: Path | None, gpus: Path | None) -> Study:
    """Every claim, with the user's copies of the two tables where they are given."""
    return study(read_tables(models, gpus))


def arrival_from_flags(
    table: Path | None,
    trends: Sequence[str],
    until: str | None,
    target: str | None,
    target_flop: float | None,
    published: str | None,
    estimates: str | None,
    weights: str | None,
    spread: float | None,
    correlation: float,
) -> Arrival:
    """From estimates in months that are given, or from trends of a table: ours and GPT-3 where nothing is said.

    BadInputError names the flag and the mend.
    """
    of_trends = any(each is not None for each in (table, until, target, target_flop)) or bool(trends)
    if of_trends and estimates is not None:
        raise BadInputError("--estimates: are months that are given, so they go without --table, --trend and a target")
    name = target or (GPT3 if target_flop is None else f"{target_flop:g} FLOP")
    flop = _target_flop(target, target_flop)
    day = _published(published, name)
    if estimates is not None:
        months = _numbers("--estimates", estimates)
        if spread is None:
            raise BadInputError(
                "--spread: with --estimates, give the months on either side that hold 90 % of each, such as 10"
            )
        found = given_estimates(months, spread, _weights(weights, len(months)))
        return arrival(GPT3 if published is None else "a model", day, found, correlation, "given with --estimates")
    last = day - dt.timedelta(days=1) if until is None else _date("--until", until, 31)
    fitted = fit_selections(read_models(table or OUR_TABLE), trends or ("all",), last, flop)
    found = estimates_from_trends(fitted, day, _weights(weights, len(fitted)), spread)
    source = str(table) if table is not None else "configs/facts/training_flop.csv"
    return arrival(name, day, found, correlation, source, fitted, flop)


def _target_flop(preset: str | None, flop: float | None) -> float:
    """What was asked for; GPT-3's where nothing was."""
    if preset is not None and flop is not None:
        raise BadInputError("--target and --target-flop: give one")
    if flop is not None:
        if not (math.isfinite(flop) and flop > 0):
            raise BadInputError(f"--target-flop: {flop:g} is not a number of operations; give one such as 3.14e23")
        return flop
    try:
        return preset_flop(preset or GPT3)
    except BadInputError as error:
        raise BadInputError(f"--target: {error}") from None


def _published(text: str | None, target: str) -> dt.date:
    if text is not None:
        return _date("--published", text, 15)
    if target == GPT3:
        return GPT3_PUBLISHED
    raise BadInputError(f"--published: say when {target} was, such as 2022-05-02")


def _date(flag: str, text: str, day: int) -> dt.date:
    try:
        return date_said(text, day)
    except ValueError as error:
        raise BadInputError(f"{flag}: {error}") from None


def _weights(text: str | None, count: int) -> list[float]:
    """As many weights as estimates; equal ones where none are given."""
    if text is None:
        return [1 / count] * count
    weights = _numbers("--weights", text)
    if len(weights) != count:
        raise BadInputError(f"--weights: {len(weights)} for {count} estimates; give one for each")
    return weights


def _numbers(flag: str, text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInputError(f"{flag}: {text!r} is not numbers with commas between, such as 0.3,0.5,0.2") from None
    if not all(math.isfinite(each) for each in found):
        raise BadInputError(f"{flag}: {text!r} must be finite numbers")
    return found

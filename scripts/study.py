"""The commands `extrapolate study` and `extrapolate arrival`: their flags to one record; an error names the flag."""

import calendar
import datetime as dt
import math
from collections.abc import Sequence
from pathlib import Path

from configs import presets
from configs.errors import BadInputError
from extrapolate.arrival import Arrival, Estimate, arrival, estimates_from_trends
from extrapolate.claims import GPT3_FLOP, GPT3_PUBLISHED, read_tables
from extrapolate.study import Study, study
from extrapolate.study_arrival import HALF_WIDTH_MONTHS, OVERALL, OVERALL_SOURCE
from extrapolate.trends import OUR_TABLE, Trend, fit_trend, read_models, select

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
    """From estimates in months that are given (GPT-3's, of the study, where nothing is), or from trends of a table.

    BadInputError names the flag and the mend.
    """
    of_trends = any(each is not None for each in (table, until, target, target_flop)) or bool(trends)
    if of_trends and estimates is not None:
        raise BadInputError("--estimates: are months that are given, so they go without --table, --trend and a target")
    flop = _target_flop(target, target_flop) if of_trends else None
    name = target or (GPT3 if target_flop is None else f"{target_flop:g} FLOP")
    day = _published(published, name)
    if not of_trends:
        found = _given_estimates(estimates, weights, spread)
        source = OVERALL_SOURCE if estimates is None else "given with --estimates"
        return arrival(name if estimates is None else "a model", day, found, correlation, source)
    fitted = _trends(table, trends, day, until, flop or GPT3_FLOP)
    found = estimates_from_trends(fitted, day, _weights(weights, len(fitted)))
    if spread is not None:
        found = [each.model_copy(update={"half_width_months": spread}) for each in found]
    source = str(table) if table is not None else "configs/facts/training_flop.csv"
    return arrival(name, day, found, correlation, source, fitted, flop)


def _target_flop(preset: str | None, flop: float | None) -> float:
    if preset is not None and flop is not None:
        raise BadInputError("--target and --target-flop: give one")
    if flop is not None:
        if not (math.isfinite(flop) and flop > 0):
            raise BadInputError(f"--target-flop: {flop:g} is not a number of operations; give one such as 3.14e23")
        return flop
    if preset is None:
        return GPT3_FLOP
    try:
        found = presets.architecture_preset(preset)
    except BadInputError as error:
        raise BadInputError(f"--target: {error}") from None
    if found.published is None or found.published.tokens is None:
        raise BadInputError(f"--target: {preset} has no published tokens, so no FLOPs; give --target-flop")
    return found.published.training_flop or 6.0 * found.architecture.parameter_counts().total * found.published.tokens


def _published(text: str | None, target: str) -> dt.date:
    if text is not None:
        return _date("--published", text, 15)
    if target == GPT3:
        return GPT3_PUBLISHED
    raise BadInputError(f"--published: say when {target} was, such as 2022-05-02")


def _date(flag: str, text: str, day: int) -> dt.date:
    """A date; of a month that is given without its day, `day` or the last one there is."""
    try:
        if text.count("-") == 2:
            return dt.date.fromisoformat(text)
        year, month = (int(part) for part in text.split("-"))
        return dt.date(year, month, min(day, calendar.monthrange(year, month)[1]))
    except ValueError:
        raise BadInputError(f"{flag}: {text!r} is not a date; write 2022-01 or 2022-01-20") from None


def _trends(
    table: Path | None, wanted: Sequence[str], published: dt.date, until: str | None, flop: float
) -> list[Trend]:
    """One line for each `DOMAIN[:SINCE]`, on what was published before the target or up to `until`."""
    last = published - dt.timedelta(days=1) if until is None else _date("--until", until, 31)
    models = read_models(table or OUR_TABLE)
    fitted = []
    for each in wanted or ("all",):
        domain, _, since = each.partition(":")
        first = _date(f"--trend {each}", since, 1) if since else dt.date.min
        chosen = select(models, "" if domain == "all" else domain, first, last)
        if not chosen:
            domains = sorted({model.domain for model in models})
            raise BadInputError(f"--trend {each}: no rows up to {last} (domains: all, {', '.join(domains[:8])})")
        fitted.append(fit_trend(each, chosen, flop))
    return fitted


def _given_estimates(estimates: str | None, weights: str | None, spread: float | None) -> list[Estimate]:
    if estimates is None:
        names, months = [name for name, _, _ in OVERALL], [each for _, each, _ in OVERALL]
        chosen = [weight for _, _, weight in OVERALL] if weights is None else _weights(weights, len(OVERALL))
        half = HALF_WIDTH_MONTHS if spread is None else spread
    else:
        months = _numbers("--estimates", estimates)
        names, chosen = [f"{each:g} months" for each in months], _weights(weights, len(months))
        if spread is None:
            raise BadInputError("--spread: give the months on either side that hold 90 % of each estimate, such as 10")
        half = spread
    return [
        Estimate(name=name, months=each, half_width_months=half, weight=weight)
        for name, each, weight in zip(names, months, chosen, strict=True)
    ]


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

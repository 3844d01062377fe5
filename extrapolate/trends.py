"""Dated training FLOPs, the straight line through their logs, and the day on which it reaches a target."""

import calendar
import csv
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import BadInputError
from configs.files import Record
from configs.prices import FACTS
from extrapolate.cost import MONTHS_PER_YEAR

OUR_TABLE = FACTS / "training_flop.csv"
LEAST_ROWS = 3
# What the columns are called: here, and in the tables of models that Epoch AI publishes, old and new.
COLUMNS = {
    "model": ("model", "Model", "System", "name"),
    "date": ("date", "Publication date"),
    "flop": ("flop", "Training compute (FLOP)"),
    "domain": ("domain", "Domain"),
    "notable": ("Notability criteria",),
}


@dataclass(frozen=True)
class DatedModel:
    """One row of a table: training FLOPs and the day of publication. `notable` is None where the table does not say."""

    model: str
    date: dt.date
    flop: float
    domain: str
    notable: bool | None


class Trend(Record):
    """log10(FLOP) = `intercept` + `oom_per_year` × (year), by ordinary least squares; errors are standard errors.

    `crossing` is where the line reaches the target. `p5_year` to `p95_year` is the 90 % interval of that, by Fieller's
    theorem: of the line itself, not of the next model on it. It is not symmetric: the flatter the line, the longer is
    its late side. `g` says how much so: (t × error of the slope / slope)², 0 for a slope that is known, 1 for one that
    may be zero (Draper and Smith 1998, section 3.2).
    """

    name: str
    rows: int
    first: dt.date
    last: dt.date
    oom_per_year: float
    oom_per_year_error: float
    intercept: float
    crossing: dt.date
    crossing_year: float
    p5_year: float
    p95_year: float
    g: float

    def months_after(self, date: dt.date) -> tuple[float, float, float]:
        """The crossing's 5 %, middle and 95 %, in months after a date."""
        p5, middle, p95 = (
            (year - year_of(date)) * MONTHS_PER_YEAR for year in (self.p5_year, self.crossing_year, self.p95_year)
        )
        return p5, middle, p95


def year_of(date: dt.date) -> float:
    """The date as a number of years: 2020-07-02 is about 2020.5."""
    first = dt.date(date.year, 1, 1)
    return date.year + (date - first).days / (366 if calendar.isleap(date.year) else 365)


def date_of(year: float) -> dt.date:
    """The inverse of `year_of`. Raises BadInputError for a year that no calendar here has."""
    if not dt.MINYEAR + 1 <= year < dt.MAXYEAR:
        raise BadInputError(f"the year {year:,.0f} is in no calendar: the trend is too flat for this target")
    whole = math.floor(year)
    days = (year - whole) * (366 if calendar.isleap(whole) else 365)
    return dt.date(whole, 1, 1) + dt.timedelta(days=round(days))


def read_models(path: Path) -> tuple[DatedModel, ...]:
    """The dated rows of a CSV with columns model, date, flop, domain, or as Epoch AI calls them.

    Raises BadInputError, naming the file and the line, for a missing column, a date or a number that is none, and a
    table without a row that has both.
    """
    found = []
    csv.field_size_limit(10**7)  # Epoch's table quotes abstracts
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            names = _columns(reader.fieldnames or (), path)
            for row in reader:
                found += _model(row, names, f"{path}: line {reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not found:
        raise BadInputError(f"{path}: no row has a date and a number of FLOPs")
    return tuple(found)


def select(
    models: Sequence[DatedModel], domain: str = "", since: dt.date = dt.date.min, until: dt.date = dt.date.max
) -> list[DatedModel]:
    """The models of a domain published from `since` to `until`, both included; the notable ones, where a table says."""
    return [
        each
        for each in models
        if since <= each.date <= until and domain.lower() in each.domain.lower() and each.notable is not False
    ]


def fit_trend(name: str, models: Sequence[DatedModel], target_flop: float) -> Trend:
    """The line through the models' logs, and where it reaches `target_flop`.

    Raises BadInputError for fewer than three rows, rows that are all of one day, a line that does not rise, and one
    whose slope may be zero (its 90 % interval holds it): the crossing of such a line has no bounds.
    """
    if len(models) < LEAST_ROWS:
        raise BadInputError(f"trend {name}: {len(models)} rows; a line with an error needs {LEAST_ROWS}")
    x = np.array([year_of(each.date) for each in models])
    y = np.log10([each.flop for each in models])
    if x.min() == x.max():
        raise BadInputError(f"trend {name}: all {len(models)} rows are of {models[0].date}; take in more dates")
    from scipy.stats import linregress  # late: the light commands need no scipy

    line = linregress(x, y)
    slope, error = float(line.slope), float(line.stderr)
    if slope <= 0:
        raise BadInputError(f"trend {name}: falls by {-slope:.2g} orders of magnitude a year and never gets there")
    t95 = _t95(len(models) - 2)
    g = (t95 * error / slope) ** 2
    if g >= 1:
        raise BadInputError(
            f"trend {name}: rises by {slope:.2g} ± {error:.1g} orders of magnitude a year, which may be none: when it "
            "gets there has no 90 % interval; take in more rows"
        )
    # Fieller: x̄ + (d ± √g × √((1 − g) × Sxx/n + d²)) / (1 − g), d from the mean date to the crossing.
    away = (math.log10(target_flop) - float(y.mean())) / slope
    half = math.sqrt(g * ((1 - g) * float(x.var()) + away**2))
    crossing, p5, p95 = (float(x.mean()) + d for d in (away, (away - half) / (1 - g), (away + half) / (1 - g)))
    return Trend(
        name=name,
        rows=len(models),
        first=min(each.date for each in models),
        last=max(each.date for each in models),
        oom_per_year=slope,
        oom_per_year_error=error,
        intercept=float(line.intercept),
        crossing=date_of(crossing),
        crossing_year=crossing,
        p5_year=p5,
        p95_year=p95,
        g=g,
    )


def fit_selections(
    models: Sequence[DatedModel], wanted: Sequence[str], until: dt.date, target_flop: float
) -> list[Trend]:
    """One line for each `DOMAIN[:SINCE]`, such as `Language:2015-09`, on what was published up to `until`.

    The domain `all` is every one. Raises BadInputError, naming the selection, for a date that is none and a selection
    without rows, and as `fit_trend` does.
    """
    fitted = []
    for each in wanted:
        domain, _, since = each.partition(":")
        try:
            first = date_said(since, 1) if since else dt.date.min
        except ValueError as error:
            raise BadInputError(f"--trend {each}: {error}") from None
        chosen = select(models, "" if domain == "all" else domain, first, until)
        if not chosen:
            domains = sorted({model.domain for model in models})
            raise BadInputError(f"--trend {each}: no rows up to {until} (domains: all, {', '.join(domains[:8])})")
        fitted.append(fit_trend(each, chosen, target_flop))
    return fitted


def date_said(text: str, day: int) -> dt.date:
    """`2022-01-20` or `2022-01`: of a month without its day, `day` or the last one there is. ValueError for others."""
    try:
        if text.count("-") == 2:
            return dt.date.fromisoformat(text)
        year, month = (int(part) for part in text.split("-"))
        return dt.date(year, month, min(day, calendar.monthrange(year, month)[1]))
    except ValueError:
        raise ValueError(f"{text!r} is not a date; write 2022-01 or 2022-01-20") from None


def _columns(header: Sequence[str], path: Path) -> dict[str, str]:
    names = {}
    for column, spellings in COLUMNS.items():
        name = next((each for each in spellings if each in header), None)
        if name is None and column in ("model", "date", "flop"):
            raise BadInputError(f"{path}: has no column {' or '.join(map(repr, spellings))}")
        names[column] = name or ""
    return names


def _model(row: Mapping[str, str | None], names: Mapping[str, str], where: str) -> list[DatedModel]:
    """The row, or nothing where it has no date or no FLOPs."""
    date, flop = ((row.get(names[column]) or "").strip() for column in ("date", "flop"))
    if not date or not flop:
        return []
    try:
        day, number = dt.date.fromisoformat(date), float(flop)
    except ValueError:
        raise BadInputError(f"{where}: {date!r} and {flop!r} must be a date such as 2020-05-28 and a number") from None
    if not (math.isfinite(number) and number > 0):
        raise BadInputError(f"{where}: {flop} is no number of FLOPs")
    notable = bool((row.get(names["notable"]) or "").strip()) if names["notable"] else None
    return [DatedModel(row.get(names["model"]) or "", day, number, row.get(names["domain"]) or "", notable)]


def _t95(freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.95))

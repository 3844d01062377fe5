"""What a study claims, what comes out here, and whether the two agree: the shape of an answer, and of its inputs."""

import csv
import datetime as dt
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from configs.errors import BadInputError
from configs.prices import FACTS
from extrapolate.trends import DatedModel, read_models

Agreement = Literal["reproduced", "not_reproduced", "inconsistent", "not_computable"]

GPT3_PUBLISHED = dt.date(2020, 5, 28)
GPT3_FLOP = 3.14e23  # Brown et al. 2020, Table D.1


@dataclass(frozen=True)
class Claim:
    """A claim as it stands in `configs/facts/study_claims.csv`; what was computed apart from this code stays there."""

    key: str
    text: str
    model: str


@dataclass(frozen=True)
class Answer:
    """Ours in words and in figures, whether it is theirs, and why not (or under which condition it is)."""

    ours: str
    agreement: Agreement
    because: str = ""
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Tables:
    """Tables that are too large to come with the harness; None: not given."""

    models: tuple[DatedModel, ...] | None = None
    gpus: tuple[tuple[float, float], ...] | None = None  # year, FP32 FLOP/s per real dollar


NEEDS_MODELS = (
    "needs Epoch AI's table of models (epoch-research/training-cost-trends: data/All ML Systems - full view.csv, "
    "CC-BY); give it with --models"
)
NEEDS_GPUS = (
    "needs Epoch AI's table of GPUs (epoch-research/timelines-direct-approach: data/gpu_trends_factors_clean.csv); "
    "give it with --gpus"
)


@functools.cache
def claims() -> tuple[Claim, ...]:
    """Every claim, in the study's order."""
    with (FACTS / "study_claims.csv").open(encoding="utf-8", newline="") as stream:
        return tuple(Claim(row["key"], row["claim"], row["model"]) for row in csv.DictReader(stream))


def agrees(ours: float, theirs: str) -> bool:
    """Is ours theirs to half of the last digit that they print?"""
    mantissa, _, exponent = theirs.lower().partition("e")
    places = len(mantissa.partition(".")[2])
    half = 0.5 * 10.0 ** (int(exponent or 0) - places)
    return abs(ours - float(theirs)) <= half * (1 + 1e-9)


def agrees_in_digits(ours: float, theirs: float, digits: int) -> bool:
    """Is ours theirs, rounded to so many significant digits? For numbers that end in zeros which are no digits."""
    return float(f"{ours:.{digits - 1}e}") == theirs


def said(good: bool) -> Agreement:
    """A plain yes or no."""
    return "reproduced" if good else "not_reproduced"


def read_tables(models: Path | None, gpus: Path | None) -> Tables:
    """The user's copies of the two tables. Raises BadInputError, naming the file, for what is not such a table."""
    return Tables(None if models is None else read_models(models), None if gpus is None else _read_gpus(gpus))


def _read_gpus(path: Path) -> tuple[tuple[float, float], ...]:
    """Year and FP32 FLOP/s per dollar of 2020 of every GPU that has a date, a speed and a price."""
    from extrapolate.trends import year_of

    wanted = ("date", "FP32_flops", "real_price_2020")
    found = []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise BadInputError(f"{path}: has no column {missing[0]!r}")
            for row in reader:
                date, flop_per_s, price = (row[name] for name in wanted)
                if date and flop_per_s and price:
                    found.append((year_of(dt.date.fromisoformat(date[:10])), float(flop_per_s) / float(price)))
    except (OSError, UnicodeDecodeError, ValueError, ZeroDivisionError) as error:
        raise BadInputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(found) < 3:
        raise BadInputError(f"{path}: {len(found)} rows have a date, a speed and a price; a line needs 3")
    return tuple(found)


def listed(values: Sequence[float], digits: int = 3) -> str:
    """Numbers in a row, as people write them."""
    return ", ".join(f"{value:.{digits}g}" for value in values)

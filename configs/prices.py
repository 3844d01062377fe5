"""Listed prices of accelerators, and from when there was each: `facts/accelerator_prices.csv`, typed."""

import csv
import datetime as dt
import functools
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, PositiveFloat

from configs.errors import BadInputError

FACTS = Path(__file__).with_name("facts")
SOURCE = "epoch-research/training-cost-trends@263c40a:data/Hardware prices.csv (CC-BY)"


def parse_date(text: str) -> dt.date:
    """`2022-01-20`, or `2022-01` for the middle of that month. Raises BadInputError for anything else."""
    try:
        return dt.date.fromisoformat(text if text.count("-") == 2 else f"{text}-15")
    except ValueError:
        raise BadInputError(f"{text!r} is not a date; write 2022-01 or 2022-01-20") from None


class ListedPrice(BaseModel):
    """One listing, USD: an hour of one accelerator under each contract, or one bought. None: not offered, not said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accelerator: str
    date: dt.date
    vendor: str
    on_demand: PositiveFloat | None
    one_year: PositiveFloat | None
    three_years: PositiveFloat | None
    purchase: PositiveFloat | None
    listed_at: str

    def is_of(self, accelerator: str) -> bool:
        """Is it of that row of accelerators.yaml, or of a family that the row is in (`a100`: variant not said)?"""
        return accelerator == self.accelerator or accelerator.startswith(f"{self.accelerator}-")


@functools.cache
def listed_prices() -> tuple[ListedPrice, ...]:
    """Every listing."""
    with (FACTS / "accelerator_prices.csv").open(encoding="utf-8", newline="") as stream:
        rows = ({key: value or None for key, value in row.items()} for row in csv.DictReader(stream))
        return tuple(ListedPrice.model_validate({**row, "vendor": row["vendor"] or ""}) for row in rows)


@functools.cache
def releases() -> Mapping[str, dt.date]:
    """The day from which there was an accelerator, for those of which it is known."""
    with (FACTS / "accelerator_releases.csv").open(encoding="utf-8", newline="") as stream:
        return {row["accelerator"]: dt.date.fromisoformat(row["released"]) for row in csv.DictReader(stream)}

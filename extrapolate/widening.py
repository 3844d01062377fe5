"""How much wider than Student's t an interval of a few published runs has to be, found by leaving each of them out.

The intervals of `duration` and `utilisation` are of four to six runs or teams, and predict others of the same list:
each such prediction, made without the run, needs its half-width multiplied by some factor to hold. The factor in use is
the least that 90 % of them and one more would need, as conformal prediction has it; tried in turn, it is made without
the run's whole team.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, Field

from configs.files import Record, read_record
from configs.prices import FACTS

LEVEL = 0.9
TRIALS = FACTS.with_name("calibrations") / "practice.json"

LEFT_OUT = "each by the others, its own team left out of the widening too"
EVERYTHING = f"speeds of teams and hours of runs, by a plan or by the effective MFU, {LEFT_OUT}"

Kind = Literal["speed", "hours_by_effective_mfu", "hours_by_plan"]


class Held(Record):
    """`held` of `of` intervals with the truth inside; `what` they were of, and how the truth was kept out of them."""

    held: int
    of: int
    what: str


class Trial(Record):
    """One prediction of what is known. `needs`: by how much its half-width has to be multiplied to hold."""

    kind: Kind | None = None
    run: str
    team: str
    needs: float


class StoredTrials(Record):
    """The trials of the published runs: half a second of planning, for which a forecast does not wait."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.trials/1"] = Field(default="replibench.trials/1", alias="schema")
    trials: tuple[Trial, ...]


@functools.cache
def published_trials() -> tuple[Trial, ...]:
    """As `python -m scripts.publish_practice` stored them."""
    return read_record(TRIALS, StoredTrials).trials


def least_factor(trials: Sequence[Trial], without: str | None = None) -> float:
    """Of n trials, one team's left out, the need that is ⌈0.9 (n + 1)⌉-th, or the largest. Of none, ValueError."""
    needs = sorted(trial.needs for trial in trials if trial.team != without)
    if not needs:
        raise ValueError(f"no trial is left without {without}")
    return needs[min(len(needs), math.ceil(LEVEL * (len(needs) + 1) - 1e-9)) - 1]


def widening(without: str | None = None) -> float:
    """Of the published runs, at least 1; `without` a team: as if none of its runs were known."""
    return max(1.0, least_factor(published_trials(), without))


def held_by_the_others(kind: Kind | None = None) -> tuple[int, int]:
    """How many trials (of one kind, if given) hold with the widening of the other teams, and of how many."""
    trials = [trial for trial in published_trials() if kind in (None, trial.kind)]
    return sum(trial.needs <= widening(trial.team) for trial in trials), len(trials)

"""Every number of the study of diffusion that a program can compute, computed again, beside theirs; and why not."""

from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import ConfigDict, Field

from configs.files import Record
from extrapolate import study_arrival, study_compute, study_money
from extrapolate.claims import Agreement, Answer, Tables, claims


class ClaimResult(Record):
    """One claim. `ours` is empty where it cannot be computed, and `because` then says what would be needed."""

    key: str
    claim: str
    model: str
    ours: str
    agreement: Agreement
    because: str
    figures: dict[str, float]


class Study(Record):
    """All claims, in the study's order."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.study/1"] = Field(default="replibench.study/1", alias="schema")
    counts: dict[Agreement, int]
    claims: tuple[ClaimResult, ...]


def study(tables: Tables) -> Study:
    """Recompute each claim from its inputs. What was computed elsewhere is never read."""
    results = []
    for claim in claims():
        answer = ANSWERS[claim.key](tables)
        results.append(
            ClaimResult(
                key=claim.key,
                claim=claim.text,
                model=claim.model,
                ours=answer.ours,
                agreement=answer.agreement,
                because=answer.because,
                figures=answer.figures,
            )
        )
    counts: dict[Agreement, int] = {}
    for result in results:
        counts[result.agreement] = counts.get(result.agreement, 0) + 1
    return Study(counts=counts, claims=tuple(results))


def _needs(what: str) -> Callable[[Tables], Answer]:
    return lambda _: Answer("", "not_computable", what)


ANSWERS: Mapping[str, Callable[[Tables], Answer]] = {
    "gpt3_flop": study_compute.gpt3_flop,
    "gpt3_like": study_compute.gpt3_like,
    "nine_before_opt": study_compute.nine_before_opt,
    "gopher_flop": study_compute.gopher_flop,
    "gopher_hours": study_compute.gopher_hours,
    "opt_days": study_compute.opt_days,
    "share_87": study_money.share_87,
    "ratio_16": study_money.ratio_16,
    "share_against_ratio": study_money.share_against_ratio,
    "compute_usd": study_money.compute_usd,
    "forward_share": study_money.forward_share,
    "dataset_usd": study_money.dataset_usd,
    "arrival_trends": study_arrival.arrival_trends,
    "first_estimate": study_arrival.first_estimate,
    "arrival_overall": study_arrival.arrival_overall,
    "arrival_date": study_arrival.arrival_date,
    "trend_slopes": study_arrival.trend_slopes,
    "looked_up_flop": study_compute.looked_up_flop,
    "speed_up": study_money.speed_up,
    "opt_access": study_money.opt_access,
    "core_team": _needs("needs the sizes of the nine teams, which the study took from author lists by hand"),
    "publication_delays": study_compute.publication_delays,
    "memory_350_gb": study_compute.memory_350_gb,
    "price_performance": study_arrival.price_performance,
    "epochs": study_compute.epochs,
    "trillion_dollar_run": study_arrival.trillion_dollar_run,
    "criterion": _needs("a criterion, not a figure: the command compare applies it"),
    "publicity": _needs("needs Google Trends and Twitter as they were"),
}

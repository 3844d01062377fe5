"""Write what a cost assumes, and one worked out, into docs/cost.md between its two markers.

python -m scripts.document_cost
"""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from configs.costs import cost_assumptions
from configs.distributions import Distribution
from configs.files import write_text
from extrapolate.cost import CostForecast, cost
from scripts.documents import between

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cost.md"
BEGIN, END = "<!-- costs: begin (python -m scripts.document_cost) -->", "<!-- costs: end -->"
HOURS = Distribution(distribution="lognormal", low=0.9e6, high=2.2e6, source="an example")


def tables() -> str:
    """The example's results, what it depends on, and every input with its source; rented, then bought."""
    beliefs = cost_assumptions()
    machine = ("a100-sxm-80gb", dt.date(2022, 1, 15))
    rented = cost(HOURS, *machine, beliefs)
    bought = cost(HOURS, *machine, beliefs.model_copy(update={"compute": "ownership"}))
    inputs = {each.name: each for each in (*rented.assumptions, *bought.assumptions)}
    rows = [
        (f"`{each.name}`", each.unit, each.distribution.replace("_", "-"), _range(each.parameters), each.source)
        for each in inputs.values()
    ]
    return "\n\n".join(
        (
            "Rented:\n\n" + _results(rented),
            "Bought:\n\n" + _results(bought),
            _table(("input", "unit", "distribution", "range", "source"), rows),
        )
    )


def updated(page: str) -> str:
    """`page` with the tables between its markers. Raises BadInputError when the markers are not there, once each."""
    return between(page, PAGE.name, BEGIN, END, tables())


def _results(found: CostForecast) -> str:
    dollars = {name: getattr(found.cost_usd, name) for name in ("compute", "staff", "total")}
    rows = [(f"{name}, million USD", *(f"{each / 1e6:.2f}" for each in _four(q))) for name, q in dollars.items()]
    rows.insert(0, ("USD an accelerator-hour", *(f"{each:.2f}" for each in _four(found.usd_per_accelerator_hour))))
    rows.append(("compute : labour", *(f"{each:.2f}" for each in _four(found.compute_to_labour))))
    rows.append(("share of compute, %", *(f"{100 * each:.1f}" for each in _four(found.compute_share))))
    drivers = ", ".join(f"`{each.input}` {100 * each.share:.0f} %" for each in found.drivers[:4])
    return _table(("", "5 %", "median", "mean", "95 %"), rows) + f"\n\nThe total's spread is of {drivers}."


def _four(q: object) -> tuple[float, ...]:
    return tuple(getattr(q, name) for name in ("p5", "median", "mean", "p95"))


def _range(parameters: dict[str, float]) -> str:
    if "value" in parameters:
        return f"{parameters['value']:g}"
    least = f", at least {parameters['minimum']:g}" if "minimum" in parameters else ""
    return f"{parameters['low']:,.6g} to {parameters['high']:,.6g}{least}"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    write_text(PAGE, updated(PAGE.read_text(encoding="utf-8")))

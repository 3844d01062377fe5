"""Dollars against products that are known exactly, by hand where nothing varies, and what is refused."""

import datetime as dt
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from configs.costs import DEFAULT, CostAssumptions, cost_assumptions
from configs.distributions import Distribution
from configs.errors import BadInputError
from extrapolate.cost import CostForecast, cost
from scripts import document_cost

N = 100_000
Z95 = 1.6448536269514722
DATE = dt.date(2022, 1, 15)
A100 = "a100-sxm-80gb"


def constant(value: float) -> dict[str, Any]:
    return {"distribution": "constant", "value": value}


def lognormal(low: float, high: float) -> dict[str, Any]:
    return {"distribution": "lognormal", "low": low, "high": high}


PLAIN: dict[str, Any] = {
    "rental.usd_per_accelerator_hour": constant(2.0),
    "experiments_multiplier": constant(3.0),
    "staff.people": constant(10.0),
    "staff.months": constant(6.0),
    "staff.usd_per_person_year": constant(200_000.0),
    "staff.overhead_multiplier": constant(1.5),
}


def beliefs(directory: Path, changes: dict[str, Any]) -> CostAssumptions:
    """The default file with keys changed, read as a user's file is."""
    tree = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parents, last = key.split(".")
        node = tree
        for parent in parents:
            node = node[parent]
        node[last] = value
    path = directory / "costs.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return cost_assumptions(path)


def costed(directory: Path, changes: dict[str, Any], hours: Any = 1e6, **more: Any) -> CostForecast:
    return cost(hours, A100, DATE, beliefs(directory, PLAIN | changes), **({"samples": N} | more))


def test_without_uncertainty_it_is_arithmetic(tmp_path: Path) -> None:
    found = costed(tmp_path, {"dataset_usd": constant(50_000)}, days=365.25 / 12 * 2)
    assert found.cost_usd.compute.p5 == found.cost_usd.compute.p95 == pytest.approx(1e6 * 3 * 2)
    assert found.cost_usd.staff.mean == pytest.approx(10 * (6 + 2) / 12 * 200_000 * 1.5)
    assert found.cost_usd.total.mean == pytest.approx(6e6 + 2e6 + 50_000)
    assert found.cost_usd.to_pay == found.cost_usd.total
    assert found.compute_to_labour.median == pytest.approx(3)
    assert found.compute_share.mean == pytest.approx(0.75)
    assert found.drivers == ()


def test_a_product_of_lognormals_has_the_quantiles_of_theory(tmp_path: Path) -> None:
    price, hours = lognormal(1, 4), Distribution(distribution="lognormal", low=4e5, high=2e6)
    found = costed(tmp_path, {"rental.usd_per_accelerator_hour": price}, hours).cost_usd.compute
    sigma = math.hypot(math.log(4), math.log(5)) / 2 / Z95
    median = 3 * 2 * math.sqrt(4e5 * 2e6)
    expected = [median * math.exp(x) for x in (-Z95 * sigma, 0, sigma**2 / 2, Z95 * sigma)]
    assert [found.p5, found.median, found.mean, found.p95] == pytest.approx(expected, rel=0.02)


def test_ratio_and_share_are_one_variable(tmp_path: Path) -> None:
    found = costed(tmp_path, {"staff.people": lognormal(2, 40)})
    ratio, share = found.compute_to_labour, found.compute_share
    for name in ("p5", "median", "p95"):
        assert getattr(share, name) == pytest.approx(getattr(ratio, name) / (1 + getattr(ratio, name)))
    assert share.mean < ratio.mean / (1 + ratio.mean)  # the function is concave
    assert ratio.mean > ratio.median


def test_the_study_of_ratio_and_share_comes_out_of_one_ratio(tmp_path: Path) -> None:
    """r = LN(3, 81): median 15.6 and mean 25.8, as a share mean 91.4 %."""
    staff = 10 * 6 / 12 * 200_000 * 1.5
    price = lognormal(3 * staff / 3e6, 81 * staff / 3e6)
    found = costed(tmp_path, {"rental.usd_per_accelerator_hour": price})
    assert found.compute_to_labour.median == pytest.approx(15.6, rel=0.02)
    assert found.compute_to_labour.mean == pytest.approx(25.8, rel=0.02)
    assert found.compute_share.mean == pytest.approx(0.914, abs=0.002)


@pytest.mark.parametrize(
    ("sponsored", "to_pay"), [({"share": 0.25}, 6.0), ({"usd": 1e6}, 6.5), ({"usd": 1e9}, 1.5), ({"share": 1.0}, 1.5)]
)
def test_sponsored_compute_is_what_is_not_paid(tmp_path: Path, sponsored: dict[str, float], to_pay: float) -> None:
    found = costed(tmp_path, {"sponsored": {key: constant(value) for key, value in sponsored.items()}})
    assert found.cost_usd.total.mean == pytest.approx(7.5e6)
    assert found.cost_usd.to_pay.mean == pytest.approx(to_pay * 1e6)


def test_ownership_is_capital_over_hours_in_use_and_energy(tmp_path: Path) -> None:
    changes = {
        "compute": "ownership",
        "ownership.purchase_usd": constant(15_000),
        "ownership.server_and_network_multiplier": constant(2),
        "ownership.years": constant(4),
        "ownership.utilisation": constant(0.5),
        "ownership.power_multiplier": constant(1.5),
        "ownership.pue": constant(1.2),
        "ownership.usd_per_kwh": constant(0.1),
    }
    hourly = 15_000 * 2 / (4 * 8766 * 0.5) + 0.4 * 1.5 * 1.2 * 0.1  # an A100's TDP is 400 W
    assert costed(tmp_path, changes).usd_per_accelerator_hour.mean == pytest.approx(hourly)


def test_a_price_carried_by_one_doubling_is_half(tmp_path: Path) -> None:
    changes = {"price_performance_doubling_years": constant(2.5)}
    without = {key: value for key, value in PLAIN.items() if not key.startswith("rental")}
    assumed = beliefs(tmp_path, without | changes)
    listed = cost(1e6, "h100-sxm-80gb", dt.date(2025, 3, 17), assumed, samples=N)
    later = cost(1e6, "h100-sxm-80gb", dt.date(2027, 9, 16), assumed, samples=N)
    assert later.usd_per_accelerator_hour.median == pytest.approx(listed.usd_per_accelerator_hour.median / 2, rel=0.05)
    assert any("carried" in warning for warning in later.warnings)
    names = [each.name for each in later.assumptions]
    assert "price_performance_doubling_years" in names
    assert "price_performance_doubling_years" not in [each.name for each in listed.assumptions]


def test_correlated_inputs_widen_a_product_as_theory_says(tmp_path: Path) -> None:
    """Var(log) = σ₁² + σ₂² + 2ρσ₁σ₂, also with hours that come as draws."""
    varied = {"rental.usd_per_accelerator_hour": lognormal(1, 4)}
    sigma = math.log(4) / 2 / Z95
    hours = np.exp(sigma * np.random.default_rng(1).standard_normal(N)) * 1e6
    pair = {"between": ["accelerator_hours", "rental.usd_per_accelerator_hour"], "correlation": 0.5}
    found = costed(tmp_path, varied | {"correlations": [pair]}, hours).cost_usd.compute
    spread = math.log(found.p95 / found.p5) / 2 / Z95
    assert spread == pytest.approx(sigma * math.sqrt(3), rel=0.02)


def test_drivers_of_a_product_are_exact(tmp_path: Path) -> None:
    """Hardly any staff: the total is the product, and the shares those of log variance."""
    changes = {
        "staff.people": constant(1e-6),
        "rental.usd_per_accelerator_hour": lognormal(1, 5),
        "experiments_multiplier": lognormal(1.5, 3) | {"minimum": 1},
    }
    hours = Distribution(distribution="lognormal", low=1e6, high=3e6)
    shares = {each.input: each.share for each in costed(tmp_path, changes, hours).drivers}
    logs = {"rental.usd_per_accelerator_hour": 5, "experiments_multiplier": 2, "accelerator_hours": 3}
    total = sum(math.log(ratio) ** 2 for ratio in logs.values())
    exact = {name: math.log(ratio) ** 2 / total for name, ratio in logs.items()}
    assert shares == pytest.approx(exact, abs=0.015)
    assert next(iter(shares)) == "rental.usd_per_accelerator_hour"


def test_the_same_seed_gives_the_same_record_and_another_one_near_it() -> None:
    assumed = cost_assumptions()
    first, again, other = (cost(1e6, A100, DATE, assumed, seed=seed, samples=20_000) for seed in (7, 7, 8))
    assert first == again
    assert other != first
    assert other.cost_usd.total.median == pytest.approx(first.cost_usd.total.median, rel=0.05)


def test_every_default_has_its_source_and_stands_in_the_record() -> None:
    assumed = cost_assumptions()
    for way in ("rental", "ownership"):
        found = cost(1e6, A100, DATE, assumed.model_copy(update={"compute": way}), samples=2000)
        for each in found.assumptions:
            assert each.source not in ("", "given by the user"), each.name
            assert each.parameters
    assert CostForecast.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"staff.poeple": constant(1)}, r"staff.poeple: unknown key; did you mean 'people'"),
        ({"stuff": 1}, "stuff: unknown key"),
        ({"compute": "leasing"}, "compute: 'leasing' is not a choice"),
        ({"staff.people": lognormal(-3, 5)}, "staff.people.low: -3"),
        ({"staff.people": constant(0)}, "staff.people: .* must be above 0"),
        ({"staff.people": lognormal(5, 3)}, "low 5 must be below high 3"),
        ({"staff.people": lognormal(1, math.nan)}, "staff.people.high: nan"),
        ({"staff.people": 12}, "staff.people: 12"),
        ({"experiments_multiplier": lognormal(1.2, 4)}, "never below 1: set `minimum: 1`"),
        ({"ownership.utilisation": lognormal(0.2, 0.9)}, "is a share"),
        ({"ownership.utilisation": constant(80)}, "is a share"),
        ({"sponsored": {"share": constant(0.5), "usd": constant(1)}}, "not both"),
        ({"rental.window_days": 0}, "rental.window_days: 0"),
        ({"correlations": [{"between": ["staff.people", "dataset_usd"], "correlation": 1.5}]}, "correlation: 1.5"),
        ({"correlations": [{"between": ["staff.people", "staff.people"], "correlation": 0.5}]}, "with itself"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_key(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as raised:
        beliefs(tmp_path, changes)
    assert str(raised.value).startswith("costs.yaml: ")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        cost_assumptions(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("{", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"bad\.yaml"):
        cost_assumptions(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("hours", "more", "message"),
    [
        (-1.0, {}, "accelerator_hours: must be finite numbers above 0"),
        (math.nan, {}, "accelerator_hours: must be"),
        (np.ones(10), {}, "accelerator_hours: 10 draws, where samples is 100000"),
        (1e6, {"days": 0.0}, "days: must be"),
        (1e6, {"samples": 10}, "samples: 10"),
    ],
)
def test_hours_that_are_none_are_refused(tmp_path: Path, hours: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        costed(tmp_path, {}, hours, **more)


def test_an_accelerator_without_power_cannot_be_owned(tmp_path: Path) -> None:
    changes = {"compute": "ownership", "ownership.purchase_usd": constant(1)}
    with pytest.raises(BadInputError, match="tpu-v5e: has no power_w"):
        cost(1e6, "tpu-v5e", dt.date(2025, 3, 1), beliefs(tmp_path, changes), samples=N)


def test_a_correlation_with_no_such_input_is_refused(tmp_path: Path) -> None:
    pair = {"between": ["staff.people", "rent"], "correlation": 0.5}
    with pytest.raises(BadInputError, match="called 'rent'"):
        costed(tmp_path, {"staff.people": lognormal(1, 2), "correlations": [pair]})


def test_a_correlation_with_a_constant_input_says_that_it_is_constant(tmp_path: Path) -> None:
    pair = {"between": ["staff.people", "dataset_usd"], "correlation": 0.5}
    with pytest.raises(BadInputError, match="dataset_usd is constant, so nothing") as raised:
        costed(tmp_path, {"staff.people": lognormal(1, 2), "correlations": [pair]})
    assert "\n" not in str(raised.value)
    varying = {"staff.people": lognormal(1, 2), "dataset_usd": lognormal(1, 2), "correlations": [pair]}
    assert costed(tmp_path, varying).cost_usd.total.p95 > 0


def test_the_page_has_the_tables_of_today() -> None:
    page = document_cost.PAGE.read_text(encoding="utf-8")
    assert document_cost.updated(page) == page, "run `python -m scripts.document_cost`"

"""The forecast: its arithmetic by hand, what must rise and fall with what, the user's own runs, and what it refuses."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from accounting.flops import flop_ledger
from configs import presets
from configs.costs import DEFAULT
from configs.errors import BadInputError
from configs.files import read_record, write_record
from configs.forecast import ForecastConfig
from extrapolate.distributions import Quantiles
from extrapolate.duration import effective_mfu_prior, goodput_prior
from extrapolate.forecast import Forecast, forecast, usual_batch
from extrapolate.plans import least_copies
from extrapolate.step_time import machine
from extrapolate.throughput import plan
from tests.extrapolate.run_records import run_record
from train.record import HeldOutLoss, RunRecord

GPT3_FLOP = 322_912_029_081_600_000_000_000  # every matmul, exact
CERTAIN = {"distribution": "constant", "source": "a test"}


def of(*runs: RunRecord, **keys: Any) -> Forecast:
    return forecast(ForecastConfig.model_validate({"samples": 2_000, **keys}), runs)


def assumptions(directory: Path, **changes: Any) -> str:
    """The default beliefs with some replaced, in a file."""
    tree = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))
    path = directory / "costs.yaml"
    path.write_text(yaml.safe_dump({**tree, **changes}), encoding="utf-8")
    return str(path)


def rent(usd: float) -> dict[str, Any]:
    return {"contract": "any", "window_days": 183, "usd_per_accelerator_hour": {**CERTAIN, "value": usd}}


def four(found: Quantiles) -> list[float]:
    return [found.p5, found.median, found.mean, found.p95]


def test_by_hand(tmp_path: Path) -> None:
    """With a certain price and goodput, everything follows from the MFU that was drawn."""
    costs = assumptions(tmp_path, rental=rent(2), experiments_multiplier={**CERTAIN, "value": 3})
    found = of(goodput={**CERTAIN, "value": 0.8}, assumptions=costs, samples=100_000)
    (mfu,) = (one for one in found.assumptions if one.name == "mfu")
    z = 1.6448536269514722
    at = [1 / (1 + math.exp(-(mfu.parameters["mu"] + k * mfu.parameters["sigma"]))) for k in (z, 0, -z)]
    expected = [GPT3_FLOP / (312e12 * share * 0.8 * 3600) for share in at]
    hours = found.accelerator_hours
    assert [hours.p5, hours.median, hours.p95] == pytest.approx(expected, rel=0.005)
    assert found.wall_clock_days.ideal == pytest.approx(expected[1] * 0.8 / 1024 / 24)
    assert four(found.wall_clock_days) == pytest.approx([each / 1024 / 24 for each in four(hours)])
    assert four(found.cost_usd.compute) == pytest.approx([each * 6 for each in four(hours)])
    share, ratio = found.compute_share, found.compute_to_labour
    assert [share.p5, share.p95] == pytest.approx([ratio.p5 / (1 + ratio.p5), ratio.p95 / (1 + ratio.p95)])
    assert found.plan is not None
    assert found.plan == plan(presets.architecture("gpt3-175b"), presets.cluster("a100-1024"), 1536, 2048).plans[0]


def test_the_same_seed_gives_the_same_forecast() -> None:
    assert of() == of()
    assert of(seed=1).accelerator_hours != of().accelerator_hours
    later = of(price_date="2022-01")  # another price changes no other draws
    assert later.accelerator_hours == of().accelerator_hours
    assert later.cost_usd.compute != of().cost_usd.compute
    assert later.cost_usd.staff == of().cost_usd.staff


def test_a_preset_and_its_count_are_one_cluster() -> None:
    preset, sized = of(cluster="a100-1024"), of(cluster="1024xa100-sxm-80gb")
    same = {"cluster": preset.cluster}
    assert sized.model_copy(update=same) == preset
    nodes = {one.name: one for one in sized.assumptions if one.name.startswith("node.")}
    assert nodes["node.accelerators"].parameters == {"value": 8}
    assert "8 × 200 Gb/s" in nodes["node.bandwidth_bytes_per_s"].source
    assumed = {one.name: one.source for one in of(cluster="1024xh200-sxm-141gb").assumptions}
    assert assumed["node.accelerators"].startswith("assumed")


def test_more_accelerators_take_fewer_days() -> None:
    made = [of(cluster=f"{count}xa100-sxm-80gb", batch=1536) for count in (256, 512, 1024, 3072)]
    ideal = [one.wall_clock_days.ideal for one in made]
    for more, fewer in pairwise(ideal):
        assert more is not None and fewer is not None and fewer < more
    hours = [one.accelerator_hours.median for one in made]
    assert hours[-1] > hours[0]  # and more hours: they wait for one another


def test_more_tokens_take_longer_in_proportion() -> None:
    once, twice = of(tokens=10**11), of(tokens=2 * 10**11)
    assert four(twice.wall_clock_days) == pytest.approx([2 * each for each in four(once.wall_clock_days)])
    assert twice.flop.six_nd == 2 * once.flop.six_nd
    assert once.loss is not None and twice.loss is not None and twice.loss.median < once.loss.median


def test_a_price_twice_as_high_doubles_compute_and_nothing_else(tmp_path: Path) -> None:
    once, twice = (of(assumptions=assumptions(tmp_path, rental=rent(usd))) for usd in (1, 2))
    assert four(twice.cost_usd.compute) == pytest.approx([2 * each for each in four(once.cost_usd.compute)])
    assert twice.cost_usd.staff == once.cost_usd.staff
    assert twice.accelerator_hours == once.accelerator_hours


@pytest.mark.parametrize("target", ["gpt3-175b", "gpt3-1.3b", "palm-540b"])
def test_quantiles_are_in_order(target: str) -> None:
    found = of(target=target)
    ideal = found.wall_clock_days.ideal
    for one in (found.accelerator_hours, found.wall_clock_days, found.cost_usd.total, found.compute_to_labour):
        assert one.p5 < one.median < one.p95
        assert one.median < one.mean  # skewed to the right, as ratios are
    assert ideal is not None and ideal < found.wall_clock_days.median
    assert found.cost_usd.total.median > found.cost_usd.compute.median


def test_drivers_name_the_inputs_and_not_the_hours() -> None:
    found = of(samples=50_000)
    shares = {one.input: one.share for one in found.drivers}
    assert {"mfu", "goodput", "rental.usd_per_accelerator_hour", "experiments_multiplier"} <= set(shares)
    assert not {"accelerator_hours", "days"} & set(shares)
    assert sum(shares.values()) < 1.03
    assert "goodput" not in {one.input for one in of(goodput={**CERTAIN, "value": 0.9}).drivers}
    assert not {one.name for one in found.assumptions} & {"accelerator_hours", "days"}


def test_more_accelerators_than_a_batch_can_keep_busy_are_warned_of() -> None:
    assert any(
        "10,000 accelerators are many for a batch of 1,250" in each for each in of(cluster="v100-10000").warnings
    )
    assert not any("are many for a batch" in each for each in of().warnings)


def test_without_a_node_the_effective_mfu_is_taken() -> None:
    found = of(cluster="4096xtpu-v4", target="palm-540b", samples=100_000)
    assert found.plan is None and found.batch is None and found.wall_clock_days.ideal is None
    prior = effective_mfu_prior()
    hours = [found.flop.model_exact / (275e12 * share * 3600) for share in (prior.high, prior.median, prior.low)]
    expected = found.accelerator_hours
    assert [expected.p5, expected.median, expected.p95] == pytest.approx(hours, rel=0.01)
    assert {one.name for one in found.assumptions} & {"mfu", "goodput", "effective_mfu"} == {"effective_mfu"}
    assert any("no step of tpu-v4 can be timed" in warning for warning in found.warnings)
    with pytest.raises(BadInputError, match="goodput: lost work is already inside the effective MFU"):
        of(cluster="4096xtpu-v4", goodput={**CERTAIN, "value": 0.9})


TOKENS = 60_480 * 128 * 2048


def own_run(**changes: Any) -> RunRecord:
    """A week of a 6.7e9 model on 64 A100, MFU 40 %, goodput 0.9."""
    shape = presets.architecture("gpt3-6.7b")
    values: dict[str, Any] = {
        "name": "ours",
        "architecture": shape,
        "flops": flop_ledger(shape, TOKENS, 2048),
        "tokens": TOKENS,
        "device_type": "cuda",
        "device_name": "NVIDIA A100-SXM4-80GB",
        "n_devices": 64,
        "data_parallel_size": 64,
        "precision": "bf16",
        "mfu": 0.40,
        "hfu": 0.40,
        "steps": 60_480,
        "step_time_median_s": 9.0,
        "wall_clock_s": 604_800.0,
    }
    return run_record(**(values | changes))


BIGGER = {"target": "gpt3-13b", "cluster": "128xa100-sxm-80gb", "tokens": 6 * 10**10}


def test_a_similar_run_of_one_s_own_replaces_mfu_and_goodput() -> None:
    found, without = of(own_run(), **BIGGER), of(**BIGGER)
    inputs = {one.name: one for one in found.assumptions}
    assert inputs["goodput"].parameters == {"value": pytest.approx(0.9)}
    assert "measured by run ours" in inputs["goodput"].source and "measured by run ours" in inputs["mfu"].source
    assert inputs["mfu"].parameters["low"] < 0.4 < inputs["mfu"].parameters["high"]
    spread = [one.accelerator_hours.p95 / one.accelerator_hours.p5 for one in (found, without)]
    assert spread[0] < spread[1]
    assert [check.of for check in found.checks] == [20] and without.checks[-1].of == 13
    assert any("12 of 13" in warning for warning in without.warnings)
    assert found.extrapolation_factor == pytest.approx(found.flop.model_exact / own_run().flops.model_flop)
    assert [run.name for run in found.runs] == ["ours"]
    given = of(own_run(), **BIGGER, goodput={**CERTAIN, "value": 0.7})
    assert {one.name: one.parameters for one in given.assumptions}["goodput"] == {"value": 0.7}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"wall_clock_s": 6_000.0, "steps": 600}, "so the goodput of run ours is not used"),
        ({"device_type": "cpu", "device_name": "a CPU"}, "the measured MFU of run ours is not used"),
    ],
)
def test_a_run_that_says_nothing_of_the_plan_is_named(changes: dict[str, Any], said: str) -> None:
    found = of(own_run(**changes), **BIGGER)
    prior = goodput_prior()
    goodput = {one.name: one for one in found.assumptions}["goodput"]
    assert (goodput.parameters["low"], goodput.parameters["high"]) == (prior.low, prior.high)
    assert any(said in warning for warning in found.warnings)


def ladder(noise: float = 0.0) -> list[RunRecord]:
    """Nine runs whose held-out losses follow a law."""
    runs = []
    for at, name in enumerate(("pythia-14m", "pythia-70m", "pythia-160m")):
        shape = presets.architecture(name)
        for tokens in (10**9, 3 * 10**9, 10**10):
            parameters = shape.parameter_counts().total
            value = 1.8 + 480 / parameters**0.35 + 2100 / tokens**0.37 + noise * (-1) ** at
            runs.append(
                run_record(
                    name=f"{name}-{tokens:.0e}",
                    architecture=shape,
                    flops=flop_ledger(shape, tokens, 2048),
                    tokens=tokens,
                    held_out_loss=HeldOutLoss(replica=value, tokens=1000),
                )
            )
    return runs


def test_several_runs_give_the_loss() -> None:
    target = {"target": "pythia-410m", "tokens": 3 * 10**10, "cluster": "8xa100-sxm-80gb"}
    found = of(*ladder(), **target)
    assert found.loss is not None
    size = found.parameters
    assert found.loss.median == pytest.approx(1.8 + 480 / size**0.35 + 2100 / (3e10) ** 0.37, rel=2e-3)
    assert found.loss.law == "9 runs of your own"
    assert found.loss.coverage is None and any("is not calibrated" in warning for warning in found.warnings)
    assert of(**target).loss != found.loss  # without runs: the published law, and it says so
    assert any("Hoffmann" in warning for warning in of(**target).warnings)


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (ladder()[:5], "5 runs are too few"),
        ([run for run in ladder() if "14m" in run.name] * 2, "all runs have one size"),
        ([run_record()], "no run has a held-out loss"),
    ],
)
def test_too_few_runs_give_no_loss_and_say_what_is_missing(runs: list[RunRecord], said: str) -> None:
    found = of(*runs, target="gpt3-1.3b", cluster="64xa100-sxm-80gb")
    assert found.loss is None
    assert any(warning.startswith("loss: none, since ") and said in warning for warning in found.warnings)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0])
def test_a_loss_that_is_no_number_is_refused(wrong: float) -> None:
    runs = ladder()
    runs[3] = runs[3].model_copy(update={"held_out_loss": HeldOutLoss(replica=wrong, tokens=1)})
    with pytest.raises(BadInputError, match=r"pythia-70m-1e\+09: loss is .* must be a finite number above 0"):
        of(*runs)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sequence_length": 4096}, "target gpt3-175b: sequence_length: 4096 is beyond the 2048 learned positions"),
        ({"cluster": "20xa100-sxm-80gb"}, "20 accelerators do not fill nodes of 8"),
        ({"cluster": "8xa100-sxm-80gb"}, "the model fits on 8 devices of a100-sxm-80gb in none of"),
        ({"batch": 7}, "a batch of 7 sequences is divided by no number of copies"),
        ({"price_date": "2019-01"}, "a100-sxm-80gb: there was none on 2019-01-15"),
        ({"cluster": "512xb200-sxm-180gb"}, "no rental price is listed"),
        ({"assumptions": "nowhere.yaml"}, "nowhere.yaml: cannot be read"),
        ({"target": "gpt2-124m"}, "tokens: no number was published for gpt2-124m"),
    ],
)
def test_what_cannot_be_is_one_line(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as error:
        of(**keys)
    assert "\n" not in str(error.value)


def test_a_target_below_the_runs_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"target pythia-14m: .* parameters are fewer than the .* of the smallest"):
        of(run_record(), target="pythia-14m", tokens=10**9, cluster="8xa100-sxm-80gb")
    with pytest.raises(BadInputError, match=r"target gpt3-175b: 1,000 tokens are fewer than the 1,000,000"):
        of(run_record(), tokens=1_000)


@pytest.mark.parametrize("cluster", ["8xa100-sxm-80gb", "992xa100-sxm-80gb", "v100-10000", "24xmi250x-128gb"])
@pytest.mark.parametrize("target", ["gpt3-1.3b", "gpt3-175b"])
def test_the_usual_batch_is_one_that_copies_divide(target: str, cluster: str) -> None:
    shape, where = presets.architecture(target), presets.cluster(cluster)
    batch, least = usual_batch(shape, where, 2048), least_copies(shape, machine(where))
    wanted = 3.2e6 * (shape.parameter_counts().total / 175e9) ** 0.25 / 2048
    assert batch % least == 0
    assert abs(batch - wanted) <= max(wanted / 8, least / 2)


def test_the_usual_batch_follows_gpt3_s_table() -> None:
    """Brown et al. 2020, Table 2.1: its ends within a twentieth, what lies between within two thirds."""
    table = {"125m": 0.5, "350m": 0.5, "760m": 0.5, "1.3b": 1, "2.7b": 1, "6.7b": 2, "13b": 2, "175b": 3.2}
    ratios = []
    for name, millions in table.items():
        shape = presets.architecture(f"gpt3-{name}")
        ratios.append(usual_batch(shape, presets.cluster("8xa100-sxm-80gb"), 2048) * 2048 / 1e6 / millions)
    assert ratios[0] == pytest.approx(1.05, abs=0.05) and ratios[-1] == pytest.approx(1, abs=0.05)
    assert min(ratios) >= 0.7 and max(ratios) <= 1.67


def test_the_record_survives_its_file(tmp_path: Path) -> None:
    made = of(run_record())
    path = tmp_path / "forecast.json"
    write_record(path, made)
    assert '"schema": "replibench.forecast/1"' in path.read_text()
    assert read_record(path, Forecast) == made


def test_the_target_stands_beside_what_was_published() -> None:
    published = of().published
    assert published is not None and published.published_flop == 3.14e23
    assert abs(published.six_nd_difference_percent) < 1
    assert published.model_exact_difference_percent == pytest.approx(2.84, abs=0.01)  # attention, which 6ND leaves out
    assert of(tokens=10**9).published is None


def test_a_million_samples_are_as_a_hundred_thousand() -> None:
    many, few = of(samples=1_000_000), of(samples=100_000)
    for name in ("accelerator_hours", "usd_per_accelerator_hour", "compute_to_labour"):
        assert four(getattr(many, name)) == pytest.approx(four(getattr(few, name)), rel=0.03)
    assert np.isfinite(four(many.cost_usd.total)).all()


def test_a_measured_goodput_is_kept_where_the_mfu_cannot_be_carried() -> None:
    found = of(own_run(n_devices=1), **BIGGER)
    assert {one.name: one for one in found.assumptions}["goodput"].parameters == {"value": pytest.approx(0.9)}
    assert any("the measured MFU of run ours is not used" in warning for warning in found.warnings)

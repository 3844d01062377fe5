"""The forecast's arithmetic by hand, its distributions, and published runs as sanity."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from accounting.flops import flop_ledger
from configs.errors import BadInputError
from configs.files import read_record, write_record
from configs.forecast import PUBLISHED_EFFECTIVE_MFU, ForecastConfig, Range90
from configs.presets import architecture
from extrapolate.forecast import Forecast, Interval, distribution, draw, forecast, interval
from train.record import Peak, RunRecord, StepTime


def certain(value: float) -> Range90:
    return Range90(low=value, high=value)


def run_record(**changes: Any) -> RunRecord:
    shape = architecture("pythia-70m")
    values: dict[str, Any] = {
        "name": "small",
        "finished": True,
        "steps": 10,
        "tokens": 1_000_000,
        "predicted_tokens": 1_000_000,
        "loss": 3.0,
        "architecture": shape,
        "flops": flop_ledger(shape, 1_000_000, 64),
        "device_type": "cpu",
        "device_name": "some CPU",
        "n_devices": 2,
        "data_parallel_size": 2,
        "tensor_parallel_size": 1,
        "zero_stage": 1,
        "precision": "fp32",
        "wall_clock_s": 100.0,
        "device_s": 100.0,
        "time": StepTime(**dict.fromkeys(StepTime.model_fields, 1.0)),
        "step_time_median_s": 9.0,
        "tokens_per_s": 10_000.0,
        "peak": Peak(flop_per_s=90e9, source="measured matmul, fp32"),
        "mfu": 0.62,
        "peak_memory_bytes": None,
        "restarts": 0,
        "export_logit_difference": 0.0,
        "lost_steps": 0,
    }
    return RunRecord(**(values | changes))


def test_by_hand_when_nothing_is_uncertain() -> None:
    result = forecast(
        ForecastConfig(
            mfu=certain(0.5),
            mfu_kind="while_training",
            goodput=certain(0.8),
            price_usd_per_accelerator_hour=certain(2),
            experiments_multiplier=certain(3),
            accelerator_count=1000,
            draws=100,
        ),
        None,
    )
    hours = 322_912_029_081_600_000_000_000 / (312e12 * 0.5 * 0.8 * 3600)  # the exact count over A100s: 718,732
    for found, expected in (
        (result.final_run_accelerator_hours, hours),
        (result.final_run_days, hours / 1000 / 24),
        (result.final_run_usd, hours * 2),
        (result.total_accelerator_hours, hours * 3),
        (result.total_usd, hours * 6),
    ):
        for value in found.model_dump().values():
            assert value == pytest.approx(expected, rel=1e-12)
    assert {one.kind for one in result.inputs} == {"constant"}


@pytest.mark.parametrize("seed", [0, 1, 17])
def test_a_distribution_has_the_range_it_was_made_from(seed: int) -> None:
    for kind, low, high in (("lognormal", 1.2, 4.0), ("logit_normal", 0.165, 0.426)):
        about = distribution("x", Range90(low=low, high=high), kind, "1")  # type: ignore[arg-type]
        assert about.mu is not None and about.sigma is not None
        found = interval(draw(about, seed, 200_000))
        assert found.low == pytest.approx(low, rel=0.01)
        assert found.high == pytest.approx(high, rel=0.01)
        middle = math.exp(about.mu) if kind == "lognormal" else 1 / (1 + math.exp(-about.mu))
        assert found.median == pytest.approx(middle, rel=0.01)
    assert found.high < 1


def test_draws_below_the_minimum_are_the_minimum() -> None:
    about = distribution("x", Range90(low=1.01, high=4.0), "lognormal", "1", minimum=1.0)
    values = draw(about, 0, 100_000)
    assert values.min() == 1.0
    assert 0.03 < (values == 1.0).mean() < 0.05


def test_the_same_seed_gives_the_same_forecast() -> None:
    config = ForecastConfig(draws=2000)
    assert forecast(config, None) == forecast(config, None)
    other = forecast(config.model_copy(update={"seed": 1}), None)
    assert other.final_run_days != forecast(config, None).final_run_days
    # another input changes no other's draws
    price = forecast(config.model_copy(update={"price_usd_per_accelerator_hour": certain(1)}), None)
    assert price.final_run_accelerator_hours == forecast(config, None).final_run_accelerator_hours


def test_more_accelerators_take_fewer_days_and_as_many_hours() -> None:
    few, many = (forecast(ForecastConfig(draws=2000, accelerator_count=n), None) for n in (512, 2048))
    assert many.final_run_accelerator_hours == few.final_run_accelerator_hours
    assert many.final_run_usd == few.final_run_usd
    assert many.final_run_days.median == pytest.approx(few.final_run_days.median / 4)


def test_monotone_in_what_should_be() -> None:
    base = forecast(ForecastConfig(draws=2000), None)
    longer = forecast(ForecastConfig(draws=2000, tokens=600_000_000_000), None)
    better = forecast(ForecastConfig(draws=2000, mfu=Range90(low=0.4, high=0.6)), None)
    assert longer.final_run_days.median == pytest.approx(2 * base.final_run_days.median)
    assert better.final_run_usd.high < base.final_run_usd.high
    for one in (base.final_run_days, base.final_run_usd, base.total_usd):
        assert one.low < one.median < one.mean < one.high  # skewed to the right, as ratios are
    assert base.total_usd.median > base.final_run_usd.median


def inside(value: float, found: Interval) -> bool:
    return found.low < value < found.high


def test_published_runs_lie_in_the_interval() -> None:
    # Patterson et al. 2021, Table 4: GPT-3 on 10,000 V100 in 14.8 days
    gpt3 = forecast(ForecastConfig(cluster="v100-10000"), None)
    assert inside(14.8, gpt3.final_run_days)
    assert inside(3_552_000, gpt3.final_run_accelerator_hours)
    # metaseq, OPT chronicles: about 33 days without failures; with them 50 days for the last 90 % of the tokens
    opt = forecast(ForecastConfig(cluster="a100-1024"), None)
    assert inside(33, opt.final_run_days)
    assert inside(50 / 0.9, opt.final_run_days)


def test_the_default_mfu_is_the_prediction_interval_of_the_published_runs() -> None:
    # 6·N·D, booked accelerator-hours, dense peak: the table of docs/forecast.md
    runs = [
        (6 * 174.6e9 * 300e9, 3_552_000, 125e12),  # GPT-3
        (6 * 280e9 * 300e9, 3_768_320, 123e12),  # Gopher
        (6 * 20_556_201_984 * 472_473_600_000, 175_680, 312e12),  # GPT-NeoX-20B
        (6 * 540.35e9 * 780e9, 8_404_992, 275e12),  # PaLM 540B
        (6 * 175e9 * 0.9 * 300e9, 50 * 24 * 1024, 312e12),  # OPT-175B, the last 90 % of its tokens
        (6 * 176_247_271_424 * 366e9, 1_078_272, 312e12),  # BLOOM
    ]
    logs = np.log([flop / (hours * 3600 * peak) for flop, hours, peak in runs])
    half = stats.t.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) * math.sqrt(1 + 1 / len(logs))
    assert math.exp(logs.mean() - half) == pytest.approx(PUBLISHED_EFFECTIVE_MFU.low, abs=0.0005)
    assert math.exp(logs.mean() + half) == pytest.approx(PUBLISHED_EFFECTIVE_MFU.high, abs=0.0005)


def test_the_target_stands_beside_what_was_published() -> None:
    published = forecast(ForecastConfig(draws=100), None).target.published
    assert published is not None
    assert published.published_flop == 3.14e23
    assert abs(published.six_n_d_all_difference_percent) < 1
    assert published.model_flop_difference_percent == pytest.approx(2.84, abs=0.01)  # attention, which 6ND leaves out
    assert forecast(ForecastConfig(draws=100, tokens=10**9), None).target.published is None


def test_the_run_is_shown_and_its_mfu_not_used() -> None:
    config = ForecastConfig(draws=1000)
    run = run_record()
    with_run, without = forecast(config, run), forecast(config, None)
    assert with_run.final_run_usd == without.final_run_usd
    assert with_run.run is not None and with_run.run.mfu == 0.62
    assert with_run.run.peak_source == "measured matmul, fp32"
    assert with_run.extrapolation_factor == pytest.approx(with_run.target.flops.model_flop / run.flops.model_flop)
    assert "62 %" in with_run.caveats[0] and "not used" in with_run.caveats[0] and "a CPU" in with_run.caveats[0]
    assert without.extrapolation_factor is None and "No run" in without.caveats[0]
    on_gpu = forecast(config, run_record(device_type="cuda", n_devices=1))
    assert "a CPU" not in on_gpu.caveats[0] and "1 accelerator;" in on_gpu.caveats[0]
    unknown = forecast(config, run_record(device_type="cuda", mfu=None, peak=None, device_name="XPU"))
    assert "XPU" in unknown.caveats[0]


def test_the_record_survives_its_file(tmp_path: Any) -> None:
    made = forecast(ForecastConfig(draws=100), run_record())
    path = tmp_path / "forecast.json"
    write_record(path, made)
    assert '"schema": "replibench.forecast/1"' in path.read_text()
    assert read_record(path, Forecast) == made


def test_a_sequence_beyond_the_target_is_refused() -> None:
    with pytest.raises(BadInputError, match="gpt3-175b: sequence_length: 4096 is beyond the 2048 learned positions"):
        forecast(ForecastConfig(sequence_length=4096), None)

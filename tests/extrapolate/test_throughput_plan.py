"""Plans: what they hold, that the best is the best, why others are not, and the MFU that practice makes of it."""

import math
from typing import Any

import numpy as np
import pytest

from accounting.flops import flop_ledger
from accounting.memory import Layout
from configs import presets
from configs.errors import BadInputError
from configs.throughput import measured_steps
from extrapolate.calibration import calibration
from extrapolate.own_run import predicted_hfu
from extrapolate.plans import enumerate_layouts, needed_bytes, usable_bytes
from extrapolate.step_time import columns, machine, machine_of, step_parts
from extrapolate.throughput import Plan, Planning, plan
from extrapolate.utilisation import carried_sigma, other_kind_sigma, practice, similar_pairs
from tests.extrapolate.run_records import run_record
from train.record import Peak, RunRecord

SMALL = presets.architecture("gpt3-1.3b")
A100 = presets.cluster("a100-1024")


@pytest.fixture(scope="module")
def gpt3() -> Planning:
    return plan(presets.architecture("gpt3-175b"), A100, 1536, 2048, best=50)


@pytest.fixture(scope="module")
def small() -> Planning:
    return plan(SMALL, A100, 512, 2048, count=16, best=10_000)


def layout_of(one: Plan) -> Layout:
    return Layout.model_validate(
        {name: getattr(one, name) for name in Layout.model_fields if name != "precision"} | {"precision": "bf16"}
    )


def test_each_plan_can_be_run(gpt3: Planning, small: Planning) -> None:
    for planning, shape in ((gpt3, presets.architecture("gpt3-175b")), (small, SMALL)):
        for one in planning.plans:
            layout = layout_of(one)
            assert layout.devices == planning.devices
            assert one.micro_batches * one.micro_batch_size * one.data_parallel_size == planning.global_batch
            assert one.tensor_parallel_size <= 8
            assert shape.n_layers % (one.pipeline_parallel_size * one.interleave) == 0
            assert one.interleave == 1 or one.micro_batches % one.pipeline_parallel_size == 0
            counted, at_work = needed_bytes(shape, layout, 2048)
            assert one.memory.total_bytes == counted.total + at_work <= 0.9 * 80e9
            assert one.memory.counted == counted


def test_a_plan_s_numbers_follow_from_its_step(gpt3: Planning) -> None:
    shape = presets.architecture("gpt3-175b")
    for one in gpt3.plans[:5]:
        parts = one.parts.model_dump()
        hidden = parts.pop("hidden_communication_s")
        assert sum(parts.values()) == pytest.approx(one.step_time_s)
        assert hidden >= 0
        ledger = flop_ledger(shape, 1536 * 2048, 2048, one.recompute)
        assert one.mfu == pytest.approx(ledger.model_flop / one.step_time_s / 1024 / 312e12)
        assert one.hfu == pytest.approx(ledger.hardware_flop / one.step_time_s / 1024 / 312e12)
        assert one.tokens_per_s == pytest.approx(1536 * 2048 / one.step_time_s)
        again = step_parts(shape, machine(A100), columns([layout_of(one)]), 1536, 2048, calibration().efficiency)
        assert again.total[0] == pytest.approx(one.step_time_s, rel=1e-12)


def test_plans_are_ranked_and_all_there(small: Planning) -> None:
    worst = [one.step_time_s + one.parts.hidden_communication_s for one in small.plans]
    assert worst == sorted(worst)
    assert len(small.plans) == small.layouts_fitting < small.layouts_considered
    assert len({layout_of(one) for one in small.plans}) == len(small.plans)


def test_the_enumeration_is_what_a_plain_search_finds(small: Planning) -> None:
    """Every layout of a small machine, one by one, with memory asked each time instead of by bisection."""
    where = machine(A100, 16)
    found = set()
    for t in (1, 2, 4, 8):
        for p in (1, 2, 4, 8):
            if 16 % (t * p):
                continue
            d = 16 // t // p
            for b in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512):
                if (512 // d) % b:
                    continue
                for v in (1, 2, 3, 4, 6, 8, 12, 24) if p > 1 else (1,):
                    if SMALL.n_layers % (p * v) or (v > 1 and 512 // d // b % p):
                        continue
                    for z in (0,) if d == 1 else (0, 1) if p > 1 else (0, 1, 2, 3):
                        for norms in (False, True) if t > 1 else (False,):
                            for again in ("none", "selective", "full"):
                                layout = Layout(
                                    zero_stage=z,
                                    data_parallel_size=d,
                                    tensor_parallel_size=t,
                                    pipeline_parallel_size=p,
                                    interleave=v,
                                    sequence_parallel=norms,
                                    micro_batch_size=b,
                                    recompute=again,
                                )
                                counted, at_work = needed_bytes(SMALL, layout, 2048)
                                if counted.total + at_work <= usable_bytes(where):
                                    found.add(layout)
    assert {layout_of(one) for one in small.plans} == found


def test_alternatives_say_how_much_slower(small: Planning) -> None:
    first = small.plans[0]
    best = first.step_time_s + first.parts.hidden_communication_s
    for each in small.alternatives:
        same = [one for one in small.plans if getattr(one, each.field) == each.value]
        if each.step_time_s is None:
            assert not same
            continue
        fastest = min(one.step_time_s + one.parts.hidden_communication_s for one in same)
        assert each.slower_percent == pytest.approx(100 * (fastest / best - 1))
        assert each.slower_percent >= 0
        assert each.value != getattr(first, each.field)
    assert {each.field for each in small.alternatives} >= {"tensor_parallel_size", "recompute", "zero_stage"}


def test_what_was_dropped_is_counted(gpt3: Planning) -> None:
    by_memory = [each for each in gpt3.dropped if each.what == "layouts"]
    assert [each.count for each in by_memory] == [gpt3.layouts_considered - gpt3.layouts_fitting]
    assert any("layers" in each.reason for each in gpt3.dropped)
    # 8 devices: 1, 2, 4 and 8 are asked of 25 heads, and 2, 4, 8 refused with the 3 + 2 + 1 ways to go on
    found = enumerate_layouts(presets.architecture("gpt2-1.5b"), machine(A100, 8), 8, 1024)
    assert found.dropped["heads"] == 6


GPT_KERNELS = [step for step in measured_steps() if step.role in ("calibration", "held_out")]


@pytest.mark.parametrize("step", GPT_KERNELS, ids=lambda step: step.name)
def test_what_was_run_fits(step: Any) -> None:
    """With the margin; those of LLM Foundry have a flash kernel, which does not store what `none` counts."""
    where = machine_of(step.accelerator, step.accelerators, step.layout.precision, 8, step.node_bandwidth_bytes_per_s)
    layout = step.layout
    counted, at_work = needed_bytes(step.architecture, layout, step.sequence_length)
    assert counted.total + at_work <= usable_bytes(where)


def test_practice_and_other_kinds_are_what_they_say() -> None:
    found = calibration()
    others = practice(found)
    low, high = (others.shift + z * others.sigma for z in (-1.645, 1.645))
    assert all(low <= -ratio <= high for ratio in found.practice.values())  # of these very teams
    assert found.efficiency and "Megatron-LM 2021" not in found.practice
    assert 0.15 < other_kind_sigma(found) < 0.25
    assert sum(pair.needs <= carried_sigma(similar_pairs(found)) for pair in similar_pairs(found)) >= 18


def test_another_kind_of_accelerator_is_wider_and_said(gpt3: Planning) -> None:
    h100 = plan(presets.architecture("gpt3-175b"), presets.cluster("h100-512"), 1536, 2048)
    ours, theirs = gpt3.utilisation.mfu, h100.utilisation.mfu
    assert (theirs.high / theirs.low) > 1.3 * (ours.high / ours.low)
    assert any("h100-sxm-80gb is outside the calibration" in warning for warning in h100.warnings)
    assert [warning.split(" is outside")[0] for warning in gpt3.warnings] == [
        "recompute selective",
        "sequence parallelism",
    ]
    assert ours.median == pytest.approx(gpt3.plans[0].mfu * math.exp(practice(calibration()).shift))
    draws = ours.draws(100_000, seed=1)
    assert np.quantile(draws, [0.05, 0.5, 0.95]) == pytest.approx([ours.low, ours.median, ours.high], rel=0.01)


def own_run(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "device_type": "cuda",
        "device_name": "NVIDIA A100-SXM4-80GB",
        "n_devices": 8,
        "data_parallel_size": 8,
        "tokens": 10 * 512 * 2048,
        "precision": "bf16",
        "architecture": SMALL,
        "flops": flop_ledger(SMALL, 1_000_000, 2048),
        "peak": Peak(flop_per_s=8 * 312e12, source="a100-sxm-80gb, bf16"),
        "mfu": 0.4,
        "hfu": 0.4,
    }
    return run_record(**(values | changes))


def test_a_measured_mfu_replaces_the_prior() -> None:
    found = plan(SMALL, A100, 512, 2048, count=16, run=own_run())
    first = found.plans[0]
    assert found.utilisation.kind == "own_run"
    half = plan(SMALL, A100, 512, 2048, count=16, run=own_run(mfu=0.2, hfu=0.2))
    assert half.utilisation.mfu.median == pytest.approx(found.utilisation.mfu.median / 2)
    own = predicted_hfu(own_run(), A100, A100.accelerator)
    assert found.utilisation.mfu.median == pytest.approx(0.4 * first.mfu / own)
    assert any("replaces the published runs'" in warning for warning in found.warnings)
    without_hfu = plan(SMALL, A100, 512, 2048, count=16, run=own_run(hfu=None))
    assert without_hfu.utilisation == found.utilisation  # without recompute the two are one


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device_type": "cpu"}, "it was on a CPU"),
        ({"device_name": "NVIDIA H100 80GB HBM3"}, "it was on h100-sxm-80gb, and the cluster has a100-sxm-80gb"),
        ({"device_name": "NVIDIA A100 80GB PCIe"}, "it was on a100-pcie-80gb"),
        ({"device_name": "Some Card"}, "it has no MFU below 1 of a known accelerator"),
        ({"mfu": None, "hfu": None}, "it has no MFU below 1 of a known accelerator"),
        ({"mfu": 1.2, "hfu": 1.2}, "it has no MFU below 1 of a known accelerator"),
        ({"precision": "fp32"}, "it trained in fp32"),
        ({"n_devices": 2}, "its 2 devices are more than a factor of 4"),
        ({"architecture": presets.architecture("pythia-70m")}, "parameters are more than a factor of 4"),
    ],
)
def test_a_run_that_says_nothing_is_not_used_and_that_is_said(changes: dict[str, Any], reason: str) -> None:
    without = plan(SMALL, A100, 512, 2048, count=16)
    found = plan(SMALL, A100, 512, 2048, count=16, run=own_run(**changes))
    assert found.utilisation.mfu == without.utilisation.mfu
    assert any(reason in warning for warning in found.utilisation.warnings), found.utilisation.warnings


@pytest.mark.parametrize(
    ("cluster", "count", "batch", "length", "message"),
    [
        ("v100-10000", None, 1600, 2048, "is divided by no number of copies .*give a multiple of 625"),
        ("a100-1024", 8, 1536, 2048, r"nearest miss .*8 × 1 × 1.* needs 350,668,218,368 bytes, 278,668,218,368 more"),
        ("a100-1024", 12, 1536, 2048, "12 accelerators do not fill nodes of 8"),
        ("a100-1024", None, 1536, 4096, "4096 is beyond the 2048 learned positions"),
        ("a100-1024", None, 0, 2048, "a batch of 0 sequences"),
    ],
)
def test_bad_input_is_one_line(cluster: str, count: int | None, batch: int, length: int, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as error:
        plan(presets.architecture("gpt3-175b"), presets.cluster(cluster), batch, length, count=count)
    assert "\n" not in str(error.value)

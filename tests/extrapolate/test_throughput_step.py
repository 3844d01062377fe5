"""Seconds of a step: equality with closed forms and published counts, and what must not happen when a rate changes."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounting.accelerators import Accelerator, PeakFlopPerS
from accounting.memory import Layout
from configs import presets
from configs.errors import BadInputError
from configs.throughput import measured_steps, parse_steps
from extrapolate.calibration import calibration, fit, predicted_step_s
from extrapolate.step_time import LINK_EFFICIENCY, Efficiency, Machine, columns, machine, machine_of, step_parts

GPT3 = presets.architecture("gpt3-175b")
A100 = presets.accelerator("a100-sxm-80gb")
FITTED = Efficiency(matmul=0.67, activation_traffic=6.6)


def nodes(count: int = 1024) -> Machine:
    return machine_of(A100, count, "bf16", 8, 200e9)


def parts(layout: Layout, batch: int = 1536, where: Machine | None = None, fitted: Efficiency = FITTED) -> Any:
    found = step_parts(GPT3, where or nodes(layout.devices), columns([layout]), batch, 2048, fitted)
    return found._make(float(column[0]) for column in found)


def total(layout: Layout, batch: int = 1536, where: Machine | None = None) -> float:
    return float(sum(parts(layout, batch, where)[:-1]))


def layouts() -> st.SearchStrategy[Layout]:
    return st.builds(
        Layout,
        zero_stage=st.sampled_from([0, 1]),
        data_parallel_size=st.sampled_from([1, 2, 8]),
        tensor_parallel_size=st.sampled_from([1, 2, 4, 8]),
        pipeline_parallel_size=st.sampled_from([1, 2, 8]),
        sequence_parallel=st.booleans(),
        micro_batch_size=st.sampled_from([1, 2, 4]),
        recompute=st.sampled_from(["none", "selective", "full"]),
    )


@pytest.mark.parametrize("step", [s for s in measured_steps() if s.role == "calibration"], ids=lambda step: step.name)
def test_the_table_s_flop_are_equation_3(step: Any) -> None:
    a = step.architecture
    B, L, s, h, V = step.sequences, a.n_layers, step.sequence_length, a.d_model, a.padded_vocab_size
    equation_3 = 96 * B * s * L * h * h * (1 + s / (6 * h) + V / (16 * L * h))
    assert step.ledger.hardware_flop == pytest.approx(equation_3, rel=1e-12)
    assert step.hardware_flop_per_s * step.step_s * step.accelerators == pytest.approx(equation_3)


@pytest.mark.parametrize(("stages", "chunks"), [(2, 1), (8, 1), (8, 3), (32, 3)])
def test_equal_stages_have_the_bubble_of_the_literature(stages: int, chunks: int) -> None:
    """(p − 1)/(n·v) of the ideal time; without a head to make the last stage longer and without sends."""
    headless = GPT3.model_copy(update={"vocab_size": 1, "padded_vocab_size": 1})
    layout = Layout(pipeline_parallel_size=stages, interleave=chunks, data_parallel_size=4)
    where = replace(nodes(layout.devices), node_bytes_per_s=math.inf, link_bytes_per_s=math.inf)
    found = step_parts(headless, where, columns([layout]), 1536, 2048, FITTED)
    n = 1536 // 4
    ideal = found.matmul[0] + found.elementwise[0]
    assert found.pipeline_bubble[0] / ideal == pytest.approx((stages - 1) / (n * chunks), rel=1e-4)


def test_matmuls_are_the_ledgers_flop_at_the_calibrated_share() -> None:
    step = next(s for s in measured_steps() if s.name == "narayanan-18.4b")  # no pipeline: every device does the same
    where = machine_of(step.accelerator, step.accelerators, "fp16", 8, 200e9)
    found = step_parts(step.architecture, where, columns([step.layout]), step.sequences, 2048, FITTED)
    expected = step.ledger.hardware_flop / (0.67 * 312e12 * step.accelerators)
    assert found.matmul[0] == pytest.approx(expected, rel=1e-12)


def test_tensor_parallel_sums_are_those_of_a_ring() -> None:
    layout = Layout(tensor_parallel_size=8, data_parallel_size=2, recompute="full", micro_batch_size=2)
    bytes_each = 2 * 2048 * 12288 * 2
    rows = 1536 // 2 // 2
    ring = 2 * 7 / 8 * bytes_each / (300e9 * LINK_EFFICIENCY)
    assert parts(layout).tensor_parallel == pytest.approx(96 * 6 * rows * ring)
    assert parts(layout.model_copy(update={"recompute": "none"})).tensor_parallel == pytest.approx(96 * 4 * rows * ring)


def test_beyond_the_node_tensor_parallelism_waits_for_the_adapters() -> None:
    inside, outside = (parts(Layout(tensor_parallel_size=t, data_parallel_size=32 // t)) for t in (8, 16))
    assert outside.tensor_parallel > 5 * inside.tensor_parallel


def test_data_parallel_bytes_by_zero_stage() -> None:
    base = {"tensor_parallel_size": 8, "data_parallel_size": 128, "micro_batch_size": 12}
    once = [parts(Layout(**base, zero_stage=z)) for z in (0, 1, 2, 3)]
    assert once[0].data_parallel == once[1].data_parallel > 0
    moved = [one.data_parallel + one.hidden for one in once]
    assert moved[2] == pytest.approx(moved[1])  # one micro-batch: the same bytes at other times
    assert moved[3] == pytest.approx(1.5 * moved[1])
    assert once[3].optimizer == pytest.approx(once[0].optimizer / 128)


@settings(max_examples=40, deadline=None)
@given(layout=layouts(), factor=st.floats(1, 10))
def test_more_of_anything_is_never_slower(layout: Layout, factor: float) -> None:
    where = nodes(layout.devices)
    before = total(layout, where=where)
    for rate in ("peak_flop_per_s", "memory_bytes_per_s", "link_bytes_per_s", "node_bytes_per_s"):
        faster = replace(where, **{rate: getattr(where, rate) * factor})
        assert total(layout, where=faster) <= before * (1 + 1e-12)


@settings(max_examples=40, deadline=None)
@given(layout=layouts())
def test_parts_are_not_negative_and_recompute_is_not_free(layout: Layout) -> None:
    found = parts(layout)
    assert min(found) >= 0
    by_kind = [total(layout.model_copy(update={"recompute": kind})) for kind in ("none", "selective", "full")]
    assert by_kind == sorted(by_kind)
    if layout.pipeline_parallel_size == 1:
        assert found.pipeline_bubble == 0 == found.pipeline_sends
    assert total(layout, batch=3072) > total(layout)


def test_many_layouts_are_each_as_if_alone() -> None:
    mixed = [
        Layout(tensor_parallel_size=8, pipeline_parallel_size=8, data_parallel_size=16, interleave=3),
        Layout(tensor_parallel_size=4, data_parallel_size=256, zero_stage=3, micro_batch_size=2, recompute="full"),
        Layout(tensor_parallel_size=2, pipeline_parallel_size=16, data_parallel_size=32, sequence_parallel=True),
    ]
    together = step_parts(GPT3, nodes(), columns(mixed), 1536, 2048, FITTED)
    for at, layout in enumerate(mixed):
        assert [column[at] for column in together] == list(parts(layout))


def test_two_devices_of_one_module_are_two() -> None:
    found = machine_of(presets.accelerator("mi250x-128gb"), 4, "bf16", 4, 100e9)
    assert (found.devices, found.devices_per_node, found.memory_bytes) == (8, 8, 64_000_000_000)
    assert found.peak_flop_per_s == 383e12 / 2


@pytest.mark.parametrize(
    ("changes", "count", "message"),
    [
        ({"interconnect_bytes_per_s": None}, None, "some-card has no interconnect_bytes_per_s"),
        ({"peak_flop_per_s": PeakFlopPerS(fp32=1e12)}, None, "some-card has no bf16 peak"),
        ({}, 12, "12 accelerators do not fill nodes of 8; give a multiple"),
    ],
)
def test_a_machine_that_cannot_be_timed_is_refused(changes: dict[str, Any], count: int | None, message: str) -> None:
    card = Accelerator.model_validate(A100.model_dump() | {"name": "some-card"} | changes)
    cluster = presets.cluster("a100-1024").model_copy(update={"accelerator": card})
    with pytest.raises(BadInputError, match=f"^cluster a100-1024: {message}") as error:
        machine(cluster, count)
    assert "\n" not in str(error.value)


def test_every_cluster_can_be_timed() -> None:
    for name in presets.cluster_names():
        assert machine(presets.cluster(name)).devices == presets.cluster(name).count


def test_the_fit_finds_what_it_was_given() -> None:
    steps = [step for step in measured_steps() if step.role == "calibration"]
    truth = Efficiency(matmul=0.5, activation_traffic=9.0)
    found = fit([step._replace(step_s=predicted_step_s(step, truth)) for step in steps])
    assert found.matmul == pytest.approx(0.5, rel=1e-9)
    assert found.activation_traffic == pytest.approx(9.0, rel=1e-9)


def test_the_errors_are_those_that_the_page_prints() -> None:
    """Measured with the rows of configs/throughput.yaml: a change of the model that makes it worse is seen here."""
    found = calibration()
    assert found.efficiency.matmul == pytest.approx(0.6731, abs=5e-5)
    assert found.efficiency.activation_traffic == pytest.approx(6.652, abs=5e-4)
    errors = np.abs([row.error_percent for row in found.left_out])
    assert len(errors) == 10
    assert np.median(errors) < 2.9
    assert errors.max() < 5.8


def test_a_row_left_out_is_not_in_its_own_fit() -> None:
    found = calibration()
    steps = [row.step for row in found.left_out]
    for row in found.left_out[:3]:
        alone = fit([step for step in steps if step.name != row.step.name])
        assert row.predicted_step_s == predicted_step_s(row.step, alone)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sequences: 512", "sequences: 513", "a: sequences: 513 do not divide into the layout's micro-batches"),
        ("published: narayanan-1.7b", "published: nobody", "a: published: no row 'nobody' in configs/published.yaml"),
        ("sequences: 512", "sequences: 512, sequence: 1", "a: sequence: unknown key"),
        ("micro_batch_size", "micro_batch", "a: layout: micro_batch: unknown key"),
        ("role: held_out", "role: pair", "a: .*each of those needs it"),
        ("published: narayanan-1.7b", "model: gpt3-175b", "a: .*needs measured and accelerator"),
        ("runs:", "walks:", "must be a mapping of groups, each with a mapping of runs"),
    ],
)
def test_a_wrong_row_is_named(old: str, new: str, message: str) -> None:
    row = """
team:
  role: held_out
  accelerators_per_node: 8
  node_bandwidth_bytes_per_s: 2.0e+11
  source: this file
  runs:
    a: {published: narayanan-1.7b, sequences: 512, layout: {micro_batch_size: 16}}
"""
    assert len(parse_steps(row)) == 1
    with pytest.raises(BadInputError, match=message) as error:
        parse_steps(row.replace(old, new))
    assert str(error.value).startswith("configs/throughput.yaml: ")

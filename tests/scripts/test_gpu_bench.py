"""The GPU bench without a GPU: the same measurements of a tiny shape on the CPU, and what it says where none is."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accounting.memory import memory
from configs.errors import BadInputError
from configs.files import read_record, write_record
from scripts.bench import gpu, gpu_measure
from scripts.bench.gpu_page import page_text
from scripts.bench.gpu_record import Case, Device, GpuBench, LossGap, Outcome, Speed, Spread
from tests.distributed import run_distributed

ROOT = Path(__file__).parents[2]
TINY = {"model_type": "gpt2", "vocab_size": 512, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
H200 = Device(
    name="NVIDIA H200",
    memory_bytes=150_000_000_000,
    capability="9.0",
    driver=None,
    cuda=None,
    matmul_bf16_flop_per_s=7e14,
)
# Something with nanoGPT's interface: a table of logits by token.
NANOGPT = """
import torch
from dataclasses import dataclass
from torch import nn

@dataclass
class GPTConfig:
    block_size: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    bias: bool

class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.table = nn.Embedding(config.vocab_size, config.vocab_size)

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        return torch.optim.AdamW(self.parameters(), lr=learning_rate, betas=betas, weight_decay=weight_decay)

    def forward(self, ids, targets):
        logits = self.table(ids)
        return logits, nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
"""


def tiny(**changes: Any) -> Case:
    case = {
        "what": "training",
        "model": "tiny",
        "hf_config": TINY,
        "sequence_length": 32,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "precision": "fp32",
        "compiled": False,
        "warm_up_steps": 1,
        "steps": 5,
        "timed_s": 60.0,
        "device": "cpu",
        **changes,
    }
    return Case.model_validate(case)


def measured(case: Case) -> Speed:
    (speed,) = run_distributed(gpu_measure.speed, 1, case)
    assert isinstance(speed, Speed)
    return speed


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """One measurement as the bench does it, in a process of its own."""
    return gpu.run_case(tiny(precision="bf16"), tmp_path_factory.mktemp("ours") / "case", timeout_s=300)


def test_a_measurement_holds_together(ours: Outcome) -> None:
    """tokens/s × FLOP a token ÷ peak, with the FLOPs counted by hand."""
    assert (ours.status, ours.reason) == ("measured", None)
    speed = ours.speed
    assert speed is not None and speed.peak is not None and speed.mfu is not None
    d, layers, length, vocabulary = 32, 2, 32, 512
    matrices = layers * 12 * d * d + vocabulary * d  # the tied head multiplies once
    attention = 12 * layers * d * length
    parameters = matrices + 64 * d + layers * (9 + 4) * d + 2 * d  # positions, biases and norms, the last norm
    assert speed.parameters == parameters
    by_hand = {
        "model_exact": 6 * matrices + attention,
        "model_exact_causal": 6 * matrices + attention // 2,
        "six_nd": 6 * parameters,
    }
    assert speed.flop_per_token == by_hand
    assert speed.timed_steps == 5
    assert speed.tokens_per_s * speed.step_s.median == pytest.approx(2 * 2 * 32)
    for name, flop in by_hand.items():
        assert speed.mfu[name] == pytest.approx(2 * 2 * 32 / speed.step_s.median * flop / speed.peak.flop_per_s)
    assert 5.5 < speed.first_loss < 7  # about log 512: untrained
    assert (speed.allocated_bytes, speed.energy_j) == (None, None)  # not of a CPU
    assert speed.predicted.total == memory(ours.case.architecture, ours.case.layout, 32).total
    assert any("flash_attention" in name for name in speed.profile.attention)
    assert speed.profile.error is None


def test_the_spread_is_of_the_timed_steps() -> None:
    spread = Spread.of([4.0, 1.0, 2.0, 3.0, 10.0])
    assert (spread.minimum, spread.first_quartile, spread.median, spread.third_quartile, spread.maximum) == (
        1,
        2,
        3,
        4,
        10,
    )


def test_no_step_is_begun_after_the_time_is_up() -> None:
    assert measured(tiny(steps=1000, timed_s=0.0)).timed_steps == gpu_measure.FEWEST_STEPS


def test_nanogpts_model_is_the_checkouts(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(NANOGPT)
    speed = measured(tiny(what="nanogpt", directory=str(tmp_path)))
    assert speed.timed_steps == 5
    assert 6 < speed.first_loss < 8
    assert not speed.profile.attention  # which this one has not


def test_curves_of_two_precisions_start_from_the_same_weights_and_rows(tmp_path: Path) -> None:
    config = {**TINY, "bos_token_id": 0, "eos_token_id": 0}
    case = tiny(what="losses", hf_config=config, micro_batch_size=4, steps=40, directory=str(tmp_path))
    curves = {}
    for precision in ("fp32", "bf16"):
        (curves[precision],) = run_distributed(_few_losses, 1, case.model_copy(update={"precision": precision}))
    gap = LossGap.between({name: tuple(curve) for name, curve in curves.items()})
    assert gap.steps == 40
    assert abs(curves["fp32"][0] - curves["bf16"][0]) < 0.02
    assert curves["fp32"][-1] < curves["fp32"][0] - 0.5
    assert 0 < gap.mean <= gap.largest < 0.1
    assert gap.largest == max(abs(a - b) for a, b in zip(curves["fp32"], curves["bf16"], strict=True))
    assert gap.last_losses["bf16"] == pytest.approx(sum(curves["bf16"][-4:]) / 4)


def _few_losses(case: Case) -> list[float]:
    gpu_measure.DOCUMENTS = 1000  # in this process alone
    return gpu_measure.losses(case)


@pytest.mark.parametrize(
    ("case", "timeout_s", "status", "words"),
    [
        (tiny(hf_config={**TINY, "n_head": 5}), 300, "failed", "5"),
        (tiny(), 0.2, "timed_out", "not done after 0 s"),
    ],
)
def test_what_goes_wrong_is_an_outcome(case: Case, timeout_s: float, status: str, words: str, tmp_path: Path) -> None:
    outcome = gpu.run_case(case, tmp_path / "case", timeout_s)
    assert outcome.status == status
    assert outcome.reason is not None and words in outcome.reason
    assert outcome.speed is None and outcome.losses is None


def test_a_case_out_of_memory_is_tried_with_half_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_case(case: Case, directory: Path, timeout_s: float) -> Outcome:
        fits = case.micro_batch_size <= 2
        status = "measured" if fits else "out_of_memory"
        return Outcome.model_validate({"case": case, "status": status, "took_s": 0})

    monkeypatch.setattr(gpu, "run_case", run_case)
    outcomes = list(gpu.run_all([tiny(micro_batch_size=8), tiny(model="next")], tmp_path, budget_s=1e6))
    assert [o.case.micro_batch_size for o in outcomes] == [8, 4, 2, 2]
    assert [o.status for o in outcomes] == ["out_of_memory"] * 2 + ["measured"] * 2
    assert outcomes[-1].case.model == "next"


def test_without_time_left_the_rest_is_skipped_and_says_so(tmp_path: Path) -> None:
    outcomes = list(gpu.run_all([tiny(), tiny()], tmp_path, budget_s=gpu.SHORTEST_S - 1))
    assert [o.status for o in outcomes] == ["skipped", "skipped"]
    assert all(o.reason and "of the budget of 19 s were left" in o.reason for o in outcomes)


@given(st.integers(10, 400), st.sampled_from(list(gpu.MODELS)))
def test_the_micro_batch_is_the_largest_power_of_two_that_fits(gigabytes: int, model: str) -> None:
    device = H200.model_copy(update={"memory_bytes": gigabytes * 10**9})
    case = next(c for c in gpu.plan(H200, None, Path("corpus")) if c.model == model)
    try:
        rows = gpu.largest_micro_batch(case, device.memory_bytes)
    except BadInputError:
        rows = 0
    assert rows & (rows - 1) == 0
    predicted = [
        memory(case.architecture, case.layout.model_copy(update={"micro_batch_size": n}), case.sequence_length)
        for n in (max(rows, 1), 2 * max(rows, 1))
    ]
    # between what is counted and four times it
    if rows:
        assert predicted[0].total < 0.9 * device.memory_bytes
    assert rows >= gpu.LARGEST_MICRO_BATCH or 4 * predicted[1].total > 0.9 * device.memory_bytes


def test_the_plan_has_the_three_sizes_eager_and_compiled_and_nanogpt_on_the_same_rows() -> None:
    cases = gpu.plan(H200, Path("nanogpt"), Path("corpus"))
    millions = {"gpt2-124m": 124, "gpt2-355m": 355, "gpt3-1.3b": 1316}
    for (model, size), compiled in itertools.product(millions.items(), (True, False)):
        (case,) = [c for c in cases if (c.what, c.model, c.compiled) == ("training", model, compiled)]
        assert round(case.architecture.parameter_counts().total / 1e6) == size
        (theirs,) = [c for c in cases if (c.what, c.model) == ("nanogpt", model)]
        assert theirs.tokens_per_step == case.tokens_per_step
        assert theirs.architecture.padded_vocab_size == 50304
        assert (
            theirs.architecture.model_copy(update={"padded_vocab_size": 50257, "vocab_size": 50257})
            == case.architecture
        )
    assert [c.precision for c in cases if c.what == "losses"] == ["bf16", "fp32"]
    assert not [c for c in gpu.plan(H200, None, Path("corpus")) if c.what == "nanogpt"]


def record(ours: Outcome) -> GpuBench:
    skipped = Outcome(case=tiny(model="other"), status="skipped", reason="3 s of the budget | were left", took_s=0)
    return GpuBench(
        created="2026-01-01T00:00:00+00:00",
        commit="0123456789abcdef",
        dirty=True,
        nanogpt_commit=None,
        versions={"torch": "2.13.0", "triton": None},
        device=H200,
        budget_s=460,
        took_s=12.3,
        outcomes=(ours, skipped),
        loss_gap=LossGap.between({"fp32": (3.0, 2.0), "bf16": (3.25, 2.125)}),
    )


def test_the_record_comes_back_and_the_page_shows_it(ours: Outcome, tmp_path: Path) -> None:
    written = record(ours)
    write_record(tmp_path / "gpu.json", written)
    assert read_record(tmp_path / "gpu.json", GpuBench) == written
    assert json.loads((tmp_path / "gpu.json").read_text())["schema"] == "replibench.gpu-bench/1"
    text, speed = page_text(written), ours.speed
    assert speed is not None and speed.mfu is not None
    row = next(line for line in text.split("\n") if line.startswith("| tiny ours, eager | 2 × 2 × 32"))
    assert f"| {speed.tokens_per_s:,.0f} |" in row
    assert f"| {100 * speed.mfu['model_exact']:.1f} % |" in row
    assert "| other ours, eager | skipped | 3 s of the budget \\| were left |" in text
    assert "NVIDIA H200" in text and "0123456789ab` with changes" in text and "torch 2.13.0" in text
    assert "0.1875 nats per token in the mean and 0.2500 at most" in text
    for block in text.split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_the_page_has_a_place_for_the_figures(ours: Outcome) -> None:
    page = gpu.PAGE.read_text(encoding="utf-8")
    once = gpu.updated(page, record(ours))
    assert page_text(record(ours)) in once
    assert gpu.updated(once, record(ours)) == once


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "torch sees no GPU here"),
        (("--nanogpt", "nowhere"), "--nanogpt nowhere: has no model.py"),
        (("--render", "nowhere.json"), "nowhere.json: no such file"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    if not arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "scripts.bench.gpu", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not list(tmp_path.iterdir())

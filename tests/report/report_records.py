"""A realistic run directory, built from the records alone: what a run of the default suite would leave behind."""

import functools
import json
import math
from pathlib import Path
from typing import Any

from accounting.architecture import Architecture
from accounting.flops import flop_ledger
from configs.files import Record, write_record
from configs.forecast import ForecastConfig
from eval.calibration import Calibration, CalibrationRun, calibrate
from eval.verdict import (
    CLUSTERED,
    NO_COUNTS,
    PAIRED,
    SEEDS,
    BenchmarkVerdict,
    EvaluatedModel,
    EvidenceLayer,
    HeldOutLoss,
    IdentityDifference,
    LiteralLayer,
    MacroMean,
    ReplicaAlone,
    Verdict,
    Worst,
)
from extrapolate.cost import CostUsd
from extrapolate.distributions import Quantiles
from extrapolate.forecast import Days, Forecast
from extrapolate.forecast import forecast as made_forecast
from train.record import CorpusFacts, Identity, Manifest, Peak, ReferenceFacts, RunRecord, StepTime
from train.record import HeldOutLoss as MeasuredLoss

HOSTILE = "<img src=x onerror=alert(1)>|[b](http://evil.example)\x1b[31m</script>"
STEPS, ROWS, LENGTH = 2500, 16, 64

# name, items, original right, replica right, low, high, status
BENCHMARKS = (
    ("agreement", 3000, 2981, 2977, -0.55, 0.28, "replicated"),
    ("last_word", 2000, 1998, 2000, -0.05, 0.31, "replicated"),
    ("tool_use", 1800, 1771, 1765, -1.21, 0.55, "replicated"),
    ("pronoun", 1600, 1600, 1598, -0.41, 0.1, "replicated"),
    ("compare", 1500, 1463, 1441, -2.31, -0.62, "consistent"),
    ("facts", 6408, 5361, 5259, -2.6, -0.58, "consistent"),
    ("next_event", 2400, 2391, 2395, -0.11, 0.46, "replicated"),
)

NEOX = Architecture(
    family="gpt_neox", n_layers=3, d_model=96, n_heads=4, n_kv_heads=4, d_head=24, d_ff=384, vocab_size=512,
    context=64, positions="rotary",
)  # fmt: skip
GPT3 = Architecture(
    family="gpt2", n_layers=96, d_model=12288, n_heads=96, n_kv_heads=96, d_head=128, d_ff=49152, vocab_size=50257,
    context=2048, positions="learned", tied_head=True,
)  # fmt: skip


def benchmark(row: tuple[str, int, int, int, float, float, Any], **more: Any) -> BenchmarkVerdict:
    """One benchmark from a row of `BENCHMARKS`; `more` replaces what is made up or follows from the row."""
    name, items, original, replica, low, high, status = row
    clustered = name == "facts"
    facts: dict[str, Any] = {
        "name": name,
        "metric": "acc",
        "shots": 0,
        "n": items,
        "original": original / items,
        "replica": replica / items,
        "original_correct": original,
        "replica_correct": replica,
        "difference_pp": 100 * (replica - original) / items,
        "within": abs(replica - original) * 100 <= 2 * items,
        "ci90_pp": (low, high),
        "paired": True,
        "method": CLUSTERED if clustered else PAIRED,
        "n_units": items // 3 if clustered else items,
        "original_only_correct": 30,
        "replica_only_correct": 30 + replica - original if replica > original else 12,
        "chance": 0.5,
        "above_chance": True,
        "p_equivalence": 0.0004 if status == "replicated" else 0.087,
        "p_beyond_margin": 0.913,
        "evidence": status,
        "items_needed": 9412 if status == "consistent" and not clustered else None,
        "units_needed": 2950 if status == "consistent" and clustered else None,
    }
    return BenchmarkVerdict(**{**facts, **more})


LITERAL_PASS = LiteralLayer(
    verdict="pass",
    every_benchmark=True,
    mean_absolute_pp=0.5614,
    within_mean_absolute=True,
    absolute_mean_pp=0.4853,
    within_absolute_mean=True,
    worst=Worst(benchmark="facts", difference_pp=-1.5918),
)
LITERAL_FAIL = LiteralLayer(
    verdict="fail",
    every_benchmark=False,
    mean_absolute_pp=4.4107,
    within_mean_absolute=False,
    absolute_mean_pp=4.1412,
    within_absolute_mean=False,
    worst=Worst(benchmark="facts", difference_pp=-27.1848),
)


def passing_verdict(**more: Any) -> Verdict:
    """Literal pass, evidence consistent: one benchmark has too few items, one too few units."""
    facts: dict[str, Any] = {
        "original": EvaluatedModel(path="eval/original", model_name="tiny-neox-original"),
        "replicas": (EvaluatedModel(path="eval/replica", model_name="tiny-neox-replica"),),
        "literal": LITERAL_PASS,
        "evidence": EvidenceLayer(
            verdict="consistent",
            reason="within 2 points, but equivalence is not shown: compare, facts",
            macro_mean=MacroMean(
                difference_pp=-0.4853, ci90_pp=(-0.7911, -0.1788), equivalent=True, method="paired, normal"
            ),
        ),
        "benchmarks": tuple(benchmark(row) for row in BENCHMARKS),
        "mechanism": "replication",
        "mechanism_reason": "from random initialisation, the reference's architecture, tokenizer and recipe",
        "only_original": ("sums",),
        "warnings": ("eval/original: not evaluated for all, so not compared: sums",),
        "held_out_loss": HeldOutLoss(original=0.8125, replica=0.8229, tolerance=0.0143, passes=True),
    }
    return Verdict(**{**facts, **more})


def failing_verdict() -> Verdict:
    """Literal fail on one benchmark, with a difference shown, and hostile names."""
    rows = (*BENCHMARKS[:5], ("facts", 6408, 5361, 3619, -28.34, -26.02, "not_replicated"),
            (HOSTILE, 240, 131, 133, -4.9, 6.57, "inconclusive"))  # fmt: skip
    return passing_verdict(
        literal=LITERAL_FAIL,
        evidence=EvidenceLayer(verdict="not_replicated", reason="a difference of more than 2 points is shown: facts"),
        benchmarks=tuple(benchmark(row) for row in rows),
        mechanism="not a replication",
        mechanism_reason="the scores are further apart than the criterion allows (worst benchmark facts)",
        held_out_loss=HeldOutLoss(original=0.8125, replica=0.8581, tolerance=0.0143, passes=False),
    )


def recipe_verdict() -> Verdict:
    """Three replicas of one recipe against an original with a control; one replica fails by itself."""
    spreads = (0.21, 0.14, 0.48, 0.09, 0.77, 1.62, 0.2)
    wider = ((-0.71, 0.44), (-0.31, 0.51), (-1.6, 0.93), (-0.62, 0.37), (-3.11, 0.18), (-4.72, 1.54), (-0.4, 0.73))
    rows = tuple(
        benchmark(
            row,
            ci90_pp=interval,
            seed_sd_pp=spread,
            method=SEEDS,
            original_correct=None,
            replica_correct=None,
            n_units=None,
            original_only_correct=None,
            replica_only_correct=None,
            items_needed=None,
            units_needed=None,
        )
        for row, spread, interval in zip(BENCHMARKS, spreads, wider, strict=True)
    )
    alone = tuple(
        ReplicaAlone(
            path=f"runs/seed{seed}/eval/replica",
            model_name="tiny-neox-replica",
            literal="pass" if worst > -2 else "fail",
            evidence="consistent" if worst > -2 else "inconclusive",
            worst=Worst(benchmark="facts", difference_pp=worst),
            differences_pp={row.name: worst if row.name == "facts" else row.difference_pp for row in rows},
        )
        for seed, worst in ((1, -0.8895), (2, -0.6242), (3, -3.2616))
    )
    return passing_verdict(
        benchmarks=rows,
        replicas=tuple(EvaluatedModel(path=each.path, model_name=each.model_name) for each in alone),
        controls=(EvaluatedModel(path="runs/control/eval/original", model_name="tiny-neox-original"),),
        each_replica=alone,
        metric_overrides={"facts": "acc_norm"},
        held_out_loss=None,
    )


def verdict_without_counts() -> Verdict:
    """Published scores without numbers of items: a literal verdict by another reading and threshold, no evidence."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("n", "ci90_pp", "n_units", "original_correct", "replica_correct", "original_only_correct",
         "replica_only_correct", "p_equivalence", "p_beyond_margin", "chance", "above_chance", "shots"),
    )  # fmt: skip
    rows = tuple(
        benchmark(row, **nothing, paired=False, method=NO_COUNTS, within=abs(row[3] - row[2]) * 100 <= 1.5 * row[1])
        for row in ((*row[:6], "inconclusive") for row in BENCHMARKS)
    )
    return passing_verdict(
        threshold_pp=1.5,
        literal=LITERAL_PASS.model_copy(update={"reading": "mean-absolute", "every_benchmark": False}),
        evidence=EvidenceLayer(
            verdict="inconclusive", reason="more than 1.5 points apart, though that is not shown to be real: facts"
        ),
        benchmarks=rows,
        mechanism="unknown",
        mechanism_reason="no manifest of a run was there",
        held_out_loss=None,
    )


def invalid_verdict() -> Verdict:
    """Two results that cannot be compared."""
    refusals = (
        "architectures are not identical: num_hidden_layers is 3 in the original and 2 in the replica",
        f"facts: different shots: 0 and {HOSTILE}",
    )
    return passing_verdict(
        literal=LiteralLayer(verdict="invalid"),
        evidence=EvidenceLayer(verdict="invalid", reason=refusals[0]),
        benchmarks=(),
        only_original=(),
        warnings=(),
        held_out_loss=None,
        identity_differences=(IdentityDifference(field="num_hidden_layers", reference="3", replica="2"),),
        refusals=refusals,
    )


def run_record(**more: Any) -> RunRecord:
    """A finished CPU run of the default suite."""
    tokens = STEPS * ROWS * LENGTH
    facts: dict[str, Any] = {
        "name": "tiny-neox",
        "finished": True,
        "steps": STEPS,
        "tokens": tokens,
        "predicted_tokens": 2_498_611,
        "loss": 0.79312,
        "export_logit_difference": 3.2e-6,
        "held_out_loss": MeasuredLoss(replica=0.8229, original=0.8125, tokens=118_422),
        "architecture": NEOX,
        "flops": flop_ledger(NEOX, tokens, LENGTH),
        "device_type": "cpu",
        "device_name": "AMD EPYC 7B13",
        "n_devices": 1,
        "data_parallel_size": 1,
        "tensor_parallel_size": 1,
        "zero_stage": 0,
        "precision": "fp32",
        "wall_clock_s": 171.4,
        "device_s": 171.4,
        "time": StepTime(
            start_up_s=4.1, data_s=1.32, forward_backward_s=118.7, optimizer_s=30.25, checkpoint_s=2.9,
            evaluation_s=9.6, other_s=4.53,
        ),
        "step_time_median_s": 0.05893,
        "tokens_per_s": 17376.5,
        "peak": Peak(flop_per_s=9.87e10, source="measured matmul, 1024×1024, fp32, one thread"),
        "mfu": 0.4627,
        "peak_memory_bytes": 1_214_287_872,
        "restarts": 1,
        "lost_steps": 37,
    }  # fmt: skip
    return RunRecord(**{**facts, **more})


def manifest(**more: Any) -> Manifest:
    """Provenance of that run."""
    facts: dict[str, Any] = {
        "created": "2026-03-02T10:11:12Z",
        "name": "tiny-neox",
        "code": {"version": "0.1.0", "commit": "4f0c2d7e8a9b", "dirty": False},
        "versions": {"python": "3.11.9", "torch": "2.13.0", "deepspeed": "0.19.1", "transformers": "5.17.0"},
        "machine": {"processor": "AMD EPYC 7B13", "cores": 2, "memory_bytes": 8_589_934_592, "accelerators": []},
        "seeds": {"init": 1, "data": 2},
        "training_config_sha256": "c0" * 32,
        "tokenizer_sha256": "7e" * 32,
        "corpus": CorpusFacts(
            source="tinyworld, seed 0", sha256="c1" * 32, documents=61_200, rows=40_000, sequence_length=LENGTH,
            tokens=2_498_611, positions=2_560_000, held_out_tokens=118_422, held_out_sha256="4e" * 32,
        ),
        "reference": ReferenceFacts(
            source="runs/original/replica", revision=None,
            sha256={"config.json": "aa" * 32, "tokenizer.json": "7e" * 32, "model.safetensors": "bb" * 32},
        ),
        "identity": Identity(identical=True),
    }  # fmt: skip
    return Manifest(**{**facts, **more})


@functools.cache
def _forecast() -> Forecast:
    return made_forecast(ForecastConfig(samples=1_000, price_date="2022-01"), (run_record(),))


def forecast(**more: Any) -> Forecast:
    """GPT-3 on 1,024 A100s with that run, its results pinned to numbers that are easy to find."""
    nothing = Quantiles(p5=0.0, median=0.0, mean=0.0, p95=0.0)
    total = Quantiles(p5=1_384_000.0, median=3_991_000.0, mean=4_782_000.0, p95=11_240_000.0)
    pinned: dict[str, Any] = {
        "accelerator_hours": Quantiles(mean=884_000.0, median=848_211.0, p5=611_040.0, p95=1_271_033.0),
        "wall_clock_days": Days(ideal=21.37, mean=35.97, median=34.51, p5=24.86, p95=51.72, coverage=0.9),
        "cost_usd": CostUsd(
            compute=Quantiles(mean=1_994_100.0, median=1_802_000.0, p5=820_400.0, p95=3_944_000.0),
            staff=Quantiles(mean=2_500_000.0, median=2_100_000.0, p5=812_000.0, p95=5_500_000.0),
            dataset=nothing, total=total, to_pay=total,
        ),
    }  # fmt: skip
    return _forecast().model_copy(update={**pinned, **more})


def calibration() -> Calibration:
    """Four good seeds and two half-trained runs on two benchmarks."""
    scores = (
        ("good", ((1370, 1402), (995, 1000), 0.8125)),
        ("good", ((1351, 1402), (996, 1000), 0.8160)),
        ("good", ((1352, 1402), (999, 1000), 0.8229)),
        ("good", ((1338, 1402), (998, 1000), 0.8172)),
        ("half-trained", ((806, 1402), (990, 1000), 0.8490)),
        ("half-trained", ((772, 1402), (999, 1000), 0.8580)),
    )
    return calibrate(
        [
            CalibrationRun(label=f"{recipe}-{seed}", recipe=recipe, seed=seed, held_out_loss=loss,
                           scores={"facts": facts, "agreement": other})
            for seed, (recipe, (facts, other, loss)) in enumerate(scores)
        ]
    )  # fmt: skip


def metric_lines(seed: int = 0) -> list[dict[str, float]]:
    """A loss that falls as losses do, with a little ripple that needs no random numbers."""
    lines = []
    for step in range(10, STEPS + 1, 10):
        ripple = 0.02 * math.sin(step * 1.7 + seed)
        lines.append(
            {
                "step": step,
                "tokens": step * ROWS * LENGTH,
                "loss": 0.78 + 5.4 * (step + seed) ** -0.62 + ripple,
                "learning_rate": 0.01 * (1 - step / STEPS),
                "grad_norm": 0.4 + ripple,
                "step_time_s": 0.0589 + ripple / 10,
                "tokens_per_s": ROWS * LENGTH / (0.0589 + ripple / 10),
                "elapsed_s": 4.1 + step * 0.066,
            }
        )
    return lines


def write_lines(path: Path, lines: list[dict[str, float]]) -> None:
    """Write metrics, one JSON object a line."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def write_run(directory: Path, **records: Record | None) -> Path:
    """Write a whole run directory; a record given as None is left out, one given replaces the default."""
    directory.mkdir(parents=True, exist_ok=True)
    defaults: dict[str, Record | None] = {
        "manifest": manifest(),
        "run": run_record(),
        "verdict": passing_verdict(),
        "forecast": forecast(),
        "calibration": calibration(),
    }
    for name, record in {**defaults, **records}.items():
        if record is not None:
            write_record(directory / f"{name}.json", record)
    (directory / "config.yaml").write_text("name: tiny-neox\ntraining:\n  steps: 2500\n", encoding="utf-8")
    write_lines(directory / "metrics.jsonl", metric_lines())
    write_lines(directory / "original_metrics.jsonl", metric_lines(seed=3))
    return directory

"""A run record of a small model on a CPU, to be changed by each test."""

from typing import Any

from accounting.flops import flop_ledger
from configs.presets import architecture
from train.record import Peak, RunRecord, StepTime


def run_record(**changes: Any) -> RunRecord:
    """Pythia 70M on a million tokens; `changes` are fields of the record."""
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

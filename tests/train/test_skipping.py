"""A loss or gradient that is not finite changes nothing, at any layout; too many in a row end the run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import WorkFailedError
from tests.distributed import run_distributed
from tests.train.tiny import losses, metrics, tiny_config
from train import engine as deepspeed_engine
from train import events, loop, trainer
from train.prepare import prepare_run

SHORT = ("train.steps=12", "train.checkpoint.every_steps=4", "train.checkpoint.keep_last=9")
DATA = {"documents": 1000, "held_out_documents": 20}
DP2 = ("train.data_parallel_size=2", "train.micro_batch_size=4")
LAYOUTS: dict[str, tuple[tuple[str, ...], str]] = {
    "ZeRO-0": ((*DP2, "train.zero_stage=0"), "gradient"),
    "ZeRO-0, tensor parallel": (("train.tensor_parallel_size=2", "train.zero_stage=0"), "shard"),
    "ZeRO-1": (DP2, "gradient"),
    "ZeRO-1, loss": (DP2, "loss"),
    "ZeRO-1, tensor parallel": (("train.tensor_parallel_size=2",), "shard"),
    "ZeRO-2, accumulation": (
        (DP2[0], "train.micro_batch_size=2", "train.gradient_accumulation_steps=2", "train.zero_stage=2"),
        "gradient",
    ),
    "ZeRO-3": ((*DP2, "train.zero_stage=3"), "loss"),
    "pipeline": (("train.pipeline_parallel_size=2", DP2[1], "train.gradient_accumulation_steps=2"), "shard"),
    "bf16": ((*DP2, "train.precision=bf16"), "gradient"),
    "fp16": ((*DP2, "train.precision=fp16"), "loss"),
}


def poison(module: Any, at: set[int], what: str, step: list[int]) -> None:
    """On the last rank, in the steps `at` (0-based): an infinite loss, or a NaN in the gradient behind a finite one."""
    if torch.distributed.get_rank() != torch.distributed.get_world_size() - 1:
        return

    def on_output(_: Any, __: Any, output: Any) -> Any:
        if step[0] in at and what == "loss":
            output.logits = output.logits * math.inf
        elif step[0] in at and what == "gradient":
            output.logits.register_hook(lambda gradient: gradient * math.nan)
        return output

    module.register_forward_hook(on_output)
    if what == "shard":  # one weight that this tensor-parallel rank, or stage, alone holds
        weight = next(p for n, p in module.named_parameters() if "attention.dense.weight" in n)
        weight.register_hook(lambda gradient: gradient * math.nan if step[0] in at else gradient)


def state_of(engine: Any) -> list[torch.Tensor]:
    """Weights and moments that this rank holds. (ZeRO-3's weights are the masters; the module's are passing copies.)"""
    inner = getattr(engine.optimizer, "optimizer", engine.optimizer)
    moments = [t for state in inner.state.values() for t in state.values() if torch.is_tensor(t)]
    masters = [p for group in inner.param_groups for p in group["params"]]
    weights = [] if engine.zero_optimization_stage() == 3 else engine.module.parameters()
    return [t.detach().clone() for t in [*weights, *masters, *moments]]


def train_poisoned(run_dir: Path, at: set[int], what: str) -> list[int]:
    """Train; the steps (1-based) that left every weight and moment of this rank as it was."""
    step, unchanged = [0], []
    start, take = deepspeed_engine.start, loop._step

    def start_poisoned(*arguments: Any, **named: Any) -> Any:
        engine = start(*arguments, **named)
        model = engine.module.stage.model if deepspeed_engine.is_pipeline(engine) else engine.module
        poison(model, at, what, step)
        return engine

    def take_watched(place: Any, train: Any, corpus: Any, progress: Any, stop: bool) -> Any:
        step[0] = progress.step
        before = state_of(place.engine)
        done = take(place, train, corpus, progress, stop)
        after = state_of(place.engine)
        if len(before) == len(after) and all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
            unchanged.append(progress.step + 1)
        return done

    deepspeed_engine.start, loop._step = start_poisoned, take_watched
    trainer.main(run_dir)
    return unchanged


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bad_step_is_skipped_on_all_ranks_and_training_goes_on(layout: str, tmp_path: Path) -> None:
    overrides, what = LAYOUTS[layout]
    config = tiny_config(tmp_path, "gpt_neox", *SHORT, *overrides, data=DATA)
    prepare_run(config, tmp_path / "run", lambda text: None)
    fp16 = config.train.precision == "fp16"
    bad = {7, 8}  # late enough that fp16's first overflows are over
    unchanged = run_distributed(train_poisoned, 2, tmp_path / "run", bad, what)
    assert unchanged[0] == unchanged[1]
    if not fp16:
        assert unchanged[0] == [8, 9]
    noted = [event.step for event in events.read(tmp_path / "run") if event.kind == "skipped_step"]
    assert noted == [8, 9]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["skipped_steps"] == len(unchanged[0])
    missing = [line["step"] for line in metrics(tmp_path / "run") if line["loss"] is None]
    assert missing == ([8, 9] if what == "loss" else [])
    assert losses(tmp_path / "run")[-1] < 6.3


def test_too_many_in_a_row_end_the_run_and_the_last_good_checkpoint_is_named(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "gpt_neox", *SHORT, "train.max_skipped_steps=2", data=DATA)
    prepare_run(config, tmp_path / "run", lambda text: None)
    with pytest.raises(RuntimeError, match=r"step 9: its loss is (inf|nan), the 3\. step in a row .*step-00000008"):
        run_distributed(train_poisoned, 1, tmp_path / "run", set(range(6, 12)), "loss")
    assert WorkFailedError.exit_code == 3
    assert [event.step for event in events.read(tmp_path / "run")] == [7, 8, 9]


def test_gradients_that_no_loss_scale_mends_end_the_run_too(tmp_path: Path) -> None:
    changes = ("train.steps=40", "train.precision=fp16", "train.max_skipped_steps=2")
    config = tiny_config(tmp_path, "gpt_neox", *SHORT, *changes, data=DATA)
    prepare_run(config, tmp_path / "run", lambda text: None)
    with pytest.raises(RuntimeError, match=r"its gradients are not finite, the 3\. step in a row .*step-000000\d\d"):
        run_distributed(train_poisoned, 1, tmp_path / "run", set(range(7, 40)), "gradient")
    kinds = [event.kind for event in events.read(tmp_path / "run") if event.step > 7]
    assert kinds == ["loss_scale"] * (len(kinds) - 3) + ["skipped_step"] * 3
    assert 10 < len(kinds) <= 20  # 2¹⁶ down to 1

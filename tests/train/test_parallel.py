"""Parallelism is right when the losses are equal to those of one process."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed import run_distributed, train_worker
from tests.train.tiny import losses, metrics, tiny_config, train_tiny
from train.prepare import prepare_run

LAYOUTS = {
    "tensor parallel": ("train.tensor_parallel_size=2",),
    "data parallel": ("train.data_parallel_size=2", "train.micro_batch_size=4"),
    "accumulation": ("train.micro_batch_size=2", "train.gradient_accumulation_steps=4"),
    "both": ("train.tensor_parallel_size=2", "train.data_parallel_size=2", "train.micro_batch_size=4"),
    "ZeRO-0": ("train.data_parallel_size=2", "train.micro_batch_size=4", "train.zero_stage=0"),
    "ZeRO-0, tensor parallel": ("train.tensor_parallel_size=2", "train.zero_stage=0"),
    "ZeRO-2": ("train.data_parallel_size=2", "train.micro_batch_size=4", "train.zero_stage=2"),
    "ZeRO-3": ("train.data_parallel_size=2", "train.micro_batch_size=4", "train.zero_stage=3"),
    "vocabulary parallel": ("train.tensor_parallel_size=2", "train.vocab_parallel_head=true"),
    "activation checkpointing": ("train.activation_checkpointing=true",),
    "pipeline": ("train.pipeline_parallel_size=2", "train.micro_batch_size=2", "train.gradient_accumulation_steps=4"),
    "offloaded": ("train.offload_optimizer=true", "train.data_parallel_size=2", "train.micro_batch_size=4"),
}
PIPELINE = ("train.pipeline_parallel_size=2", "train.data_parallel_size=2", "train.micro_batch_size=2")
# What a pipeline must go together with, at once.
LAYOUTS["pipeline with all"] = (
    *(*PIPELINE, "train.gradient_accumulation_steps=2"),
    *("train.activation_checkpointing=true", "train.offload_optimizer=true"),
)
CASES = [("gpt_neox", name) for name in LAYOUTS if name != "pipeline with all"]
CASES += [("gpt2", "pipeline with all")]
CASES += [("gpt2", "tensor parallel"), ("gpt2", "both"), ("gpt2", "ZeRO-3")]
CASES += [("llama", "tensor parallel"), ("llama", "activation checkpointing"), ("gpt2", "vocabulary parallel")]
CASES += [("opt", "data parallel")]  # with tensor parallelism it drifts apart over 50 steps: see test_gradients

# The gradient of a bias of the keys is 0 but for rounding, since softmax ignores it, and Adam makes steps of rounding.
# So it does of what a ReLU that is off lets through, in OPT.
NOISE = ("query_key_value.bias", "k_proj.bias", "fc1.weight", "fc1.bias")


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The run on one process, for each family."""
    runs = {}
    for family in ("gpt_neox", "gpt2", "llama", "opt"):
        directory = tmp_path_factory.mktemp(family)
        train_tiny(directory / "run", tiny_config(directory, family))
        runs[family] = directory / "run"
    return runs


@pytest.mark.parametrize(("family", "layout"), CASES)
def test_losses_and_weights_do_not_depend_on_the_layout(
    family: str, layout: str, one_process: dict[str, Path], tmp_path: Path
) -> None:
    train_tiny(tmp_path / "run", tiny_config(tmp_path, family, *LAYOUTS[layout]))
    expected = losses(one_process[family])
    assert len(expected) == 50
    assert expected[-1] < expected[0] - 1  # it learned something: equality of constants would prove nothing
    assert losses(tmp_path / "run") == pytest.approx(expected, abs=1e-5)
    norms = [[line["grad_norm"] for line in metrics(run)] for run in (tmp_path / "run", one_process[family])]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    assert norms[1][0] > 1 or family == "llama"  # before clipping
    ours, theirs = (load_file(run / "replica/model.safetensors") for run in (tmp_path / "run", one_process[family]))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        if not name.endswith(NOISE):
            torch.testing.assert_close(tensor, theirs[name], atol=2e-4, rtol=0, msg=name)


def test_a_vocabulary_that_does_not_divide_is_split_too(tmp_path: Path) -> None:
    """GPT-2's 50,257 is one. The export's check needs the whole logits."""
    shorter = ("architecture.vocab_size=513", "train.steps=3", *LAYOUTS["vocabulary parallel"])
    train_tiny(tmp_path / "run", tiny_config(tmp_path, "gpt_neox", *shorter))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["export_logit_difference"] < 1e-5


def _train_compiled(run_dir: Path) -> None:
    """As the worker does, but compiled down to autograd's graphs only: the C++ behind them takes minutes to build."""
    whole = torch.nn.Module.compile
    torch.nn.Module.compile = lambda module: whole(module, backend="aot_eager")  # type: ignore[method-assign]
    train_worker(run_dir)


def test_compiled_is_the_same_training(one_process: dict[str, Path], tmp_path: Path) -> None:
    prepare_run(tiny_config(tmp_path, "gpt_neox", "train.compile=true"), tmp_path / "run", lambda text: None)
    run_distributed(_train_compiled, 1, tmp_path / "run")
    assert losses(tmp_path / "run") == pytest.approx(losses(one_process["gpt_neox"]), abs=1e-5)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["time"]["compile_s"] > metrics(tmp_path / "run")[0]["step_time_s"]  # which it is no part of


def test_the_record_counts_positions_tokens_and_flops(one_process: dict[str, Path]) -> None:
    run = json.loads((one_process["gpt_neox"] / "run.json").read_text())
    facts = json.loads((one_process["gpt_neox"] / "data/facts.json").read_text())
    assert run["tokens"] == 50 * 8 * 32
    assert run["predicted_tokens"] == pytest.approx(run["tokens"] * facts["tokens"] / facts["positions"], rel=0.05)
    assert run["flops"]["tokens"] == run["tokens"]
    rate = run["flops"]["model_flop"] / run["tokens"] * run["tokens_per_s"]
    assert run["mfu"] == pytest.approx(rate / run["peak"]["flop_per_s"])
    assert 0 < run["mfu"] < 1
    split = run["time"]
    assert sum(seconds for seconds in split.values() if seconds) == pytest.approx(run["wall_clock_s"], rel=0.02)
    assert run["held_out_loss"]["replica"] < 6
    assert run["held_out_loss"]["original"] is None
    assert run["restarts"] == 0
    assert run["finished"]


@pytest.mark.parametrize("overrides", [(), ("train.data_parallel_size=2", "train.micro_batch_size=4")])
def test_bf16_learns_what_fp32_learns(overrides: tuple[str, ...], one_process: dict[str, Path], tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "gpt_neox", "train.precision=bf16", *overrides)
    train_tiny(tmp_path / "run", config)
    expected = losses(one_process["gpt_neox"])
    assert losses(tmp_path / "run") == pytest.approx(expected, abs=0.05)
    assert losses(tmp_path / "run") != expected
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["precision"] == "bf16"
    rates = [line["learning_rate"] for line in metrics(tmp_path / "run")]
    assert rates[2] == pytest.approx(3e-3)  # the schedule reaches the optimizer behind DeepSpeed's wrapper

"""A pipeline of stages is the whole model: cut in one process, and as DeepSpeed runs it (losses: test_parallel)."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import BadInputError
from tests.distributed import run_distributed, train_worker
from tests.train.tiny import ARCHITECTURES, losses, tiny_config, train_tiny
from train.families import FAMILIES
from train.model import build, full_config
from train.pipeline import Stage, stage_blocks, tied_weight
from train.prepare import prepare_run

LAYERS = {"gpt2": "n_layer"}
DATA = {"documents": 1000, "held_out_documents": 20}
STAGES = ("train.pipeline_parallel_size=3", "train.micro_batch_size=2", "train.gradient_accumulation_steps=4")


def _whole(family: str, **changes: Any) -> Any:
    architecture = {**ARCHITECTURES[family], LAYERS.get(family, "num_hidden_layers"): 5, **changes}
    return build(full_config(architecture), seed=3, device="cpu").double()


# OPT-350m has projections round its blocks, and no norm after them.
CUTS = {family: (family, {}) for family in FAMILIES}
CUTS["opt-350m"] = ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False})


@pytest.mark.parametrize("cut", CUTS)
def test_stages_one_after_the_other_are_the_model(cut: str) -> None:
    family, changes = CUTS[cut]
    whole = _whole(family, **changes)
    stages = [Stage(_whole(family, **changes), FAMILIES[family], index, 3) for index in range(3)]
    names = [name for stage in stages for name, _ in stage.model.named_parameters()]
    twice = {"lm_head.weight"} if tied_weight(whole) is not None else set()
    assert sorted(names) == sorted({name for name, _ in whole.named_parameters()} | twice)

    ids = torch.arange(2 * 20).reshape(2, 20) * 7 % 512
    expected = whole(input_ids=ids).logits
    logits = ids
    for stage in stages:
        logits = stage(logits)
    torch.testing.assert_close(logits, expected, atol=0, rtol=0)
    for result in (expected, logits):
        result.square().sum().backward()
    gradients: dict[str, Any] = {}
    for stage in stages:
        gradients |= {name: parameter.grad for name, parameter in stage.model.named_parameters()}
    if twice:
        name = next(n for n, p in whole.named_parameters() if p is tied_weight(whole))
        gradients[name] = gradients[name] + gradients.pop("lm_head.weight")
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-12, rtol=1e-12, msg=name)


def test_the_blocks_are_shared_out_evenly_and_in_order() -> None:
    for n_layers in range(1, 30):
        for n_stages in range(1, n_layers + 1):
            parts = stage_blocks(n_layers, n_stages)
            assert [block for part in parts for block in part] == list(range(n_layers))
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
            assert min(map(len, parts)) >= 1


def _config(directory: Path, *overrides: str) -> Any:
    short = ("train.steps=16", "train.checkpoint.every_steps=4", "train.checkpoint.keep_last=9")
    return tiny_config(directory, "gpt2", "architecture.n_layer=4", *short, *overrides, data=DATA)


def _as_if_killed_after(step: int, source: Path, run_dir: Path) -> None:
    late = [f"step-{later:08d}" for later in range(step + 1, 17)]
    shutil.copytree(source, run_dir, ignore=shutil.ignore_patterns(*late, "replica", "run.json"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run on one process, and one that went on from its step 8 with 3 stages. Embedding and head are one weight."""
    directory = tmp_path_factory.mktemp("runs")
    found = {"one": directory / "one", "stages": directory / "stages"}
    train_tiny(found["one"], _config(directory))
    _as_if_killed_after(8, found["one"], found["stages"])
    train_tiny(found["stages"], _config(directory, *STAGES))
    return found


def test_resume_is_bit_identical(runs: dict[str, Path], tmp_path: Path) -> None:
    _as_if_killed_after(12, runs["stages"], tmp_path / "run")
    run_distributed(train_worker, 3, tmp_path / "run")
    assert losses(tmp_path / "run") == losses(runs["stages"])
    weights = [(run / "replica/model.safetensors").read_bytes() for run in (tmp_path / "run", runs["stages"])]
    assert weights[0] == weights[1]


def test_a_run_goes_on_with_another_number_of_stages(runs: dict[str, Path], tmp_path: Path) -> None:
    assert losses(runs["stages"]) == pytest.approx(losses(runs["one"]), abs=1e-5)
    _as_if_killed_after(12, runs["stages"], tmp_path / "run")
    train_tiny(tmp_path / "run", _config(tmp_path))
    assert losses(tmp_path / "run") == pytest.approx(losses(runs["one"]), abs=1e-5)


def test_the_record_says_how_it_was_laid_out(runs: dict[str, Path]) -> None:
    run, one = (json.loads((runs[name] / "run.json").read_text()) for name in ("stages", "one"))
    sizes = ("pipeline_parallel_size", "n_devices")
    assert [run[key] for key in sizes] == [3, 3]
    assert [one[key] for key in sizes] == [1, 1]
    for key in ("tokens", "predicted_tokens", "flops", "data_order_sha256", "architecture"):
        assert run[key] == one[key]
    assert run["time"]["optimizer_s"] > 0
    assert sum(seconds for seconds in run["time"].values() if seconds) == pytest.approx(run["wall_clock_s"], rel=0.02)


@pytest.mark.parametrize(
    ("family", "overrides", "message"),
    [
        (
            "gpt2",
            ("train.tensor_parallel_size=2",),
            r"2 with train.tensor_parallel_size 2: .* cannot do both; set one to 1",
        ),
        ("gpt2", ("train.zero_stage=0",), r"2 with train.zero_stage 0: .* gradient norm of its own; take 1"),
        ("gpt2", ("train.zero_stage=2",), r"2 with train.zero_stage 2: .* optimizer states only; take 1"),
        ("gpt2", ("train.zero_stage=3",), r"2 with train.zero_stage 3: .* optimizer states only; take 1"),
        ("gpt2", ("train.pipeline_parallel_size=3",), r"3 is more than the model's 2 layers; take at most 2"),
        ("opt", ("train.precision=fp16",), r"2 with train.precision fp16: .* tied to it; take bf16 or fp32"),
    ],
)
def test_what_a_pipeline_cannot_do_is_refused(
    family: str, overrides: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    config = tiny_config(tmp_path, family, "train.pipeline_parallel_size=2", *overrides)
    with pytest.raises(BadInputError, match=rf"^train.pipeline_parallel_size: {message}$"):
        prepare_run(config, tmp_path / "run", lambda text: None)
    assert not (tmp_path / "run" / "data").exists()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_without_zero_is_refused(precision: str, tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "gpt2", "train.zero_stage=0", f"train.precision={precision}")
    with pytest.raises(BadInputError, match=rf"^train.zero_stage: 0 with train.precision {precision}: .* take .*=1$"):
        prepare_run(config, tmp_path / "run", lambda text: None)

"""A checkpoint of any layout, put together without the engine, is the model that the engine exported."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import BadInputError
from tests.train.tiny import tiny_config, train_tiny
from train.snapshot import export_checkpoint

FEW = {"documents": 1000, "held_out_documents": 20}
SHORT = ("train.steps=4", "train.micro_batch_size=2", "train.checkpoint.every_steps=2", "train.checkpoint.keep_last=2")


@pytest.mark.parametrize(
    ("family", "layout"),
    [
        ("gpt_neox", ("train.data_parallel_size=2",)),
        ("gpt2", ("train.data_parallel_size=2", "train.zero_stage=3")),
        ("opt", ("train.tensor_parallel_size=2",)),
        ("llama", ("train.zero_stage=0",)),
    ],
)
def test_it_is_what_the_engine_exported(family: str, layout: tuple[str, ...], tmp_path: Path) -> None:
    config, run_dir = tiny_config(tmp_path, family, *SHORT, *layout, data=FEW), tmp_path / "run"
    train_tiny(run_dir, config)
    export_checkpoint(run_dir, config, 4, tmp_path / "last")
    found, expected = (load_file(path / "model.safetensors") for path in (tmp_path / "last", run_dir / "replica"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert {path.name for path in (tmp_path / "last").iterdir()} == {p.name for p in (run_dir / "replica").iterdir()}
    export_checkpoint(run_dir, config, 2, tmp_path / "middle")
    middle = load_file(tmp_path / "middle" / "model.safetensors")
    assert not all(torch.equal(middle[name], expected[name]) for name in expected)


def test_what_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    config, run_dir = tiny_config(tmp_path, "gpt_neox", *SHORT, data=FEW), tmp_path / "run"
    train_tiny(run_dir, config)
    with pytest.raises(BadInputError, match=r"--checkpoint 3: .*: no such checkpoint; there are: 2, 4"):
        export_checkpoint(run_dir, config, 3, tmp_path / "out")
    (run_dir / "checkpoints" / "step-00000002" / "progress.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"--checkpoint 2: .* is damaged: "):
        export_checkpoint(run_dir, config, 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""A run that was stopped and continued is the run that was not."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.distributed import run_distributed, train_worker
from tests.train.tiny import losses, metrics, tiny_config, train_tiny

TWO_RANKS = ("train.data_parallel_size=2", "train.micro_batch_size=4", "train.log_every_steps=7")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("undisturbed")
    config = tiny_config(directory, "gpt_neox", *TWO_RANKS, "train.checkpoint.every_steps=20")
    train_tiny(directory / "run", config)
    return directory / "run"


def _disturbed(undisturbed: Path, run_dir: Path, keep: str) -> None:
    """As if the run had died after its last line, with `keep` as the newest whole checkpoint."""
    shutil.copytree(undisturbed, run_dir, symlinks=True)
    for name in ("run.json", "replica"):
        path = run_dir / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for checkpoint in (run_dir / "checkpoints").glob("step-*"):
        if checkpoint.name != keep:
            shutil.rmtree(checkpoint)
    (run_dir / "checkpoints" / ".partial").mkdir(exist_ok=True)  # killed while writing the next one
    (run_dir / "checkpoints" / ".partial" / "half").write_bytes(b"x")
    with (run_dir / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 99, "lo')  # killed while writing a line


def test_resume_is_bit_identical_and_counts_what_was_lost(undisturbed: Path, tmp_path: Path) -> None:
    _disturbed(undisturbed, tmp_path / "run", keep="step-00000040")
    run_distributed(train_worker, 2, tmp_path / "run")
    assert losses(tmp_path / "run") == losses(undisturbed)
    assert [line["step"] for line in metrics(tmp_path / "run")] == [7, 14, 21, 28, 35, 42, 49, 50]
    ours, theirs = (load_file(run / "replica/model.safetensors") for run in (tmp_path / "run", undisturbed))
    assert all((ours[name] == theirs[name]).all() for name in theirs)
    run, before = (json.loads((d / "run.json").read_text()) for d in (tmp_path / "run", undisturbed))
    assert run["restarts"] == 1
    assert run["lost_steps"] == 10  # the last line said step 50, the checkpoint 40
    assert run["predicted_tokens"] == before["predicted_tokens"]
    assert run["loss"] == before["loss"]
    assert (
        run["wall_clock_s"] > metrics(undisturbed)[-1]["elapsed_s"]
    )  # the first attempt, as far as is known, and more


def test_only_the_last_checkpoints_are_kept(undisturbed: Path) -> None:
    names = sorted(path.name for path in (undisturbed / "checkpoints").iterdir())
    assert names == ["step-00000040", "step-00000050"]

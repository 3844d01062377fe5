"""A run goes on at another layout as if nothing had happened, and at another recipe not at all."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from configs.errors import BadInputError
from tests.distributed import run_distributed, train_worker
from tests.train.tiny import losses, tiny_config, train_tiny
from train import checkpoints, events, trainer
from train.prepare import prepare_run

SHORT = ("train.steps=16", "train.checkpoint.every_steps=8", "train.checkpoint.keep_last=9")
DATA = {"documents": 1000, "held_out_documents": 20}
DP2 = ("train.data_parallel_size=2", "train.micro_batch_size=4")
TP2 = ("train.tensor_parallel_size=2",)
CHANGES = {
    "DP2 to DP1": (DP2, ()),
    "TP2 to TP1": (TP2, ()),
    "ZeRO-1 to ZeRO-3": ((), (*DP2, "train.zero_stage=3")),
    "ZeRO-3 to TP2 with accumulation": (
        (*DP2, "train.zero_stage=3"),
        (*TP2, "train.micro_batch_size=4", "train.gradient_accumulation_steps=2"),
    ),
}


def _config(directory: Path, *overrides: str) -> Any:
    return tiny_config(directory, "gpt_neox", *SHORT, *overrides, data=DATA)


def _as_if_killed_after_step_8(run_dir: Path) -> None:
    shutil.rmtree(run_dir / "checkpoints" / "step-00000016")
    shutil.rmtree(run_dir / "replica")
    (run_dir / "run.json").unlink()


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("one_process")
    train_tiny(directory / "run", _config(directory))
    return directory / "run"


@pytest.mark.parametrize("change", CHANGES)
def test_losses_and_certificate_are_those_of_the_undisturbed_run(
    change: str, one_process: Path, tmp_path: Path
) -> None:
    before, after = CHANGES[change]
    run_dir = tmp_path / "run"
    if before:
        train_tiny(run_dir, _config(tmp_path, *before))
    else:
        shutil.copytree(one_process, run_dir)
    _as_if_killed_after_step_8(run_dir)
    train_tiny(run_dir, _config(tmp_path, *after))
    assert losses(run_dir) == pytest.approx(losses(one_process), abs=1e-5)
    run, undisturbed = (json.loads((d / "run.json").read_text()) for d in (run_dir, one_process))
    assert run["data_order_sha256"] == undisturbed["data_order_sha256"]
    resumed = events.read(run_dir)
    assert [event.kind for event in resumed] == ["resumed"]
    assert "going on from the checkpoint of step 8 (" in resumed[0].message
    # what it writes now is of the new layout, and nothing of the conversion is left
    assert checkpoints.verify(run_dir / "checkpoints" / "step-00000016").layout.zero_stage in (1, 3)
    assert not list((run_dir / "checkpoints").glob(".*"))


def _train_patched_to_bf16(run_dir: Path) -> None:
    trainer.device_and_precision = lambda train: ("cpu", "bf16")  # as on another machine, by train.precision=auto
    train_worker(run_dir)


def test_another_precision_is_another_training(one_process: Path, tmp_path: Path) -> None:
    shutil.copytree(one_process, tmp_path / "run")
    _as_if_killed_after_step_8(tmp_path / "run")
    with pytest.raises(RuntimeError, match=r"train\.precision: the checkpoint of step 8 is of a run in fp32, and here"):
        run_distributed(_train_patched_to_bf16, 1, tmp_path / "run")


def test_speed_is_of_the_layout_that_the_record_names(one_process: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(one_process, run_dir)
    _as_if_killed_after_step_8(run_dir)
    progress = run_dir / "checkpoints" / "step-00000008" / checkpoints.PROGRESS
    state = json.loads(progress.read_text()) | {"interval_step_times_s": [1e3] * 8}
    progress.write_text(json.dumps(state))  # slower than any: as if another machine had done them
    marker = checkpoints.verify(one_process / "checkpoints" / "step-00000008")
    facts = marker.files | {checkpoints.PROGRESS: checkpoints.file_facts(progress)}
    (progress.parent / checkpoints.MARKER).write_text(marker.model_copy(update={"files": facts}).text())
    train_tiny(run_dir, _config(tmp_path, *DP2))
    assert json.loads((run_dir / "run.json").read_text())["step_time_median_s"] < 100


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("train.data_parallel_size=2",),
            r"makes 16 rows a step here and 8 there.* with train.data_parallel_size=2 take train.micro_batch_size=4 "
            r"and train.gradient_accumulation_steps=1$",
        ),
        (
            ("train.data_parallel_size=3",),
            r"24 rows a step here and 8 there.*; train.data_parallel_size must divide 8: 1, 2, 4, 8$",
        ),
        (("train.zero_stage=0",), r"train.zero_stage: 1 there, 0 here: DeepSpeed converts .* 1, 2 and 3 only"),
        (("train.precision=bf16",), r"holds a run of another config \(train.precision: 'auto' there, 'bf16' here\)"),
        (("train.threads_per_process=2",), r"\(train.threads_per_process: 1 there, 2 here\)"),
    ],
)
def test_another_recipe_is_refused(overrides: tuple[str, ...], message: str, tmp_path: Path) -> None:
    prepare_run(_config(tmp_path), tmp_path / "run", lambda text: None)
    before = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(BadInputError, match=message):
        prepare_run(_config(tmp_path, *overrides), tmp_path / "run", lambda text: None)
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_a_bare_run_keeps_its_tensor_parallel_size(tmp_path: Path) -> None:
    prepare_run(_config(tmp_path, "train.zero_stage=0"), tmp_path / "run", lambda text: None)
    with pytest.raises(BadInputError, match=r"train.tensor_parallel_size: 1 there, 2 here: DeepSpeed converts no"):
        prepare_run(_config(tmp_path, "train.zero_stage=0", *TP2), tmp_path / "run", lambda text: None)


def test_the_layout_and_the_care_of_an_unfinished_run_may_change(tmp_path: Path) -> None:
    first = prepare_run(_config(tmp_path), tmp_path / "run", lambda text: None)
    changed = _config(tmp_path, *DP2, "train.zero_stage=2", "train.checkpoint.keep_last=3")
    assert prepare_run(changed, tmp_path / "run", lambda text: None) == first
    assert "zero_stage: 2" in (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"train.zero_stage: 2 there, 1 here"):
        prepare_run(_config(tmp_path, *DP2), tmp_path / "run", lambda text: None)

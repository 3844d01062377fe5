"""From a checkpoint of a run, in the middle of its training or at the end, to a Hugging Face directory.

On one process and a CPU, whatever the layout that wrote it: DeepSpeed's universal form has every parameter whole.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from configs.errors import BadInputError, WorkFailedError
from configs.schema import RunConfig
from train import checkpoints
from train.checkpoints import Layout
from train.convert import load
from train.export import write_model
from train.families import family_of
from train.model import full_config, to_checkpoint_names
from train.processes import worker_environment

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_MODULE = "mp_rank_00_model_states.pt"  # without ZeRO: the whole model, where it is not split


def export_checkpoint(run_dir: Path, config: RunConfig, step: int, directory: Path) -> None:
    """Write the model after `step` steps to `directory`, unless it is there; as the run itself would have exported it.

    Raises BadInputError where there is no such checkpoint, it is damaged, or DeepSpeed cannot put it together.
    """
    if directory.is_dir():
        return
    source = run_dir / "checkpoints" / checkpoints.name_of(step)
    if not source.is_dir():
        there = ", ".join(str(checkpoints.step_of(path)) for path in checkpoints.all_of(source.parent))
        raise BadInputError(f"--checkpoint {step}: {source}: no such checkpoint; there are: {there or 'none'}")
    try:
        layout = checkpoints.verify(source).layout
    except checkpoints.DamagedError as error:
        raise BadInputError(f"--checkpoint {step}: {source} is damaged: {error}") from None
    architecture = json.loads((run_dir / "model.json").read_text(encoding="utf-8"))
    family, partial = family_of(architecture, "model.json"), directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    state = to_checkpoint_names(family, _state(source, layout))
    write_model(state, full_config(architecture), config, run_dir / "data", partial)
    partial.rename(directory)


def _state(source: Path, layout: Layout) -> dict[str, torch.Tensor]:
    """Every parameter, whole, in the precision of training."""
    if layout.zero_stage == 0:
        return _bare_state(source, layout)
    with tempfile.TemporaryDirectory(prefix="replibench-") as scratch:
        command = [sys.executable, "-m", "train.convert", str(source), f"{scratch}/universal"]
        done = subprocess.run(
            command, env=worker_environment(1, "cpu"), capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise WorkFailedError(f"cannot convert {source}: {last}")
        parameters = Path(scratch, "universal", "zero").glob("*/fp32.pt")
        return {path.parent.name: load(path)["param"].to(DTYPES[layout.precision]) for path in parameters}


def _bare_state(source: Path, layout: Layout) -> dict[str, torch.Tensor]:
    if layout.tensor_parallel_size * layout.pipeline_parallel_size > 1:
        raise BadInputError(
            f"{source}: DeepSpeed converts no checkpoint of train.zero_stage 0, so one of a model that was split "
            "cannot be put together; train with train.zero_stage=1"
        )
    return dict(load(source / _MODULE)["module"])

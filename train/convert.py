"""Turn a checkpoint of one layout into DeepSpeed's universal form. A process of its own: `python -m train.convert`.

DeepSpeed's converter writes two dialects: what it makes of ZeRO-3 only ZeRO-3 reads, what it makes of the others only
they. `complete` adds to each what the other's readers look for, so that any stage goes on from any.
"""

import os
import runpy
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from train.processes import die_with_parent


def main(source: Path, target: Path) -> None:
    """Convert `source`, a checkpoint whose bytes were verified, into the directory `target`."""
    arguments = ["--input_folder", str(source), "--output_folder", str(target), "--inject_missing_state"]
    # one process: the children of a pool would outlive a kill
    sys.argv = ["ds_to_universal", *arguments, "--num_extract_workers", "1", "--num_merge_workers", "1"]
    runpy.run_module("deepspeed.checkpoint.ds_to_universal", run_name="__main__")
    complete(target)


def complete(target: Path) -> None:
    """Make what DeepSpeed wrote readable for every ZeRO stage."""
    models = sorted(target.glob("*mp_rank_*_model_states.pt"))
    facts = load(models[0])
    shapes = {name: shape for group in facts["param_shapes"] for name, shape in group.items()}
    _name_both_ways(target, models)
    path = target / "zero" / "optimizer_state.pt"
    state = load(path)
    step = _step(target, state)
    for parameter in (directory for directory in (target / "zero").iterdir() if directory.is_dir()):
        _complete_parameter(parameter, shapes.get(parameter.name), step)
    for name, stored_as in (facts.get("shared_params") or {}).items():
        _name_twice(target / "zero" / name, target / "zero" / stored_as)
    state.pop("fp32_flat_groups", None)  # ZeRO-3 leaves one rank's whole state in it
    state["optimizer_state_dict"] = {"state": {0: {"step": step}}, "param_groups": state["param_groups"]}
    state.setdefault("ds_version", facts["ds_version"])
    torch.save(state, path)


def _name_both_ways(target: Path, models: list[Path]) -> None:
    """ZeRO-3 looks for its model files under names of its own, the other stages under theirs."""
    for path in models:
        rank = path.name.partition("mp_rank_")[2]
        for name in (f"mp_rank_{rank}", f"zero_pp_rank_0_mp_rank_{rank}"):
            if not (target / name).exists():
                (target / name).hardlink_to(path)


def _name_twice(tied: Path, stored: Path) -> None:
    """A tied weight's state has the name of the embedding; a pipeline's last stage looks for that of the head."""
    shutil.rmtree(tied, ignore_errors=True)  # what the converter puts there has no moments
    shutil.copytree(stored, tied, copy_function=os.link)


def _step(target: Path, state: dict[str, Any]) -> torch.Tensor:
    """The optimizer's step count, of all parameters the same: each dialect has it in a place of its own."""
    if "optimizer_state_dict" in state:
        return torch.as_tensor(state["optimizer_state_dict"]["state"][0]["step"])
    return torch.as_tensor(load(next((target / "zero").glob("*/step.pt"))))


def _complete_parameter(directory: Path, shape: Any, step: torch.Tensor) -> None:
    """ZeRO-3's are flat tensors without a step; the other stages want {"param": tensor in its shape} and a step."""
    if not (directory / "step.pt").is_file():
        torch.save(step, directory / "step.pt")
    for path in directory.glob("*.pt"):
        value = load(path)
        if path.name != "step.pt" and torch.is_tensor(value):
            torch.save({"cat_dim": 0, "param": value.reshape(shape)}, path)


def load(path: Path) -> Any:
    """One of DeepSpeed's files, of bytes that were verified or made from such."""
    # DeepSpeed's own classes are in it, so not weights_only
    return torch.load(path, map_location="cpu", weights_only=False)


if __name__ == "__main__":
    die_with_parent(signal.SIGKILL)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""A sweep's ladder, and the evaluations of checkpoints, as arrays of a real Slurm."""

import json
import subprocess
from pathlib import Path

import yaml

from configs.sweeps import HELD_OUT, load_sweep, members
from tests.cluster.slurm import Slurm
from tests.cluster.submitting import command, profile
from tests.scripts.test_sweep import TINY
from tests.train.tiny import train_tiny
from train import exits
from train.checkpoints import all_of, name_of, step_of


def finish(slurm: Slurm, submitted: "subprocess.CompletedProcess[str]") -> None:
    """Wait until all tasks of the array are over, each with success."""
    job = submitted.stderr.split(" job ")[1].partition(";")[0]
    slurm.wait_for(lambda: "PENDING" not in (said := slurm.states(job)) and "RUNNING" not in said, 240)
    assert {*slurm.states(job)} == {"COMPLETED"}


def test_a_sweeps_ladder_and_evaluations_of_checkpoints_are_arrays(slurm: Slurm, shared: Path, tmp_path: Path) -> None:
    """Most of the ladder is trained before, which the array leaves as it is."""
    path, where = tmp_path / "tiny.yaml", profile(shared, exclusive=False)
    saving = {"checkpoint": {"every_steps": 60, "keep_last": 2}}
    path.write_text(yaml.safe_dump(TINY | {"base": TINY["base"] | {"train": TINY["base"]["train"] | saving}}))
    sweep, directory = load_sweep(path), shared / "tiny"
    found = {name: settings for name, settings in members(sweep).items() if name != HELD_OUT}
    *before, one, other = found
    (directory / "data").mkdir(parents=True)
    for name in before:
        (directory / name).mkdir()
        (directory / name / "data").symlink_to("../data")
        train_tiny(directory / name, found[name])
    times = {name: (directory / name / "run.json").stat().st_mtime for name in before}
    submitted = command("launch", str(path), "--on", where, slurm=slurm)
    assert submitted.returncode == 0, submitted.stderr
    finish(slurm, submitted)
    assert times == {name: (directory / name / "run.json").stat().st_mtime for name in before}
    for name in (one, other):
        assert [each.kind for each in exits.exits(directory / name)] == ["finished"]
    swept = command("sweep", str(path), "--run-dir", str(directory), slurm=slurm)  # goes on: predicts, trains the last
    assert swept.returncode == 0, swept.stderr
    assert len(exits.exits(directory / other)) == 1
    assert json.loads((directory / "sweep.json").read_text())["held_out"]["name"] == HELD_OUT

    run_dir, steps = directory / HELD_OUT, [step_of(each) for each in all_of(directory / HELD_OUT / "checkpoints")]
    arguments = (
        "--evaluate",
        ",".join(map(str, steps)),
        "--run-dir",
        str(run_dir),
        "--set",
        "evaluation.items={facts: 20}",
    )
    submitted = command("launch", str(run_dir / "config.yaml"), "--on", where, *arguments, slurm=slurm)
    assert submitted.returncode == 0, submitted.stderr
    finish(slurm, submitted)
    done = sorted(path.parts[-4] for path in run_dir.glob("evaluations/*/eval/replica/complete"))
    assert len(steps) == 2
    assert done == [name_of(step) for step in steps]

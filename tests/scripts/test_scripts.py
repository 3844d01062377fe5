"""The rendered shell scripts at work, with stand-ins for ssh and the scheduler's commands."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import launch
from scripts.rendering import render
from train import exits


def script(tmp_path: Path, nodes: str, **keys: Any) -> Path:
    """The rendered one of a run in `tmp_path`/shared; its name is the run's."""
    profile = tmp_path / "site.yaml"
    profile.write_text(yaml.safe_dump({"launch": {"shared": str(tmp_path / "shared"), "max_requeues": 1, **keys}}))
    overrides = ("train.device=cpu", "train.gradient_accumulation_steps=16", "name=it")
    job = launch.plan(("gpt2-124m-generated",), str(profile), overrides, launch.parse_nodes(nodes), None, print)
    rendered = render(job)
    rendered.path.parent.mkdir(parents=True)
    rendered.path.write_text(rendered.text)
    return rendered.path


def command(path: Path, text: str) -> str:
    """An executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_hosts_whose_connections_all_drop_at_once_are_told_to_give_up(tmp_path: Path) -> None:
    remote = command(tmp_path / "remote", '[ "$2" = true ]')  # it is reached, and what it was to do goes on unseen
    path = script(tmp_path, "2", scheduler="ssh", hosts=["n1", "n2"], command=[remote], max_requeues=0)
    assert subprocess.run(["bash", str(path)], check=False, timeout=60).returncode == 3
    (ended,) = exits.exits(tmp_path / "shared" / "it")
    assert ended.kind == "node_failure"
    assert (exits.directory_of(tmp_path / "shared" / "it", ended.attempt) / "abandon").is_file()


def test_of_the_hosts_that_answer_as_many_are_used_as_can_share_the_rows(tmp_path: Path) -> None:
    log = tmp_path / "log"
    remote = command(tmp_path / "remote", f'[ "$1" = n4 ] && exit 1; [ "$2" = true ] || echo "$1: $2" >> {log}')
    hosts = {"hosts": ["n1", "n2", "n3", "n4"], "command": [remote]}
    path = script(tmp_path, "2-4", scheduler="ssh", **hosts, max_requeues=0)  # three cannot share 128 rows
    assert subprocess.run(["bash", str(path)], check=False, timeout=60).returncode == 3
    assert log.read_text().count("--names n1,n2 ") == 2
    assert "n3" not in log.read_text()


SCHEDULER = {
    "scontrol": """case "$*" in
      "show hostnames"*) printf '%s\\n' n1 n2 n3;;
      "show node"*) echo NodeAddr=10.0.0.1;;
      *) echo "scontrol $*" >> "$LOG";;
    esac""",
    "srun": 'echo "srun $*" >> "$LOG"; [ -z "$LASTS" ] || sleep "$LASTS"',
    "squeue": 'date -d "@$ENDS" +%Y-%m-%dT%H:%M:%S',
    "scancel": 'echo "scancel $*" >> "$LOG"',
    "python": "exit 3",
}


def slurm(tmp_path: Path, path: Path, **variables: str) -> tuple["subprocess.Popen[bytes]", Path]:
    """The script as the batch step of a job on three nodes, and what Slurm's commands were told."""
    for name, text in SCHEDULER.items():
        command(tmp_path / "venv" / "bin" / name, text)
    (tmp_path / "venv" / "bin" / "activate").write_text(f"PATH={tmp_path}/venv/bin:$PATH\n")
    log = tmp_path / "log"
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_NUM_NODES": "3"}
    environment = {**os.environ, **job, "LOG": str(log), "LASTS": "", "ENDS": "1", **variables}
    return subprocess.Popen(["bash", str(path)], start_new_session=True, env=environment), log


def test_of_the_nodes_of_a_job_as_many_are_used_as_can_share_the_rows(tmp_path: Path) -> None:
    job, log = slurm(tmp_path, script(tmp_path, "2-4", scheduler="slurm", venv=str(tmp_path / "venv")))
    assert job.wait(30) == 3
    (step,) = [line for line in log.read_text().splitlines() if line.startswith("srun")]
    assert "--nodes=2 --nodelist=n1,n2 " in step
    assert "--names n1,n2 " in step


@pytest.mark.parametrize(
    ("lasts", "restart", "requeued"),
    [("60", "0", True), ("60", "1", False), ("1", "0", False)],
    ids=["deaf", "the cap is reached", "it ends in time"],
)
def test_a_warning_that_nobody_hears_requeues_the_job_before_its_time_is_up(
    lasts: str, restart: str, requeued: bool, tmp_path: Path
) -> None:
    path = script(tmp_path, "2", scheduler="slurm", venv=str(tmp_path / "venv"), warning_s=4)
    ends = str(int(time.time()) + 6)  # two seconds before the end are four from now
    job, log = slurm(tmp_path, path, LASTS=lasts, ENDS=ends, SLURM_RESTART_COUNT=restart)
    try:
        wait_for(log, "srun")
        job.send_signal(signal.SIGUSR1)
        wait_for(log, "scancel --signal=USR1 7.0")
        if lasts == "1":
            assert job.wait(20) == 3  # which is python's
        time.sleep(max(0.0, int(ends) - 1 - time.time()))
        assert ("scontrol requeue 7" in log.read_text()) is requeued
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def wait_for(log: Path, words: str) -> None:
    """Until it has them."""
    deadline = time.monotonic() + 20
    while not (log.is_file() and words in log.read_text()):
        assert time.monotonic() < deadline, words
        time.sleep(0.02)

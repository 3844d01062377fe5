"""The rendered shell scripts at work, with stand-ins for ssh and the scheduler's commands."""

import subprocess
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
    path.parent.mkdir(exist_ok=True)
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

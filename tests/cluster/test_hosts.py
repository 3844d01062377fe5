"""Hosts without a scheduler: one is killed, and the run goes on with the other."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from scripts.bench.victim import last_step
from tests.cluster.namespaces import HOSTS, B, Hosts, why_not
from tests.cluster.runs import config, reach
from tests.train.tiny import metrics
from train import events, exits


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with Hosts(tmp_path) as found:
        yield found


def test_a_host_is_killed_and_the_run_goes_on_with_the_other(hosts: Hosts, shared: Path, tmp_path: Path) -> None:
    site = {"scheduler": "ssh", "hosts": [*HOSTS.values()], "command": [str(hosts.command)], "per_node": 1}
    profile = tmp_path / "site.yaml"
    profile.write_text(yaml.safe_dump({"launch": {**site, "shared": str(shared)}}))
    file = config(tmp_path, "hosts", steps=160, collective_timeout_s=300)
    launch = ["launch", file, "--on", str(profile), "--nodes", "1-2"]
    run_dir, said = shared / "hosts", tmp_path / "said"
    with said.open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "scripts.cli", *launch], stdout=log, stderr=log)
        try:
            reach(run_dir, 30, process)
            hosts.command.write_text(hosts.command.read_text().replace(f"{B}={HOSTS[B]}", ""))  # it answers no more
            hosts.kill(B)
            assert process.wait(240) == 0, said.read_text()[-3000:]
        finally:
            process.kill()
    assert [each.kind for each in exits.exits(run_dir)] == ["node_failure", "finished"], said.read_text()[-3000:]
    assert [line["step"] for line in metrics(run_dir)] == list(range(1, 161))
    assert last_step(run_dir / "metrics.jsonl") == 160
    run = json.loads((run_dir / "run.json").read_text())
    assert (run["restarts"], run["n_devices"], run["data_parallel_size"]) == (1, 1, 1)
    resumed = [event.message for event in events.read(run_dir) if event.kind == "resumed"]
    assert "(data_parallel_size=2" in resumed[0]
    goodput = run["goodput"]
    parts = sum(goodput[key] for key in goodput if key not in ("booked_s", "waiting_s"))
    assert parts == pytest.approx(goodput["booked_s"])
    assert goodput["lost_s"] > 0

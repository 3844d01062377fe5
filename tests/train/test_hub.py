"""The hub as the real client meets it: each failure is one line with its mend, revisions are known by their bytes."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_hub import COMMITS, FILES, REPOSITORY

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, os, pathlib
from typer.testing import CliRunner
from scripts.cli import app
os.chdir(os.environ["SCRATCH"])
def run(*arguments):
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    return {"code": done.exit_code, "out": done.stdout, "err": done.stderr}
id = "EleutherAI/pythia-70m"
told = {
    "init": run("init", id, "--revision", "step1", "--output", "step1.yaml"),
    "again": run("init", id, "--revision", "step1", "--output", "step1.yaml"),
    "gated": run("init", "org/gated"),
    "missing": run("init", "org/none"),
    "revision": run("init", id, "--revision", "stp2"),
    "pickled": run("init", id, "--revision", "step4"),
    "no tokenizer": run("init", id, "--revision", "9" * 40),
    "doctor": run("doctor", id),
    "doctor revision": run("doctor", id, "--revision", "step3"),
    "yaml": pathlib.Path("step1.yaml").read_text(),
    "init shards": run("init", id, "--revision", "shards", "--output", "shards.yaml"),
}
from configs.loader import load_config
from train.reference import load_reference
config = load_config("step1.yaml")
facts = load_reference(config.reference, config.revision, pinned=config.reference_sha256).facts
told["sha256"] = facts.sha256
told["shards"] = load_config("shards.yaml").reference_sha256
told["shards read"] = load_reference(id, "shards", pinned=told["shards"]).facts.sha256
pathlib.Path("fetched.yaml").write_text("{name: fetched, reference: EleutherAI/pythia-70m}")
def fetched():
    done = run("fetch", "fetched.yaml", "--to", "bundle")
    return done | {"weights": pathlib.Path("bundle/models/EleutherAI--pythia-70m/main/model.safetensors").read_text()}
told |= {"fetch": fetched(), "fetch again": fetched()}
os.environ["MODEL_MAIN"] = "b" * 40
told["fetch moved"] = fetched()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the commands said, in one process of their own: the client reads its endpoint when it is imported."""
    directory = tmp_path_factory.mktemp("hub")
    script = directory / "script.py"
    script.write_text(SCRIPT)
    env = {**os.environ, "SCRATCH": str(directory), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.fake_hub", str(script)],
        capture_output=True, text=True, env=env, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_init_pins_commit_and_bytes_and_the_reference_that_comes_has_them(told: dict[str, Any]) -> None:
    assert told["init"]["code"] == 0, told["init"]
    assert f'revision: "{COMMITS["step1"]}"  # step1' in told["yaml"]
    for name, sha256 in told["sha256"].items():
        assert f'"{name}": {sha256}' in told["yaml"]
    assert set(told["sha256"]) == set(FILES[COMMITS["step1"]])
    assert "steps: 1  #" in told["yaml"]
    assert "horizon_steps: 143000" in told["yaml"]


def test_init_pins_the_index_each_shard_and_what_is_beside_the_tokenizer(told: dict[str, Any]) -> None:
    assert told["init shards"]["code"] == 0, told["init shards"]
    files = FILES[COMMITS["shards"]]
    assert told["shards"] == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    assert told["shards read"] == told["shards"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("again", "--output step1.yaml: is there already; name another file"),
        ("gated", "org/gated: is gated: accept its terms at https://huggingface.co/org/gated, then `hf auth login`"),
        ("missing", "org/none: the hub has no such model, or it is private: check the id, or log in"),
        ("revision", f"{REPOSITORY} at stp2: no such revision; did you mean step2 or "),
        ("pickled", f"{REPOSITORY} at step4: has no safetensors weights, and pickled ones are never loaded"),
        (
            "pickled",
            '; s, d = "EleutherAI/pythia-70m", "pythia-70m-safetensors"; M.from_pretrained(s, revision="step4", ',
        ),
        ("no tokenizer", "has no tokenizer.json; where it is trusted, this makes pythia-70m-safetensors/, to be the"),
        ("doctor revision", f"--revision: step3: {REPOSITORY} has no such one; did you mean step"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(told: dict[str, Any], command: str, message: str) -> None:
    answer = told[command]
    assert answer["code"] == 2
    assert answer["err"].startswith("error: ")
    assert answer["err"].count("\n") == 1
    assert message in answer["err"]


def test_doctor_finds_a_copy_by_what_the_hub_says_of_the_weights(told: dict[str, Any]) -> None:
    """A pickled revision among them is named, not taken for one without weights."""
    assert told["doctor"]["code"] == 1
    assert "step2, main have the same weights, to the bit" in told["doctor"]["out"]
    assert "step4" in told["doctor"]["out"]


def test_fetch_says_the_bytes_and_takes_a_main_that_moved_anew_naming_both_commits(told: dict[str, Any]) -> None:
    first, again, moved = (told[key] for key in ("fetch", "fetch again", "fetch moved"))
    assert (first["code"], again["code"], moved["code"]) == (0, 0, 0), first
    size = sum(map(len, FILES[COMMITS["main"]].values()))
    assert f"fetching {REPOSITORY}: {size / 1e3:.1f} kB in 3 files" in first["err"]
    assert again["err"] == ""
    assert f"has commit {COMMITS['main']}, and it is {COMMITS['step1']} now: taken anew" in moved["err"]
    assert first["weights"] == again["weights"] == FILES[COMMITS["main"]]["model.safetensors"]
    assert moved["weights"] == FILES[COMMITS["step1"]]["model.safetensors"]


def test_without_a_network_there_is_a_way_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.cli", "init", "nobody/nothing"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("error: reference: nobody/nothing: the hub cannot be reached (ConnectError")
    assert "without a network give a local directory, or what `replibench fetch CONFIG --to DIR`" in done.stderr
    assert done.stderr.count("\n") == 1

"""`replibench sweep`: a tiny ladder, stopped and gone on with, its prediction and the truth; others only planned."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from configs.errors import BadInputError
from configs.loader import load_config
from configs.schema import FilesData
from configs.sweeps import HELD_OUT, load_sweep, members
from extrapolate.sweep import stored_prediction
from scripts.cli import app
from tests.distributed import run_distributed, train_worker
from tests.train.tiny import ARCHITECTURES, losses
from train.prepare import prepare_run

REPLIBENCH = str(Path(sys.executable).with_name("replibench"))
TIMEOUT_S = 300

TINY: dict[str, Any] = {
    "name": "tiny",
    "base": {
        "architecture": {**ARCHITECTURES["gpt_neox"], "num_attention_heads": 2},
        "data": {"documents": 3000, "held_out_documents": 60},
        "train": {
            "device": "cpu",
            "sequence_length": 32,
            "micro_batch_size": 8,
            "log_every_steps": 5,
            "optimizer": {"learning_rate": 1e-2},
        },
    },
    "sizes": {f"d{d}": {"architecture": {"hidden_size": d, "intermediate_size": 4 * d}} for d in (8, 16, 24)},
    "tokens": [5_120, 10_240, 20_480],
    "held_out": {"architecture": {"hidden_size": 32, "intermediate_size": 128}, "tokens": 30_720},
}


Swept = tuple[Any, Path, dict[Path, int]]


def _written(directory: Path, tree: dict[str, Any]) -> Path:
    path = directory / "tiny.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def _invoked(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["sweep", *arguments])


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """A sweep that got SIGTERM once its first member was done: exit code, stderr, its directory."""
    directory = tmp_path_factory.mktemp("sweep")
    _written(directory, TINY)
    process = subprocess.Popen(
        [REPLIBENCH, "sweep", "tiny.yaml", "--run-dir", "swept"],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    deadline = time.monotonic() + TIMEOUT_S
    while not list((directory / "swept").glob("*/run.json")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, err, directory / "swept"


@pytest.fixture(scope="module")
def swept(stopped: tuple[int, str, Path]) -> Swept:
    """The same sweep gone on with: its record, its directory, and when what was finished before was written."""
    run_dir = stopped[2]
    finished = {path: path.stat().st_mtime_ns for path in run_dir.glob("*/run.json")}
    result = _invoked(str(run_dir.parent / "tiny.yaml"), "--run-dir", str(run_dir), "--format", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), run_dir, finished


def _attempts(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "attempts.jsonl").read_text().splitlines()]


def test_a_stopped_sweep_goes_on(stopped: tuple[int, str, Path], swept: Swept) -> None:
    code, err, run_dir = stopped
    assert code == 75
    assert "run the same command again to go on" in err and "Traceback" not in err
    _, _, finished = swept
    assert 0 < len(finished) < 9
    for path, written in finished.items():
        assert path.stat().st_mtime_ns == written
        assert len(_attempts(path.parent)) == 1
    assert len(list(run_dir.glob("*/run.json"))) == 10


def test_the_record_says_what_was_predicted_and_what_came(swept: Swept) -> None:
    record, run_dir, _ = swept
    assert record == json.loads((run_dir / "sweep.json").read_text())
    assert record["prediction"] == json.loads((run_dir / "prediction.json").read_text())
    assert len(record["members"]) == 9 and record["held_out"]["name"] == HELD_OUT
    truth = json.loads((run_dir / HELD_OUT / "run.json").read_text())
    loss = record["prediction"]["loss"]
    assert record["held_out"]["loss"] == truth["held_out_loss"]["replica"]
    assert (loss["parameters"], loss["tokens"]) == (truth["flops"]["parameters_all"], truth["tokens"])
    assert record["error_nats"] == pytest.approx(truth["held_out_loss"]["replica"] - loss["median"])
    assert record["error_percent"] == pytest.approx(100 * record["error_nats"] / loss["median"])
    assert record["interval_held"] == (loss["p5"] <= truth["held_out_loss"]["replica"] <= loss["p95"])
    assert loss["coverage"] is None and "cuts" in record["prediction"]["not_calibrated"]
    seconds = [json.loads(path.read_text())["wall_clock_s"] for path in run_dir.glob("*/run.json")]
    assert record["training_s"] == pytest.approx(sum(seconds))


def test_it_was_predicted_before_it_was_begun(swept: Swept) -> None:
    record, run_dir, _ = swept
    created = datetime.fromisoformat(record["prediction"]["created"]).timestamp()
    begun = _attempts(run_dir / HELD_OUT)[0]["started"]
    ends = [path.stat().st_mtime for path in run_dir.glob("d*/run.json")]
    assert max(ends) < created < begun


def test_a_member_is_the_run_that_it_is_alone(swept: Swept, tmp_path: Path) -> None:
    _, run_dir, _ = swept
    member = run_dir / "d24-20.5k"  # the last of the process
    config = load_config(member / "config.yaml")
    assert config == members(load_sweep(run_dir.parent / "tiny.yaml"))["d24-20.5k"]
    prepare_run(config, tmp_path / "alone", lambda text: None)
    run_distributed(train_worker, 1, tmp_path / "alone")
    assert losses(tmp_path / "alone") == losses(member)
    ours, theirs = (json.loads((d / "run.json").read_text()) for d in (member, tmp_path / "alone"))
    assert ours["held_out_loss"] == theirs["held_out_loss"]


def test_the_law_of_the_table_is_the_one_that_predicted(swept: Swept) -> None:
    record, run_dir, _ = swept
    target = record["prediction"]["loss"]
    arguments = ["--target-parameters", str(target["parameters"]), "--target-tokens", str(target["tokens"])]
    result = CliRunner().invoke(app, ["extrapolate", "law", str(run_dir / "runs.csv"), *arguments, "--format", "json"])
    assert result.exit_code == 0, result.stderr
    law = json.loads(result.stdout)
    assert law["n_points"] == 9
    for name in ("median", "p5", "p95", "flop", "extrapolation_factor"):
        assert law["predictions"][0][name] == pytest.approx(target[name])
    for name in ("E", "A", "B", "alpha", "beta"):
        assert law[name] == pytest.approx(record["prediction"]["law"][name])


def test_a_finished_sweep_is_only_shown_again(swept: Swept) -> None:
    _, run_dir, _ = swept
    before = {path: path.stat().st_mtime_ns for path in [*run_dir.glob("*/run.json"), run_dir / "prediction.json"]}
    result = _invoked(str(run_dir.parent / "tiny.yaml"), "--run-dir", str(run_dir))
    assert result.exit_code == 0, result.stderr
    assert "d16-10.2k" in result.stdout and "truth − predicted" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.fixture
def copied(swept: Swept, tmp_path: Path) -> Path:
    """A finished sweep to do damage to."""
    _written(tmp_path, TINY)
    shutil.copytree(swept[1], tmp_path / "swept", symlinks=True)
    return tmp_path / "swept"


@pytest.mark.parametrize(
    ("damage", "overrides", "message"),
    [
        ("prediction.json", (), "prediction.json: is missing, and "),
        ("", ("--set", "tokens=[5120, 10240, 20480, 25600]"), "is still to be trained, and "),
        ("", ("--set", "held_out.tokens=40960"), "held-out: holds a run of another config (train.steps"),
        ("", ("--set", "base.data.documents=3100"), "holds a sweep with another `base`"),
        ("sweep.yaml", (), "has files in it and is no sweep's directory"),
        ("d8-5.12k/run.json", (), "d8-5.12k: is still to be trained, and "),
    ],
)
def test_what_is_known_is_not_predicted(copied: Path, damage: str, overrides: tuple[str, ...], message: str) -> None:
    if damage:
        (copied / damage).unlink()
    result = _invoked(str(copied.parent / "tiny.yaml"), "--run-dir", str(copied), *overrides)
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]


def test_an_interrupted_prediction_is_made_anew(swept: Swept, copied: Path) -> None:
    loss = swept[0]["prediction"]["loss"]
    target = (loss["parameters"], loss["tokens"])
    found = stored_prediction(copied, *target, begun=True)
    assert found is not None and found.model_dump(mode="json") == swept[0]["prediction"]
    assert stored_prediction(copied, target[0], target[1] + 256, begun=False) is None
    with (copied / "runs.csv").open("a") as table:
        table.write("another,1000,1000,3.0\n")
    assert stored_prediction(copied, *target, begun=False) is None
    with pytest.raises(BadInputError, match=r"is of another ladder or target, and .*held-out was begun already"):
        stored_prediction(copied, *target, begun=True)
    (copied / "prediction.json").write_text('{"schema": "replibench.swe')
    with pytest.raises(BadInputError, match=r"prediction\.json: not a SweepPrediction"):
        stored_prediction(copied, *target, begun=False)
    (copied / "prediction.json").unlink()
    assert stored_prediction(copied, *target, begun=False) is None


def test_the_gpu_sweep_is_planned_without_being_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = _invoked("configs/sweeps/gpu.yaml", "--dry-run", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert not list(tmp_path.iterdir())
    here = [word for key in ("device=cpu", "precision=fp32") for word in ("--set", f"base.train.{key}")]
    without_text = _invoked("gpu", *here)
    assert without_text.exit_code == 2
    assert "data.sources: " in without_text.stderr
    assert without_text.stderr.endswith("corpus/*.jsonl.zst: no such file, and none of that pattern\n")
    plan = json.loads(result.stdout)
    ladder, held_out = plan["members"][:-1], plan["members"][-1]
    assert len({member["parameters"] for member in ladder}) >= 5 and len(ladder) >= 20
    assert min(member["parameters"] for member in ladder) == pytest.approx(10e6, rel=0.05)
    assert held_out["name"] == HELD_OUT and held_out["parameters"] == pytest.approx(1.3e9, rel=0.05)
    assert [member["model_flop"] for member in ladder] == sorted(member["model_flop"] for member in ladder)
    for member in plan["members"]:
        six_n_d = 6 * member["parameters"] * member["tokens"]
        assert six_n_d < member["model_flop"] < 1.5 * six_n_d  # with attention's square
        peak_s = member["model_flop"] / (8 * 989.4e12)
        if member["parameters"] < 400e6:
            assert member["time"] is None
        else:
            assert peak_s < member["time"]["p5_s"] < member["time"]["median_s"] < member["time"]["p95_s"] < 20 * peak_s
    assert plan["model_flop"] == sum(member["model_flop"] for member in plan["members"])
    assert "no time for 20 of 25 members" in " ".join(plan["warnings"])


def test_the_cpu_sweep_is_a_ladder_of_five_by_four() -> None:
    plan = json.loads(_invoked("cpu", "--dry-run", "--format", "json").stdout)
    *ladder, held_out = plan["members"]
    assert len({member["parameters"] for member in ladder}) >= 5
    assert len({member["tokens"] for member in ladder}) >= 4
    assert held_out["model_flop"] > max(member["model_flop"] for member in ladder)
    assert plan["median_s"] is None and "names no cluster" in plan["warnings"][0]
    assert _invoked("cpu", "--dry-run").stdout.count("held-out") == 1


def _changed(**top: Any) -> dict[str, Any]:
    return {key: value for key, value in {**TINY, **top}.items() if value is not None}


D8 = {"architecture": {"hidden_size": 8, "intermediate_size": 32}}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (_changed(budgets=[1]), "budgets: unknown key"),
        (_changed(sizes={"a": {"architecure": {}}}), "sizes.a.architecture: is missing"),
        (_changed(sizes={"a": {**D8, "train": {"step": 3}}}), "sizes.a: train.step: unknown key; did you mean 'steps'"),
        (_changed(sizes={"a": {**D8, "train": {"steps": 3}}}), "sizes.a.train.steps: the steps of a member follow"),
        (_changed(base={**TINY["base"], "train": {"steps": 3}}), "base.train.steps: the steps of a member follow"),
        (_changed(sizes={"a/b": D8}), "sizes.a/b: name: 'tiny-a/b-5.12k'"),
        (_changed(sizes={"a": {"architecture": {"hidden_size": 9}}}), "sizes.a.architecture.num_attention_heads: 2"),
        (_changed(sizes={"a": {**D8, "train": {"data_parallel_size": 2}}}), "train.world_size: 1 of held-out, 2 of a-"),
        (_changed(sizes={"a": {**D8, "train": {"sequence_length": 16}}}), "train.sequence_length: 32 of held-out, 16"),
        (_changed(sizes={"a": D8, "b": D8}), "a-5.12k and b-5.12k are both 9.95k parameters on 5.12k tokens"),
        (_changed(sizes={"a": D8}), "tiny: 3 runs are too few for a law of five parameters"),
        (_changed(tokens=[5_120, 10_240]), "tiny: the runs have 2 different numbers of tokens"),
        (_changed(tokens=[5_120, 5_121]), "two members are called d16-5.12k"),
        (_changed(tokens=[5_120, 5_200]), "d8-5.12k and d8-5.2k are both 9.95k parameters on 5.12k tokens"),
        (_changed(tokens=None), "give one of `tokens` and `tokens_per_parameter`"),
        (_changed(tokens_per_parameter=[3]), "give one of `tokens` and `tokens_per_parameter`"),
        (_changed(held_out=None), "held_out: is missing"),
        (_changed(held_out=D8), "held_out needs a budget"),
        (
            _changed(held_out={**D8, "tokens": 30_720}),
            "held_out: 9.95k parameters on 30.7k tokens is not the largest",
        ),
        (_changed(held_out={**TINY["held_out"], "tokens": 256}), "58.2k parameters on 256 tokens is not the largest"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, tree: dict[str, Any], message: str) -> None:
    result = _invoked(str(_written(tmp_path, tree)), "--run-dir", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cluster=16xh100-sxm-80gb", "cluster: 16xh100-sxm-80gb has 16 devices, and 10M-2.5x takes 8 processes"),
        ("cluster=8xh100", "h100"),
        ("held_out.train.micro_batch_size=64", "cluster: held-out needs"),
    ],
)
def test_a_cluster_that_does_not_fit_is_one_line(override: str, message: str) -> None:
    result = _invoked("gpu", "--dry-run", "--set", override)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr


def test_a_sweep_of_files_finds_them_from_its_own_place(tmp_path: Path) -> None:
    base = {**TINY["base"], "data": {"sources": [{"path": "novels/*.txt"}], "tokenizer": "bpe"}}
    found = members(load_sweep(_written(tmp_path, {**TINY, "base": base})))
    for config in found.values():
        assert isinstance(config.data, FilesData)
        assert (config.data.sources[0].path, config.data.tokenizer) == (
            str(tmp_path / "novels/*.txt"),
            str(tmp_path / "bpe"),
        )

"""`replibench extrapolate forecast`: its JSON, its table, what it writes, and one line for whatever is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from configs.files import read_record, write_record
from configs.loader import load_config, write_config
from extrapolate.forecast import Forecast
from report.inputs import read_run
from scripts.cli import app
from tests.extrapolate.run_records import run_record

FORECAST = ("extrapolate", "forecast", "--samples", "2000")
FOUR = {"p5", "median", "mean", "p95"}


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, [*FORECAST, *arguments])


def test_json_has_the_promised_keys() -> None:
    flags = ("--target", "gpt3-175b", "--cluster", "1024xa100-sxm-80gb", "--price-date", "2022-01", "--format", "json")
    result = run(*flags)
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["schema"] == "replibench.forecast/1"
    assert answer["target"] == "gpt3-175b"
    estimate = json.loads(CliRunner().invoke(app, ["estimate", "--model", "gpt3-175b", "--format", "json"]).stdout)
    assert answer["flop"] == estimate["flop"]
    split = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    assert answer["plan"].keys() >= {*split, "micro_batch_size", "recompute", "mfu", "hfu"}
    assert answer["wall_clock_days"].keys() == FOUR | {"ideal", "coverage"}
    for key in ("accelerator_hours", "compute_share", "compute_to_labour"):
        assert answer[key].keys() == FOUR
    assert answer["cost_usd"].keys() == {"compute", "staff", "dataset", "total", "to_pay"}
    assert all(part.keys() == FOUR for part in answer["cost_usd"].values())
    assert answer["loss"].keys() >= {"median", "p5", "p95", "coverage"}
    assert answer["gpt3_like"].keys() >= {"verdict", "reasons"} and answer["gpt3_like"]["verdict"] == "pass"
    for key in ("drivers", "assumptions", "warnings"):
        assert isinstance(answer[key], list) and answer[key]
    assert answer["price_date"] == "2022-01-15"


def test_text_says_what_it_rests_on() -> None:
    told = " ".join(run("--tokens", "1e9", "--goodput", "0.5-0.9").stdout.split())
    for words in ("What is forecast", "1,000,000,000 tokens", "tensor × pipeline × data parallel", "ideal", "Warning:"):
        assert words in told, words


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run of the smoke configuration, with another target."""
    settings = load_config("smoke", ["forecast.target=gpt3-1.3b", "forecast.cluster=64xa100-sxm-80gb"])
    directory = tmp_path / "smoke"
    directory.mkdir()
    write_config(directory / "config.yaml", settings)
    write_record(directory / "run.json", run_record())
    return directory


def test_of_one_run_it_is_written_into_it(run_dir: Path) -> None:
    result = run(str(run_dir), "--format", "json")
    assert result.exit_code == 0, result.stderr
    written = read_record(run_dir / "forecast.json", Forecast)
    assert written == Forecast.model_validate_json(result.stdout) == read_run(run_dir).forecast
    assert (written.target, written.cluster.accelerator_count) == ("gpt3-1.3b", 64)  # its own configuration's
    assert any("on a CPU" in warning for warning in written.warnings)
    other = run(str(run_dir), "--target", "gpt3-13b", "--format", "json")
    assert json.loads(other.stdout)["target"] == read_record(run_dir / "forecast.json", Forecast).target == "gpt3-13b"


def test_a_run_that_is_at_work_is_left_alone(run_dir: Path) -> None:
    """The lock is held by another living process."""
    import fcntl
    import os

    with (run_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getppid()))
        lock.flush()
        result = run(str(run_dir))
    assert result.exit_code == 2
    assert "is working in it" in result.stderr
    assert not (run_dir / "forecast.json").exists()


def test_runs_as_a_csv_give_the_loss_alone(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    rows = [(n, d, 1.8 + 480 / n**0.35 + 2100 / d**0.37) for n in (1e7, 3e7, 1e8) for d in (1e9, 3e9, 1e10)]
    table.write_text("parameters,tokens,loss\n" + "".join(f"{n},{d},{loss}\n" for n, d, loss in rows))
    answer = json.loads(run(str(table), "--format", "json").stdout)
    assert answer["loss"]["law"] == "9 runs of your own"
    assert answer["loss"]["p5"] < 1.8 + 480 / 174604259328**0.35 + 2100 / 3e11**0.37 < answer["loss"]["p95"]
    assert answer["runs"] == []
    told = " ".join(answer["warnings"])
    assert "no run was given" not in told and f"of {table} only the loss follows" in told


def wrong(tmp_path: Path, name: str) -> str:
    """A path to something that is no run."""
    contents = {
        "empty.csv": "",
        "heads.csv": "parameters,tokens,loss\n",
        "nan.csv": "parameters,tokens,loss\n1e7,1e9,nan\n",
        "one-size.csv": "parameters,tokens,loss\n" + "".join(f"1e8,{d}e9,{3 + 1 / d}\n" for d in range(1, 10)),
        "rising.csv": "parameters,tokens,loss\n"
        + "".join(f"{n}e7,{d}e9,{3 + n / 100 + d / 100}\n" for n in (1, 2, 4) for d in (1, 2, 4)),
        "few.csv": "parameters,tokens,loss\n1e7,1e9,3\n2e7,1e9,2.9\n",
        "large.csv": "parameters,tokens,loss\n"
        + "".join(f"{n},{d},{1.8 + 1e3 / n**0.35 + 1e3 / d**0.37}\n" for n in (1e12, 2e12, 4e12) for d in (1e9, 2e9)),
        "costs.yaml": yaml.safe_dump({"compute": "stolen"}),
        "run.json": "{}",
    }
    path = tmp_path / name
    path.write_text(contents.get(name, ""))
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cluster", "0xa100-sxm-80gb"), "--cluster: 0xa100-sxm-80gb: '0' is not a number of accelerators"),
        (("--cluster", "1024xa100"), "--cluster: 1024xa100: unknown accelerator 'a100'; did you mean a100-"),
        (("--cluster", "20xa100-sxm-80gb"), "cluster 20xa100-sxm-80gb: 20 accelerators do not fill nodes of 8"),
        (("--cluster", "8xa100-sxm-80gb"), "the model fits on 8 devices of a100-sxm-80gb in none of"),
        (("--target", "gpt3-17b"), "--target: unknown architecture 'gpt3-17b'; did you mean gpt3-175b"),
        (("--tokens", "-5"), "--tokens: -5 is not a number of tokens"),
        (("--tokens", "nan"), "--tokens: nan is not a number of tokens"),
        (("--price-date", "2019-01"), "a100-sxm-80gb: there was none on 2019-01-15"),
        (("--price-date", "soon"), "--price-date: 'soon' is not a date; write 2022-01"),
        (("--goodput", "often"), "--goodput: 'often' is no share"),
        (("--goodput", "1.5"), "--goodput: is a share"),
        (("--goodput", "0"), "--goodput: must be above 0"),
        (("--samples", "5"), "--samples: input should be greater than or equal to 1000"),
        (("--batch", "7"), "a batch of 7 sequences is divided by no number of copies"),
        (("nowhere",), "nowhere"),
        (("empty.csv",), "empty.csv: is empty"),
        (("heads.csv",), "heads.csv: has no runs under its heading"),
        (("nan.csv",), "line 2: loss is nan; it must be a finite number above 0"),
        (("one-size.csv",), "one-size.csv: all runs have one size; E, A and alpha need at least 3"),
        (("rising.csv",), "rising.csv: the losses do not fall with"),
        (("few.csv",), "few.csv: 2 runs are too few for a law"),
        (("--price-date", "2040-01"), "2040-01-15 is of 2025-03-17, 14.8 years away"),
        (("--price-date", "2040-01"), "or give rental.usd_per_accelerator_hour"),
        (("large.csv",), "is not as large as the smallest of the runs"),
        (("run.json",), "run.json: not a RunRecord"),
        (("--assumptions", "costs.yaml"), "costs.yaml: compute: 'stolen' is not a choice"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in arguments:
        if name.endswith((".csv", ".yaml", ".json")):
            wrong(tmp_path, name)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ") and message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""

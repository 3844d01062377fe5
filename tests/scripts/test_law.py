"""`replibench extrapolate law`: its JSON, its tables, what it takes and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from configs.files import write_record
from scripts.cli import app
from tests.extrapolate.synthetic_runs import ladder
from tests.report.report_records import run_record
from train.record import HeldOutLoss


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["extrapolate", "law", *arguments])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Sixteen runs: enough for a law, too few to calibrate it, which keeps the test short."""
    runs = ladder(4, 4, noise=0.005)
    rows = zip(runs.parameters, runs.tokens, runs.loss, strict=True)
    path = tmp_path / "runs.csv"
    lines = ["name,loss,parameters,tokens", *(f"a run,{loss},{n},{d}" for n, d, loss in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_promised_keys_are_there(table: Path) -> None:
    result = invoked(str(table), "--drop-highest", "1", "--target-parameters", "5e10", "--target-tokens", "1e12",
                     "--format", "json")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["schema"] == "replibench.law/1"
    assert (answer["n_points"], answer["dropped"]) == (15, 1)
    assert answer["objective"] > 0
    for name in ("E", "A", "B", "alpha", "beta"):
        assert answer["standard_errors"][name] > 0
        assert answer["ranges"][name]["p5"] < answer["ranges"][name]["p95"]
    (prediction,) = answer["predictions"]
    n, d = 5e10, 1e12
    law = answer["E"] + answer["A"] / n ** answer["alpha"] + answer["B"] / d ** answer["beta"]
    assert prediction["median"] == pytest.approx(law)
    assert prediction["p5"] < prediction["median"] < prediction["p95"]
    assert prediction["coverage"] is None and "not calibrated" in "".join(prediction["warnings"])


def test_without_a_target_the_best_models_of_larger_budgets(table: Path) -> None:
    answer = json.loads(invoked(str(table), "--format", "json").stdout)
    factors = [prediction["extrapolation_factor"] for prediction in answer["predictions"]]
    assert factors == pytest.approx([1, 10, 100])
    for best in answer["allocations"]:
        assert 6 * best["parameters"] * best["tokens"] == pytest.approx(best["flop"])
    text = invoked(str(table), "--flop", "1e23")
    assert text.exit_code == 0, text.stderr
    assert "alpha" in text.stdout and "1.00e23" in text.stdout
    assert "not calibrated" in " ".join(text.stdout.split())


def test_run_directories(tmp_path: Path) -> None:
    runs, record = ladder(4, 4, noise=0.005), run_record()
    for number in range(len(runs)):
        sizes = record.flops.model_copy(update={"parameters_all": int(runs.parameters[number])})
        loss = HeldOutLoss(replica=float(runs.loss[number]), tokens=1000)
        own = record.model_copy(update={"flops": sizes, "tokens": int(runs.tokens[number]), "held_out_loss": loss})
        write_record(tmp_path / f"run-{number}" / "run.json", own)
    result = invoked(*(str(tmp_path / f"run-{number}") for number in range(len(runs))), "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["n_points"] == 16


HEAD = "parameters,tokens,loss\n"
ROWS = "1e6,1e8,3.5\n2e6,1e8,3.4\n"


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", (), "is empty"),
        (HEAD, (), "has no runs under its heading"),
        ("parameters,loss\n1,2\n", (), "has no column tokens"),
        (HEAD + ROWS, (), "2 runs are too few for a law of five parameters; give at least 6"),
        (HEAD + "1e6,1e8,nan\n", (), "line 2: loss is nan"),
        (HEAD + ROWS + "4e6,1e8,inf\n", (), "line 4: loss is inf"),
        (HEAD + ROWS + "4e6,1e8,\n", (), "line 4: loss is '', which is no number"),
        (HEAD + ROWS + "4e6,1e8\n", (), "line 4: loss is None, which is no number"),
        (HEAD + ROWS + "4e6,-1e8,3\n", (), "line 4: tokens is -1e+08"),
        (HEAD + ROWS, ("--drop-highest", "2"), "--drop-highest: "),
        (HEAD + ROWS, ("--target-parameters", "1e5", "--target-tokens", "1e9"), "--target-parameters: 100000 is not"),
        (HEAD + ROWS, ("--target-parameters", "1e7", "--target-tokens", "1e7"), "--target-tokens: 1e+07 is not"),
        (HEAD + ROWS, ("--flop", "1e10"), "--flop: 1e+10 is not"),
        (HEAD + ROWS, ("--flop", "nan"), "--flop: nan is not"),
        (HEAD + ROWS, ("--target-parameters", "1e7"), "give --target-tokens too"),
        (HEAD + ROWS, ("--target-tokens", "1e9"), "give --target-parameters too"),
        (HEAD + ROWS, ("--flop", "1e20", "--target-parameters", "1e7", "--target-tokens", "1e9"), "give one"),
        (HEAD + "".join(f"1e6,{n}e8,3.{9 - n}\n" for n in range(1, 8)), (), "all runs have one size"),
        (HEAD + "".join(f"{n}e6,1e8,3.{9 - n}\n" for n in range(1, 8)), (), "all runs have one number of tokens"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, text: str, arguments: tuple[str, ...], message: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text, encoding="utf-8")
    result = invoked(str(path), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe\x00")
    write_record(tmp_path / "b" / "run.json", run_record(held_out_loss=None))
    for arguments, message in [
        ((), "RUNS: missing"),
        ((tmp_path / "none.csv",), "No such file"),
        ((tmp_path / "picture.png",), "is not text"),
        ((tmp_path / "a",), "run.json: no such file"),
        ((tmp_path / "b",), "has no held_out_loss"),
        ((tmp_path / "a", tmp_path / "picture.png"), "no such file"),
        ((tmp_path / "picture.png", tmp_path / "a"), "is no run directory"),
    ]:
        result = invoked(*map(str, arguments))
        assert result.exit_code == 2
        assert message in result.stderr and result.stderr.count("\n") == 1

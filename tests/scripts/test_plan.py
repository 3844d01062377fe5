"""`replibench extrapolate plan`: its JSON, its tables, what it refuses; and the page that its numbers come from."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from configs.errors import BadInputError
from configs.files import write_record
from scripts import document_throughput
from scripts.cli import app
from tests.extrapolate.run_records import run_record

SMALL = ("extrapolate", "plan", "--model", "gpt3-1.3b", "--cluster", "a100-1024", "--batch", "512", "--count", "16")


def test_json_has_the_promised_keys(tmp_path: Path) -> None:
    write_record(tmp_path / "run.json", run_record())
    result = CliRunner().invoke(app, [*SMALL, "--best", "2", "--run", str(tmp_path), "--format", "json"])
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["schema"] == "replibench.layouts/1"
    assert len(answer["plans"]) == 2
    first = answer["plans"][0]
    assert first.keys() >= {
        *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "micro_batch_size", "recompute"),
        *("zero_stage", "sequence_parallel", "interleave", "step_time_s", "tokens_per_s", "mfu", "hfu", "memory"),
    }
    assert answer["utilisation"]["mfu"]["low"] < answer["utilisation"]["mfu"]["median"] < first["mfu"]
    assert any("it was on a CPU" in warning for warning in answer["warnings"])


def test_a_cluster_may_be_a_count_and_an_accelerator() -> None:
    sized = ("extrapolate", "plan", "--model", "gpt3-1.3b", "--cluster", "16xa100-sxm-80gb", "--batch", "512")
    plans = [
        json.loads(CliRunner().invoke(app, [*arguments, "--format", "json"]).stdout)["plans"]
        for arguments in (SMALL, sized)
    ]
    assert plans[0] == plans[1]


def test_text_says_what_and_why() -> None:
    result = CliRunner().invoke(app, SMALL)
    assert result.exit_code == 0, result.stderr
    for words in ("MFU %", "MFU while training", "slower by", "fits in no layout", "Dropped", "Matmuls take"):
        assert words in " ".join(result.stdout.split()), words


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("--model", "gpt3-1.4b"), "error: --model: unknown architecture 'gpt3-1.4b'"),
        (("--cluster", "a100"), "error: --cluster: unknown cluster 'a100'; did you mean a100-1024"),
        (("--cluster", "0xa100-sxm-80gb"), "error: --cluster: 0xa100-sxm-80gb: '0' is not a number of accelerators"),
        (("--cluster", "8xtpu-v4"), "error: cluster 8xtpu-v4: configs/nodes.yaml has no node of tpu-v4"),
        (("--run", "nowhere"), "error: --run: nowhere: no such file"),
        (("--count", "20"), "error: cluster a100-1024: 20 accelerators do not fill nodes of 8"),
        (("--batch", "7", "--count", "1024"), "error: a batch of 7 sequences is divided by no number of copies"),
    ],
)
def test_a_wrong_flag_is_one_line(changed: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, [*SMALL, *changed])
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_the_page_shows_the_calibration_and_the_checks() -> None:
    page = document_throughput.PAGE.read_text(encoding="utf-8")
    assert document_throughput.updated(page) == page, "run `python -m scripts.document_throughput`"
    with pytest.raises(BadInputError, match=r"throughput.md: needs the lines .* once each"):
        document_throughput.updated("# no markers\n")

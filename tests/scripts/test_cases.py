"""`replibench cases`: the listing and its filters, one case whole, CSV and JSON, runs of one's own, and faults."""

import csv
import datetime
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.testing import CliRunner, Result

from configs import presets
from configs.cases import MECHANISMS, case_studies, entries, parse_cases, users_cases
from configs.errors import BadInputError
from eval.verdict import Mechanism
from scripts.cli import app
from tests.report.report_records import failing_verdict, manifest, run_record, write_run

NINE = ["gpt-3", "pangu-alpha", "jurassic-1-jumbo", "gopher", "gpt-neox-20b", "chinchilla", "palm-540b", "opt-175b",
        "bloom-176b"]  # fmt: skip


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["cases", *arguments])


def listed(*arguments: str) -> list[dict[str, Any]]:
    result = invoke(*arguments, "--format", "json")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["schema"] == "replibench.cases/1"
    cases: list[dict[str, Any]] = answer["cases"]
    return cases


def names(*arguments: str) -> list[str]:
    return [case["name"] for case in listed(*arguments)]


def refused(*arguments: str) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.count("\n") == 1
    return result.stderr


def test_the_nine_in_the_order_of_their_publication() -> None:
    assert names() == NINE
    dates = [case["case"]["release"]["published"]["value"] for case in listed()]
    assert dates == sorted(dates)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--gpt3-like"], [name for name in NINE if name not in ("pangu-alpha", "gpt-neox-20b")]),
        (["--mechanism", "replication"], ["opt-175b"]),
        (["--mechanism", "open-publication"], ["gpt-neox-20b", "opt-175b", "bloom-176b"]),
        (["--mechanism", "Incremental Research", "--developer", "deepmind"], ["gopher", "chinchilla"]),
        (["--since", "2022-04-04"], ["palm-540b", "opt-175b", "bloom-176b"]),
        (["--until", "2021-04-25"], ["gpt-3", "pangu-alpha"]),
        (["--since", "2021-12-08", "--until", "2022-02-09", "--gpt3-like"], ["gopher"]),
        (["--mechanism", "theft"], []),
    ],
)
def test_filters(flags: list[str], expected: list[str]) -> None:
    assert names(*flags) == expected


def test_every_cell_has_a_source_and_every_field_a_fact_somewhere() -> None:
    found = {}
    for case in case_studies().values():
        for entry in entries(case):
            found[entry.field] = found.get(entry.field, False) or entry.fact is not None
            if entry.fact is not None:
                assert entry.fact.source.strip()
    assert [field for field, filled in found.items() if not filled] == []


def test_nothing_is_said_twice() -> None:
    """Parameters, tokens and the authors' FLOP are the preset's; no case gives the same FLOP again."""
    for case in case_studies().values():
        assert case.architecture is None and case.tokens is None
        published = presets.architecture_preset(case.preset or "").published
        assert published is not None
        assert published.training_flop not in [fact.value for fact in case.resources.training_flop]


def test_like_is_compared_with_like() -> None:
    """Hardware FLOP beside hardware FLOP: OPT's and Gopher's published numbers are met, which 6·N·D would miss."""
    for name, kind in [("opt-175b", "hardware"), ("gopher", "hardware"), ("gpt-3", "model"), ("chinchilla", "model")]:
        (case,) = [case for case in listed() if case["name"] == name]
        flop = next(each for each in case["comparisons"] if each["quantity"] == "training_flop")
        assert flop["published_as"] == kind
        assert flop["ratio"] == pytest.approx(1, abs=0.013)
        assert flop["ours"] / flop["published"] == flop["ratio"]


def test_accelerator_hours_at_the_reported_speed() -> None:
    by_name = {case["name"]: case for case in listed()}

    def hours(name: str) -> dict[str, Any]:
        found = [each for each in by_name[name]["comparisons"] if each["quantity"] == "accelerator_hours"]
        return found[0]  # type: ignore[no-any-return]

    # Hardware FLOP over the reported hardware rate; the study has 4.30e23/147e12 for OPT.
    assert hours("opt-175b")["ours"] == pytest.approx(4.30e23 / 147e12 / 3600, rel=0.001)
    assert hours("bloom-176b")["ratio"] == pytest.approx(0.9, abs=0.01)  # the rest is what BLOOM lost
    low, high = hours("gopher")["interval90"]  # no speed was reported
    assert low < hours("gopher")["published"] < high
    assert "effective MFU" in hours("gopher")["ours_as"]


def test_one_case_whole() -> None:
    text = invoke("show", "opt-175b").stdout
    for words in (
        "Meta AI",
        "replication",
        "200 to 3,000",
        "no source at hand for",
        "[1] ",
        "GPT-3-like: pass",
        "hardware",
    ):
        assert words in text
    (whole,) = json.loads(invoke("show", "opt-175b", "--format", "json").stdout)["cases"]
    assert whole == next(case for case in listed() if case["name"] == "opt-175b")


@pytest.mark.parametrize("name", NINE)
def test_every_case_can_be_shown(name: str) -> None:
    assert f"({name})" in invoke("show", name).stdout


def test_csv_is_the_same_as_json() -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("--format", "csv").stdout)))
    assert [row["case"] for row in rows] == NINE
    for row, case in zip(rows, listed(), strict=True):
        assert row["gpt3_like"] == case["gpt3_like"]["verdict"]
        assert float(row["undertrained_kaplan"]) == case["gpt3_like"]["undertrained"]["kaplan"]["factor"]
        for group in ("project", "release", "resources"):
            for field, fact in case["case"][group].items():
                if isinstance(fact, list):
                    continue
                assert row[field] == ("" if fact is None else str(fact["value"])) or float(row[field]) == fact["value"]
                assert row[f"{field}_source"] == ("" if fact is None else fact["source"])
                if fact and fact["interval90"]:
                    assert [float(row[f"{field}_{end}90"]) for end in ("low", "high")] == fact["interval90"]
        hindering = [fact["value"] for fact in case["case"]["factors"]["hindering"]]
        assert row["hindering"].splitlines() == hindering
        flop = [each for each in case["comparisons"] if each["quantity"] == "training_flop"]
        assert row["training_flop_ours"].splitlines() == [str(each["ours"]) for each in flop]


def test_csv_has_the_same_columns_whatever_is_listed() -> None:
    heads = {invoke("--format", "csv", *flags).stdout.splitlines()[0] for flags in ([], ["--mechanism", "theft"])}
    assert len(heads) == 1
    assert len(set(heads.pop().split(","))) > 100


def test_a_run_of_ones_own_is_listed_beside_them(tmp_path: Path) -> None:
    write_run(tmp_path / "mine", run=run_record(n_devices=2))
    assert invoke("add", "mine", "--developer", "our group").exit_code == 0
    assert names() == [*NINE, "mine"]
    assert names("--developer", "our") == names("--mechanism", "replication")[1:] == ["mine"]
    (mine,) = listed("--developer", "our")
    case, run = mine["case"], run_record()
    assert case["tokens"] == run.tokens and case["model_source"] == "mine/run.json"
    assert case["architecture"] == run.architecture.model_dump()
    assert case["release"]["mechanism"]["value"] == "replication"
    assert case["release"]["mechanism"]["source"] == "mine/verdict.json"
    assert case["release"]["training_began"]["value"] == "2026-03-02"
    assert case["resources"]["accelerator_hours"]["value"] == pytest.approx(2 * run.wall_clock_s / 3600)
    assert mine["gpt3_like"]["verdict"] == "fail"
    hours = next(each for each in mine["comparisons"] if each["quantity"] == "accelerator_hours")
    assert hours["ours"] == pytest.approx(run.tokens / run.tokens_per_s * 2 / 3600)  # of two devices
    assert names("--since", "2026-03-02", "--until", "2026-03-02") == ["mine"]
    assert "1 restarts, 37 steps done again" in invoke("show", "mine").stdout
    assert not names("--gpt3-like")[7:]
    row = list(csv.DictReader(io.StringIO(invoke("--format", "csv").stdout)))[-1]
    assert row["case"] == "mine" and row["published"] == "" and row["hindering_source"] == "mine/run.json"


def test_what_is_added_reads_back_and_what_was_there_stays(tmp_path: Path) -> None:
    own = tmp_path / "own" / "cases.yaml"
    own.parent.mkdir()
    own.write_text("# my cases\n", encoding="utf-8")
    for name, more in [("first", {}), ("second", {"tokens": 1024})]:
        write_run(tmp_path / name, run=run_record(**more))
        assert invoke("add", name, "--file", str(own)).exit_code == 0
    assert own.read_text(encoding="utf-8").startswith("# my cases\n\nfirst:\n")
    assert list(users_cases(own)) == ["first", "second"]
    assert users_cases(own)["second"].training_tokens() == 1024
    assert [path.name for path in own.parent.iterdir()] == ["cases.yaml"]  # no temporary file is left
    assert names("--file", str(own)) == [*NINE, "first", "second"]
    assert names() == NINE  # the other file is not read


@pytest.mark.parametrize(
    ("records", "word", "source", "why"),
    [
        ({"verdict": failing_verdict()}, "not a replication", "verdict.json", "further apart"),
        ({"verdict": None}, "unknown", "manifest.json", "there is no verdict"),
        ({"verdict": None, "manifest": None}, "unknown", "manifest.json", "no manifest"),
        (
            {"verdict": None, "manifest": manifest(reference=None, identity=None)},
            "unknown",
            "manifest.json",
            "no reference",
        ),
    ],
)
def test_how_the_mechanism_is_known(tmp_path: Path, records: dict[str, Any], word: str, source: str, why: str) -> None:
    write_run(tmp_path / "mine", **records)
    assert invoke("add", "mine").exit_code == 0
    mechanism = listed()[-1]["case"]["release"]["mechanism"]
    assert mechanism["value"] == word and mechanism["source"] == f"mine/{source}" and why in mechanism["note"]


def test_another_method_is_incremental_research_even_without_a_verdict(tmp_path: Path) -> None:
    write_run(tmp_path / "original", manifest=manifest(name="original", tokenizer_sha256="00" * 32))
    run = write_run(tmp_path / "mine", verdict=None)
    (run / "reference.path").write_text(str(tmp_path / "original"), encoding="utf-8")
    assert invoke("add", "mine").exit_code == 0
    mechanism = listed()[-1]["case"]["release"]["mechanism"]
    assert mechanism["value"] == "incremental research" and "tokenizer" in mechanism["note"]


def test_the_criterions_words_are_among_the_mechanisms() -> None:
    assert set(get_args(Mechanism)) <= set(MECHANISMS)


def test_no_duplicates(tmp_path: Path) -> None:
    write_run(tmp_path / "mine")
    assert invoke("add", "mine").exit_code == 0
    before = Path("cases.yaml").read_text(encoding="utf-8")
    assert "there already, as mine" in refused("add", "mine", "--name", "again")
    write_run(tmp_path / "mine", run=run_record(tokens=1024))
    assert "--name: mine is in cases.yaml already" in refused("add", "mine")
    assert "--name: gpt-3 is in the case studies already" in refused("add", "mine", "--name", "gpt-3")
    assert "--name: is empty" in refused("add", "mine", "--name", " ")
    assert Path("cases.yaml").read_text(encoding="utf-8") == before


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "stopped", run=None)
    write_run(tmp_path / "unfinished", run=run_record(finished=False))
    (tmp_path / "empty").mkdir()
    assert "not finished (no run.json)" in refused("add", "stopped")
    assert "not finished" in refused("add", "unfinished")
    assert "empty: is no run" in refused("add", "empty")
    assert "nowhere: no such directory" in refused("add", "nowhere")
    assert "is a file" in refused("add", "stopped/config.yaml")
    (tmp_path / "empty" / "run.json").write_text("{}", encoding="utf-8")
    assert "not a RunRecord" in refused("add", "empty")
    assert not Path("cases.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "opt"], "unknown case 'opt'; did you mean opt-175b?"),
        (["show", "GPT3"], "did you mean gpt-3"),
        (["show", "zzzz"], f"choices: {', '.join(NINE)}"),
        (["--mechanism", "magic"], "--mechanism: 'magic' is none; choices: original, replication,"),
        (["--since", "2022-13-01"], "--since: '2022-13-01' is not a date; give one such as 2021-12-31"),
        (["--until", "soon"], "--until: 'soon' is not a date"),
        (["--since", "2022-01-01", "--until", "2021-01-01"], "--until: 2021-01-01 is before --since 2022-01-01"),
        (["--file", "none.yaml"], "--file none.yaml: no such file"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str) -> None:
    assert words in refused(*arguments)


def test_filters_before_a_subcommand_are_not_ignored() -> None:
    assert invoke("--gpt3-like", "show", "gpt-3").exit_code == 2


GOOD = {"title": "T", "preset": "gpt3-175b"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preset": "gpt3-175"}, "unknown architecture"),
        ({"preset": None}, "needs preset, or architecture"),
        ({"tokens": 5}, "needs preset, or architecture"),
        ({"preset": "gpt2-124m"}, "published"),
        ({"project": {"developer": {"value": "me"}}}, "project.developer.source: is missing"),
        ({"project": {"developer": {"value": "me", "source": " "}}}, "source"),
        ({"project": {"develloper": {"value": "me", "source": "x"}}}, "unknown key"),
        ({"release": {"mechanism": {"value": "magic", "source": "x"}}}, "not a choice"),
        ({"release": {"published": {"value": "soon", "source": "x"}}}, "release.published.value"),
        ({"resources": {"power_w": {"value": 5, "interval90": [6, 7], "source": "x"}}}, "is not around the value"),
        ({"resources": {"power_w": {"value": -5, "source": "x"}}}, "resources.power_w.value"),
        ({"resources": {"accelerator": {"value": "X", "row": "v1000", "source": "x"}}}, "unknown accelerator"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_case_and_the_key(change: dict[str, Any], words: str) -> None:
    text = yaml.safe_dump({"good": GOOD, "wrong": {**GOOD, **change}})
    with pytest.raises(BadInputError, match=r"^mine\.yaml: wrong: ") as refusal:
        parse_cases(text, "mine.yaml")
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
    Path("cases.yaml").write_text(text, encoding="utf-8")
    assert words in refused()


def test_a_users_case_may_not_take_a_studys_name() -> None:
    Path("cases.yaml").write_text(yaml.safe_dump({"gpt-3": GOOD}), encoding="utf-8")
    assert "gpt-3 is the name of a case study" in refused()


def test_dates_are_dates() -> None:
    published = case_studies()["gpt-3"].release.published
    assert published is not None and published.value == datetime.date(2020, 5, 28)


def test_listing_needs_no_heavy_library() -> None:
    code = (
        "import sys; from pathlib import Path; from scripts.cases import select; "
        "assert len(select(Path('cases.yaml'))) == 9; "
        "import report.cases_csv, report.cases_table, scripts.case_of_run; "
        "assert not {'torch', 'transformers', 'deepspeed', 'lm_eval'} & {*sys.modules}"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr

"""The page and the Markdown: every number is the record's, what is missing is said, nothing is loaded or injected."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from configs.errors import BadInputError
from eval.verdict import EvidenceLayer, LiteralLayer
from report.content import visible
from report.html import write_report
from report.plots import DARK, log_ticks
from tests.report.report_records import (
    HOSTILE,
    calibration,
    failing_verdict,
    forecast,
    invalid_verdict,
    manifest,
    metric_lines,
    passing_verdict,
    recipe_verdict,
    run_record,
    verdict_without_counts,
    write_lines,
    write_run,
)


class Page(HTMLParser):
    """Tags with their attributes, the text outside scripts and styles, and the figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.figures: dict[str, Any] = {}
        self.inside: str | None = None
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in {"script", "style"} else self.inside

    def handle_endtag(self, tag: str) -> None:
        self.inside = None if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside is None:
            self.words.append(data)
        elif self.inside == "script" and (name := self.tags[-1][1].get("data-figure")):
            self.figures[name] = json.loads(data)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with everything in it, reported."""
    run_dir = write_run(tmp_path_factory.mktemp("runs") / "tiny-neox")
    assert write_report(run_dir) == run_dir / "report.html"
    return run_dir


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without plotly's 4.8 MB, where they are not what is tested."""
    monkeypatch.setattr("report.html.get_plotlyjs", lambda: "// plotly.js")


@pytest.fixture(scope="module")
def page(good: Path) -> Page:
    return Page((good / "report.html").read_text(encoding="utf-8"))


def expected_texts() -> list[str]:
    """Numbers of each record as they must stand in the report, formatted here independently of `report`."""
    verdict, run, model, facts = passing_verdict(), run_record(), forecast(), manifest()
    texts = []
    for each in verdict.benchmarks:
        assert each.ci90_pp is not None
        texts += [each.name, each.metric, each.method, each.evidence, f"{each.n:,}"]
        texts += [f"{100 * each.original:.2f}", f"{100 * each.replica:.2f}"]
        texts += [f"{each.difference_pp:+.2f}", f"[{each.ci90_pp[0]:+.2f}, {each.ci90_pp[1]:+.2f}]"]
    texts += [
        "1.59",
        "0.56",
        "0.49",
        "-0.49 pp",
        "[-0.79, -0.18]",
        "9,412 items",
        "2,950 independent units",
        "not compared: sums",
        verdict.evidence.reason,
        f"Mechanism: replication ({verdict.mechanism_reason})",
        "tiny-neox-replica (eval/replica)",
        "0.8125",
        "0.8229",
        "0.0143",
    ]
    texts += [f"{run.steps:,}", f"{run.tokens:,}", f"{run.predicted_tokens:,}", f"{run.loss:.4f}", "17,380", "46.3 %"]
    texts += ["0.05893 s", "9.870e10", "one thread", "1.13 GiB", "171.40 s", "118.70 s", "69.3", "118,422"]
    texts += ["logits against the engine's, largest absolute difference 3.200e-6"]
    texts += [f"{value:,}" for name, value in run.flops if name.endswith("_flop") and isinstance(value, int)]
    texts += ["3.229e23", "3.143e23", "4.302e23", "21.4 days"]  # the target's FLOPs, and its ideal time
    texts += ["848,200", "34.51", "24.86", "51.72", "$1.80 million", "$11.2 million", "3.140e23", "+2.84 %", "5.03e10"]
    texts += [each.source for each in model.assumptions] + [each.name for each in model.assumptions]
    texts += [*model.warnings, *(each.text for each in model.gpt3_like.reasons)]
    texts += [facts.created, "4f0c2d7e8a9b", "AMD EPYC 7B13", facts.training_config_sha256, facts.tokenizer_sha256]
    texts += [facts.corpus.sha256, facts.corpus.held_out_sha256, "init 1, data 2", *facts.versions.values()]
    texts += ["5/6", "0/8", "control: half-trained", calibration().remark, "steps: 2500"]
    return texts


def test_every_number_is_the_record_s(good: Path, page: Page) -> None:
    markdown = (good / "report.md").read_text(encoding="utf-8")
    for text in expected_texts():
        assert text in page.text, text
        assert text in markdown, text


def test_sections_come_in_order_with_the_verdict_first(page: Page) -> None:
    keys = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    assert keys == ["verdict", "intervals", "suite", "loss", "held-out", "time", "flops", "throughput", "forecast",
                    "inputs", "provenance", "configuration"]  # fmt: skip
    assert page.text.index("PASS") < page.text.index("CONSISTENT") < page.text.index("Benchmarks evaluated")


def test_figures_hold_the_record_s_numbers(page: Page) -> None:
    figures = page.figures
    assert set(figures) == {f"plot-{key}" for key in ("intervals", "suite", "loss", "time", "throughput", "forecast")}
    dots = {}
    for trace in figures["plot-intervals"]["data"]:
        for at, x, up, down in zip(
            trace["y"], trace["x"], trace["error_x"]["array"], trace["error_x"]["arrayminus"], strict=True
        ):
            dots[at] = pytest.approx((x, x - down, x + up))
    expected = [(each.difference_pp, *(each.ci90_pp or ())) for each in passing_verdict().benchmarks]
    assert [dots[at] for at in range(len(expected))] == expected
    band = figures["plot-intervals"]["layout"]["shapes"][0]
    assert (band["x0"], band["x1"]) == (-2, 2)
    replica, original = figures["plot-loss"]["data"][:2]
    assert replica["y"] == [line["loss"] for line in metric_lines()]
    assert original["y"] == [line["loss"] for line in metric_lines(seed=3)]
    assert [trace["x"] for trace in figures["plot-time"]["data"]] == [
        [v] for _, v in run_record().time if v is not None
    ]


def test_every_colour_of_a_figure_has_a_dark_counterpart(page: Page) -> None:
    def colours(value: Any, key: str = "") -> set[str]:
        if isinstance(value, dict):
            return set().union(*(colours(each, name) for name, each in value.items()))
        if isinstance(value, list):
            return set().union(*(colours(each, key) for each in value))
        return {value} if isinstance(value, str) and "color" in key else set()

    assert colours(page.figures) <= set(DARK)
    assert not set(DARK) & set(DARK.values())


def test_the_page_loads_nothing_and_every_table_and_plot_is_named(page: Page) -> None:
    for tag, attributes in page.tags:
        assert "src" not in attributes, tag
        assert tag not in {"link", "iframe", "img", "object", "embed", "base"}
        if tag != "a":
            assert "href" not in attributes
    anchors = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert all(href.startswith(("#", "https://arxiv.org/")) for href in anchors)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") > 10
    plots = [attributes for tag, attributes in page.tags if attributes.get("class") == "plot"]
    assert len(plots) == 6
    assert all(each["role"] == "img" and each["aria-label"] for each in plots)


def test_plotly_is_embedded_once(good: Path) -> None:
    text = (good / "report.html").read_text(encoding="utf-8")
    assert text.count("plotly.js v") == 1
    assert len(text) < 6_000_000


def test_same_records_give_the_same_bytes(good: Path, tmp_path: Path) -> None:
    again = write_run(tmp_path / "elsewhere" / "tiny-neox")
    write_report(again)
    for name in ("report.html", "report.md"):
        assert (again / name).read_bytes() == (good / name).read_bytes()


@pytest.mark.usefixtures("light")
def test_hostile_names_are_text(tmp_path: Path) -> None:
    run_dir = write_run(
        tmp_path / "run",
        verdict=failing_verdict(),
        run=run_record(name=HOSTILE, device_name=HOSTILE),
        manifest=manifest(name=HOSTILE, machine={HOSTILE: [HOSTILE]}),
        forecast=forecast(warnings=(HOSTILE, "![x](http://evil.example/p.png)")),
    )
    (run_dir / "config.yaml").write_text(f"name: '{HOSTILE}'\n```\n", encoding="utf-8")
    text = write_report(run_dir).read_text(encoding="utf-8")
    page = Page(text)
    assert not [tag for tag, attributes in page.tags if tag == "img" or "onerror" in attributes]
    assert [tag for tag, _ in page.tags].count("script") == text.count("</script>")
    assert page.text.count(visible(HOSTILE)) >= 5
    labels = page.figures["plot-intervals"]["layout"]["yaxis"]["ticktext"]
    assert any(each.startswith("&lt;img") for each in labels)
    assert not any("<img" in hover for trace in page.figures["plot-intervals"]["data"] for hover in trace["text"])
    markdown = (run_dir / "report.md").read_text(encoding="utf-8")
    outside, fenced = markdown.split("````\n", 1)
    assert "<img" not in outside
    assert "](" not in outside
    assert "\x1b" not in outside
    assert "```\n````" in fenced


RECORDS = ("manifest", "run", "verdict", "forecast", "calibration")
TOLD = {
    "verdict": ("NOT RUN", "no verdict.json"),
    "run": ("no run.json", "no FLOPs"),
    "forecast": ("no forecast.json",),
    "calibration": ("no calibration.json",),
    "manifest": ("no manifest.json",),
}


@pytest.mark.parametrize("missing", RECORDS)
@pytest.mark.usefixtures("light")
def test_a_missing_record_is_said(tmp_path: Path, missing: str) -> None:
    page = Page(write_report(write_run(tmp_path / "run", **{missing: None})).read_text(encoding="utf-8"))
    assert all(text in page.text for text in TOLD[missing])


@pytest.mark.parametrize("only", ["run", "verdict", "forecast"])
@pytest.mark.usefixtures("light")
def test_one_result_is_enough(tmp_path: Path, only: str) -> None:
    run_dir = write_run(tmp_path / "run", **{name: None for name in RECORDS if name != only})
    for name in ("metrics.jsonl", "original_metrics.jsonl", "config.yaml"):
        (run_dir / name).unlink()
    page = Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert page.text.count("not run: no") >= 5
    assert "no config.yaml" in page.text


@pytest.mark.usefixtures("light")
def test_what_run_json_leaves_open_is_not_invented(tmp_path: Path) -> None:
    record = run_record(mfu=None, peak=None, held_out_loss=None, peak_memory_bytes=None, finished=False)
    page = Page(write_report(write_run(tmp_path / "run", run=record, verdict=None)).read_text(encoding="utf-8"))
    assert "not known: this accelerator has no peak" in page.text
    assert "run.json has no held-out loss" in page.text
    assert "the run stopped early" in page.text
    assert "of the peak below" not in page.text
    assert "not measured: neither GPUs (NVML) nor CPU packages (RAPL)" in page.text
    assert "Communication is not known apart from them." in page.text


@pytest.mark.usefixtures("light")
def test_energy_communication_and_compiling_are_shown_with_what_they_are(tmp_path: Path) -> None:
    split = run_record().time.model_copy(update={"communication_s": 12.25, "compile_s": 31.5})
    source = "NVML's energy counter: 2 GPUs alone"
    record = run_record(time=split, energy_joules=5.4e6, energy_source=source)
    page = Page(write_report(write_run(tmp_path / "run", run=record)).read_text(encoding="utf-8"))
    assert f"5.40 MJ (1.50 kWh) over all attempts ({source})" in page.text
    assert "not known apart" not in page.text
    markdown = (tmp_path / "run" / "report.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r"\| communication +\| +12\.25 s \|", markdown)
    assert re.search(r"\| compiling +\| +31\.50 s \|", markdown)


@pytest.mark.usefixtures("light")
def test_invalid_says_why(tmp_path: Path) -> None:
    page = Page(write_report(write_run(tmp_path / "run", verdict=invalid_verdict())).read_text(encoding="utf-8"))
    assert "INVALID" in page.text
    assert all(f"Refused: {visible(refusal)}" in page.text for refusal in invalid_verdict().refusals)
    nothing = passing_verdict(
        literal=LiteralLayer(verdict="not_evaluated"),
        evidence=EvidenceLayer(verdict="not_evaluated", reason="no benchmark was evaluated for both models"),
        benchmarks=(),
    )
    page = Page(write_report(write_run(tmp_path / "run", verdict=nothing)).read_text(encoding="utf-8"))
    assert "NOT EVALUATED" in page.text


@pytest.mark.usefixtures("light")
def test_bars_stand_in_markdown_and_a_plot_in_the_page(good: Path, page: Page) -> None:
    markdown = (good / "report.md").read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    assert "| `-2         0         +2` |" in markdown
    assert "| [-1.21, +0.55] | `│    ────●─┼───       │` | pass    | replicated |" in markdown
    assert "┼" not in page.text


@pytest.mark.usefixtures("light")
def test_several_replicas_and_no_counts_have_their_page(tmp_path: Path) -> None:
    verdict = recipe_verdict()
    page = Page(write_report(write_run(tmp_path / "one", verdict=verdict)).read_text(encoding="utf-8"))
    for text in ("seed sd pp", "runs/seed3/eval/replica fail inconclusive facts -3.26", "facts=acc_norm",
                 "control 1 tiny-neox-original (runs/control/eval/original)", "–"):  # fmt: skip
        assert text in page.text, text
    nothing = verdict_without_counts()
    page = Page(write_report(write_run(tmp_path / "two", verdict=nothing)).read_text(encoding="utf-8"))
    assert "agreement – 99.37 99.23 -0.13 – pass inconclusive" in page.text
    assert "the shaded band is ±1.5 percentage points" in page.text
    (trace,) = page.figures["plot-intervals"]["data"][:1]
    assert trace["error_x"]["array"] == trace["error_x"]["arrayminus"] == [0] * len(nothing.benchmarks)


@pytest.mark.usefixtures("light")
def test_metrics_of_a_killed_and_restarted_run(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run")
    lines = metric_lines()[:20]
    write_lines(run_dir / "metrics.jsonl", [*lines, {**lines[18], "loss": 9.5}, {**lines[19], "loss": float("nan")}])
    with (run_dir / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 2')
    page = Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert "2 steps were logged again" in page.text
    assert "the last line is cut off" in page.text
    assert page.figures["plot-loss"]["data"][0]["y"][-2:] == [9.5, None]


@pytest.mark.usefixtures("light")
def test_bad_input_names_the_file_and_the_mend(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nowhere.*replibench run"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(BadInputError, match=r"none of run\.json, verdict\.json, forecast\.json.*replibench run CONFIG"):
        write_report(tmp_path)
    run_dir = write_run(tmp_path / "run")
    metrics = (run_dir / "metrics.jsonl").read_text(encoding="utf-8")
    (run_dir / "metrics.jsonl").write_text('{"step": 1}\n{"loss": 2}\n', encoding="utf-8")
    with pytest.raises(BadInputError, match=r"metrics\.jsonl: line 2 .*step"):
        write_report(run_dir)
    (run_dir / "metrics.jsonl").write_text(metrics, encoding="utf-8")
    (run_dir / "verdict.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"verdict\.json: not a Verdict"):
        write_report(run_dir)
    assert not (run_dir / "report.html").exists()


@pytest.mark.parametrize(("low", "high"), [(24.9, 51.7), (6e5, 4e6), (1, 1), (3e-3, 8e9), (7.1, 7.3)])
def test_log_ticks_are_few_and_within_reach(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert len(ticks) <= 6
    assert all(low / 1.1 <= tick <= high * 1.1 for tick in ticks)


@pytest.mark.usefixtures("light")
def test_no_control_character_reaches_a_file(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", forecast=forecast(target=HOSTILE))
    (run_dir / "config.yaml").write_text(f"name: '{HOSTILE}'\n\tb: 1\n", encoding="utf-8")
    text = write_report(run_dir).read_text(encoding="utf-8")
    assert "\x1b" not in (run_dir / "report.md").read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "b: 1" in Page(text).text

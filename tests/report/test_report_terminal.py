"""Terminal tables at 80 and 120 columns, without colour; and the words and numbers they are made of."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from eval.verdict import NEEDED_POWER
from report.formatting import interval_points, points, seconds, significant, usd
from report.terminal import calibration_table, forecast_table, run_table, verdict_table
from report.verdict_tables import needed_sentences
from report.words import conclusion
from tests.report.report_records import (
    BENCHMARKS,
    HOSTILE,
    benchmark,
    calibration,
    failing_verdict,
    forecast,
    invalid_verdict,
    passing_verdict,
    run_record,
)


def printed(renderable: RenderableType, width: int) -> str:
    """What a terminal without colour shows; no line may be wider than it."""
    stream = io.StringIO()
    console = Console(width=width, no_color=True, force_terminal=False, file=stream)
    console.print(renderable)
    text = stream.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    return text


@pytest.mark.parametrize("width", [80, 120])
def test_verdict_shows_every_benchmark_and_status_whole(width: int) -> None:
    for verdict in (passing_verdict(), failing_verdict()):
        lines = printed(verdict_table(verdict), width).splitlines()
        for each in verdict.benchmarks:
            if each.name == HOSTILE:
                continue
            line = next(line for line in lines if line.startswith(f"{each.name} ") and each.status in line)
            for text in ("pass" if each.literal_pass else "fail", f"{each.original.n_items:,}"):
                assert f" {text} " in line
            assert interval_points(each.low_pp, each.high_pp) in line
            assert f"{100 * each.replica.accuracy:.2f}" in line


def test_usual_names_of_benchmarks_fit_in_eighty_columns() -> None:
    names = ("lambada_openai", "arc_challenge", "winogrande", "hellaswag")
    rows = tuple(benchmark((name, 5153, 3001, 2990, -1.51, 1.08, "uninformative")) for name in names)
    text = printed(verdict_table(passing_verdict(benchmarks=rows)), 80)
    assert all(f"{name} " in text for name in names)


def test_verdict_footer() -> None:
    text = " ".join(printed(verdict_table(passing_verdict()), 80).split())
    for part in ("every benchmark (largest |difference|) 1.59 pass worst: facts", "mean of |difference| 0.56 pass",
                 "|mean of difference| 0.49 pass", "Evidence, all benchmarks: consistent", "[-0.79, -0.18]",
                 "Held-out loss: original 0.8125, replica 0.8229", "≤ 0.0143: pass", "Warning: last_word",
                 "compare: 9,412 items needed (has 1,500)"):  # fmt: skip
        assert part in text, part
    assert text.endswith(conclusion(passing_verdict()))


def test_what_is_needed_is_said_in_units_where_units_count() -> None:
    needed, units = needed_sentences(passing_verdict())
    assert needed == (
        "To show equivalence, with 90 % power if the true difference is nil: compare: 9,412 items needed (has 1,500); "
        "facts: 2,950 independent units needed (has 2,136)"
    )
    assert f" {100 * NEEDED_POWER:.0f} % power" in needed
    assert units == "More items from the same units are not more independent units."


def test_where_as_many_should_have_done_no_number_stands_but_the_reason() -> None:
    rows = [benchmark(row, items_needed=None, units_needed=None) for row in BENCHMARKS]
    assert needed_sentences(passing_verdict(benchmarks=rows[:4])) == []
    assert needed_sentences(passing_verdict(benchmarks=rows)) == [
        f"{there} there are should have shown equivalence, with {100 * NEEDED_POWER:.0f} % power, if the true "
        "difference were nil"
        for there in (
            "compare: no number of items can be named: the 1,500",
            "facts: no number of independent units can be named: the 2,136",
        )
    ]


def test_conclusions() -> None:
    assert conclusion(passing_verdict()) == (
        "PASS: replication by the literal criterion: every one of 7 benchmarks within 2 percentage points; evidence: "
        "consistent (equivalence within 2 points is not shown everywhere: too few independent units or items)"
    )
    assert conclusion(failing_verdict()).startswith(
        "FAIL: no replication by the literal criterion: 1 of 7 benchmarks more than 2 percentage points apart, "
        "worst facts (-27.18); evidence: not_replicated"
    )
    assert conclusion(invalid_verdict()) == (
        "INVALID: the two results cannot be compared: the architectures are not identical: num_hidden_layers "
        "(and 1 more)"
    )
    one = passing_verdict(benchmarks=passing_verdict().benchmarks[:1])
    assert "the one benchmark within 2 percentage points" in conclusion(one)


def test_hostile_names_move_no_cursor_and_are_no_markup() -> None:
    text = printed(verdict_table(failing_verdict()), 120) + printed(verdict_table(invalid_verdict()), 120)
    assert "\x1b" not in text
    assert "[b]" in text


def test_invalid_lists_reasons_and_differences() -> None:
    text = printed(verdict_table(invalid_verdict()), 120)
    assert all(reason in text for reason in invalid_verdict().reasons)
    assert all(each.field in text for each in invalid_verdict().identity_differences)


@pytest.mark.parametrize("width", [80, 120])
def test_other_tables(width: int) -> None:
    run = printed(run_table(run_record()), width)
    for text in ("6.417e12", "exact, every matmul", "46.3 %", "118.70 s", "0.8229"):
        assert text in run
    told = printed(forecast_table(forecast()), width)
    for text in ("848,200", "$3.99 million", "3.229e23", "Caveat: Prices are list prices"):
        assert text in told
    suite = printed(calibration_table(calibration()), width)
    for text in ("every benchmark + loss", "5/6", "0/8", "16–100", "facts"):
        assert text in suite


def test_points_never_hide_on_which_side_of_the_margin() -> None:
    assert points(2.0000000000000018) == "+2.00"
    assert points(2.0004) == "+2.0004"
    assert points(-2.003) == "-2.003"
    assert points(1.996) == "+2.00"
    assert points(-0.001) == points(0) == "0.00"


def test_number_formats() -> None:
    assert [significant(value) for value in (0, 12.3456, 17376.5, 848211, 3.2e23, 0.00001)] == [
        "0", "12.35", "17,380", "848,200", "3.200e23", "1.000e-5"]  # fmt: skip
    assert [seconds(value) for value in (4.1, 171.4, 9312, 400_000)] == [
        "4.10 s", "171.40 s (2.86 min)", "9,312 s (2.59 h)", "400,000 s (4.63 days)"]  # fmt: skip
    assert [usd(value) for value in (12.3, 820_400, 4_612_000, 2.5e9)] == [
        "$12.3", "$820,000", "$4.61 million", "$2.50 billion"]  # fmt: skip


def test_report_imports_nothing_heavy() -> None:
    code = (
        "import sys, report.html, report.terminal; "
        "print([m for m in ('torch', 'transformers', 'deepspeed', 'lm_eval') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])  # fmt: skip
    assert done.stdout.strip() == "[]"

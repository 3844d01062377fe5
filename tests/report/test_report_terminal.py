"""Terminal tables at 80, 100 and 120 columns, without colour; and the words and numbers they are made of."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from eval.verdict import NEEDED_POWER, EvidenceLayer, Verdict
from report.bars import ASCII, bar, scale
from report.content import Column, Table, row, visible
from report.drawing import draw
from report.forecast_tables import forecast_tables
from report.formatting import interval_points, points, seconds, significant, usd
from report.terminal import calibration_table, forecast_summary, run_table
from report.verdict_terminal import verdict_markdown, verdict_table
from report.words import conclusion, needed_sentences
from tests.report.report_records import (
    BENCHMARKS,
    HOSTILE,
    benchmark,
    calibration,
    failing_verdict,
    forecast,
    invalid_verdict,
    passing_verdict,
    recipe_verdict,
    run_record,
    verdict_without_counts,
)


def printed(renderable: RenderableType, width: int, encoding: str = "utf-8") -> str:
    """What a terminal without colour shows; no line may be wider than it."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(width=width, no_color=True, force_terminal=False, file=stream)
    console.print(renderable)
    stream.seek(0)
    text = stream.read()
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    return text


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("make", [passing_verdict, failing_verdict, recipe_verdict, verdict_without_counts])
def test_verdict_shows_every_benchmark_and_status_whole(make: Callable[[], Verdict], width: int) -> None:
    verdict = make()
    edge = verdict.threshold_pp
    lines = printed(verdict_table(verdict), width).splitlines()
    for each in verdict.benchmarks:
        if each.name == HOSTILE:
            continue
        line = next(line for line in lines if line.startswith(f"{each.name} ") and each.evidence in line)
        assert f" {'pass' if each.within else 'fail'} " in line
        assert f" {points(each.difference_pp, edge)} " in line
        assert f" {interval_points(each.ci90_pp, edge)} " in line
        assert re.search(r" [│←].*[│→] ", line)


def shown(verdict: Verdict, width: int) -> tuple[str, str]:
    """The caption of the table of benchmarks, on one line, and the line with its headings."""
    text = printed(verdict_table(verdict), width)
    caption, _, rest = text[text.index("Benchmarks evaluated") :].partition("\nbenchmark ")
    return " ".join(caption.split()), rest.partition("\n")[0]


def test_what_is_least_needed_is_left_out_first_and_that_is_said() -> None:
    caption, heads = shown(passing_verdict(), 80)
    assert "Left out" not in caption
    assert heads.split() == [
        "n",
        "orig.%",
        "repl.%",
        "diff.",
        "90",
        "%",
        "interval",
        "-2",
        "0",
        "+2",
        "lit.",
        "evidence",
    ]
    caption, heads = shown(recipe_verdict(), 80)
    assert caption.endswith("Left out to fit: replica %.")
    assert "orig.%" in heads
    assert "seed sd" in heads
    caption, heads = shown(recipe_verdict(), 74)
    assert caption.endswith("Left out to fit: original %, replica %.")
    caption, heads = shown(passing_verdict(), 120)
    assert "original %  " not in heads
    assert all(head in heads for head in ("original %", "replica %", "difference pp", "literal"))
    caption, heads = shown(failing_verdict(), 60)
    assert heads.split() == ["diff.", "90", "%", "interval", "lit.", "evidence"]


def test_where_the_terminal_has_only_ascii_so_has_the_verdict() -> None:
    for verdict in (passing_verdict(), failing_verdict(), recipe_verdict(), invalid_verdict()):
        assert printed(verdict_table(verdict), 80, "ascii").isascii()
    lines = printed(verdict_table(passing_verdict()), 80, "ascii").splitlines()
    assert next(line for line in lines if line.startswith("tool_use")).count("| --o+-   |") == 1


@pytest.mark.parametrize(
    ("interval", "drawn"),
    [
        ((-0.6, 0.0, 0.6), "│   ─●─   │"),
        ((-1.99, -1.5, 1.99), "│─●──┼────│"),
        ((-2.3, -1.5, -0.6), "←─●──·    │"),
        ((-1.2, 2.5, 6.2), "│ ───┼────→"),
        ((-28.3, -27.2, -26), "←    ·    │"),
        ((2.1, 3, 4), "│    ·    →"),
        ((-9, 0, 9), "←────●────→"),
        ((2, 2, 2), "│    ·   ●│"),
        ((-2, -2, -2), "│●   ·    │"),
        ((2.01, 2.01, 2.01), "│    ·    →"),
    ],
)
def test_bars(interval: tuple[float, float, float], drawn: str) -> None:
    assert bar(interval, 2, 11) == drawn
    plain = drawn.translate(str.maketrans("│←→·─┼●", "|<>.-+o"))
    assert bar(interval, 2, 11, ASCII) == plain
    assert bar(tuple(0.75 * value for value in interval), 1.5, 11) == drawn  # type: ignore[arg-type]


def test_scales_stand_over_their_bars() -> None:
    assert scale(2, 11) == "-2   0   +2"
    assert scale(1.5, 23) == "-1.5       0       +1.5"


def test_usual_names_of_benchmarks_fit_in_eighty_columns() -> None:
    names = ("lambada_openai", "arc_challenge", "winogrande", "hellaswag")
    rows = tuple(benchmark((name, 10042, 5001, 2990, -21.51, -18.08, "not_replicated")) for name in names)
    text = printed(verdict_table(passing_verdict(benchmarks=rows)), 80)
    assert all(f"\n{name} " in text for name in names)


def test_several_replicas_stand_by_themselves_with_their_differences_where_these_are_few() -> None:
    many = " ".join(printed(verdict_table(recipe_verdict()), 80).split())
    for part in ("replica 3 tiny-neox-replica (runs/seed3/eval/replica)",
                 "control 1 tiny-neox-original (runs/control/eval/original)",
                 "runs/seed1/eval/replica pass consistent facts -0.89 runs/seed2/eval/replica",
                 "runs/seed3/eval/replica fail inconclusive facts -3.26",
                 "Compared: the mean of 3 replicas with the mean of 2 runs of the original's recipe; the intervals "
                 "cover new seeds of both recipes and new items; seed sd is the standard deviation between the "
                 "replicas.",
                 "Metrics that were asked for instead of the rule's: facts=acc_norm"):  # fmt: skip
        assert part in many, part
    assert "needed" not in many
    few = recipe_verdict().model_copy(update={"benchmarks": recipe_verdict().benchmarks[4:6], "controls": ()})
    text = printed(verdict_table(few), 80)
    assert "runs/seed3/eval/replica fail    inconclusive facts -3.26   -1.47 -3.26" in text
    assert "the original, one fixed model; the intervals cover new seeds of the replicas' recipe" in " ".join(
        text.split()
    )


def test_the_reading_that_decides_is_marked_and_named() -> None:
    text = " ".join(printed(verdict_table(verdict_without_counts()), 80).split())
    assert "every worst: facts -1.59 fail mean-absolute mean of |difference| 0.56 pass decides" in text
    assert text.endswith(
        "PASS: replication by the literal criterion, reading mean-absolute: mean of |difference| 0.56, within "
        "1.5 percentage points, worst facts (-1.59); evidence: inconclusive (more than 1.5 points apart, though that "
        "is not shown to be real: facts)"
    )
    one = verdict_without_counts().model_copy(update={"threshold_pp": 1})
    assert "more than 1 percentage point, worst" in conclusion(
        one.model_copy(
            update={"literal": one.literal.model_copy(update={"verdict": "fail", "reading": "absolute-mean"})}
        )
    )


def test_markdown_says_the_same() -> None:
    text = verdict_markdown(recipe_verdict()).replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith(f"**{conclusion(recipe_verdict())}**\n\nMechanism: replication (")
    assert not text.endswith("\n")
    for part in ("| `-2         0         +2` |",
                 "| [-1.60, +0.93] | `│  ──────●─┼─────     │` | pass    | replicated |",
                 "| runs/seed3/eval/replica | fail    | inconclusive | facts -3.26 |", "| decides |"):  # fmt: skip
        assert part in text, part
    refused = verdict_markdown(invalid_verdict())
    assert refused.count("\nRefused: ") == 2
    assert "<img" not in refused


def test_verdict_footer() -> None:
    text = " ".join(printed(verdict_table(passing_verdict()), 80).split())
    for part in ("every worst: facts -1.59 pass decides", "mean-absolute mean of |difference| 0.56 pass",
                 "absolute-mean |mean of difference| 0.49 pass", "[-0.79, -0.18]",
                 "Mechanism: replication (from random", "Held-out loss: original 0.8125, replica 0.8229",
                 "≤ 0.0143: pass", "not compared: sums",
                 "compare: 9,412 items needed (has 1,500)"):  # fmt: skip
        assert part in text, part
    assert text.endswith(conclusion(passing_verdict()))


def test_what_is_needed_is_said_in_units_where_units_count() -> None:
    needed, units = needed_sentences(passing_verdict())
    assert needed == (
        "To show equivalence, with 80 % power if the true difference is nil: compare: 9,412 items needed (has 1,500); "
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
        "consistent (within 2 points, but equivalence is not shown: compare, facts)"
    )
    assert conclusion(failing_verdict()).startswith(
        "FAIL: no replication by the literal criterion: 1 of 7 benchmarks more than 2 percentage points apart, "
        "worst facts (-27.18); evidence: not_replicated (a difference of more than 2 points is shown: facts)"
    )
    assert conclusion(invalid_verdict()) == (
        "INVALID: the results cannot be compared: architectures are not identical: num_hidden_layers is 3 in the "
        "original and 2 in the replica (and 1 more)"
    )
    one = passing_verdict(benchmarks=passing_verdict().benchmarks[:1])
    assert "the one benchmark within 2 percentage points" in conclusion(one)


def test_long_lists_are_cut_short_and_that_is_said() -> None:
    names = [f"task{at}" for at in range(30)]
    evidence = EvidenceLayer(verdict="inconclusive", reason=f"more than 2 points apart, perhaps: {', '.join(names)}")
    verdict = failing_verdict().model_copy(
        update={"evidence": evidence, "warnings": (f"unpaired: {', '.join(names)}",)}
    )
    text = " ".join(printed(verdict_table(verdict), 80).split())
    assert text.endswith("apart, perhaps: task0, task1, task2, task3, task4, task5, task6 and 23 more)")
    assert "Warning: unpaired: task0, task1, task2, task3, task4, task5, task6, task7 and 22 more" in text
    refused = invalid_verdict().model_copy(update={"refusals": tuple(f"{name}: different shots" for name in names)})
    lines = printed(verdict_table(refused), 80).splitlines()
    assert sum(line.startswith("Refused: task") for line in lines) == 20
    assert "Refused: 10 more of this kind are in the record" in lines


def test_hostile_names_move_no_cursor_and_are_no_markup() -> None:
    text = printed(verdict_table(failing_verdict()), 120) + printed(verdict_table(invalid_verdict()), 120)
    assert "\x1b" not in text
    assert "[b]" in text


def test_each_refusal_has_its_line() -> None:
    text = printed(verdict_table(invalid_verdict()), 120)
    assert all(f"\nRefused: {visible(refusal)}\n" in text for refusal in invalid_verdict().refusals)


@pytest.mark.parametrize("width", [80, 120])
def test_other_tables(width: int) -> None:
    run = printed(run_table(run_record()), width)
    for text in ("6.417e12", "exact, every matmul", "46.3 %", "118.70 s", "0.8229"):
        assert text in run
    told = printed(draw(*forecast_tables(forecast())), width)
    for text in ("848,200", "$3.99 million", "3.229e23", "rental.usd_per_accelerator_hour", "Warning: loss: none"):
        assert text in told
    assert "$3.99 million" in printed(forecast_summary(forecast()), width)
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


def test_a_verdict_is_shown_without_what_it_does_not_need() -> None:
    code = (
        "import sys, report.verdict_terminal; "
        "print([m for m in ('torch', 'plotly', 'scipy', 'numpy', 'eval.calibration', 'configs.loader') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_number_is_never_cut() -> None:
    number = "431,000,000 (1,234,567,890)"
    columns = tuple(Column(head, numeric=True) for head in ("parameters", "tokens", "FLOP", "seconds"))
    text = printed(draw(Table("Wide.", columns, (row(*[number] * 4),))), 80)
    assert text.count("(1,234,567,890)") == 4
    assert text.count("431,000,000") == 4

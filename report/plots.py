"""The report's plots as plotly figures. Colours are the light ones; `DARK` is what the page swaps them for."""

import html
import math
from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from eval.calibration import Calibration
from eval.verdict import BenchmarkVerdict, EvidenceStatus, Verdict
from extrapolate.forecast import Forecast
from report.calibration_tables import TESTS, group_name, groups
from report.content import Plot, Tone, visible
from report.forecast_tables import estimates
from report.formatting import count, interval_points, percent, points, seconds, significant
from report.inputs import MetricLine, Metrics
from report.run_tables import phases
from report.words import EVIDENCE_TONES, threshold
from train.record import HeldOutLoss, RunRecord

# Every colour of a figure is one of these keys, so that the page can swap each for its dark counterpart.
INK, FAINT, GRID, PAPER, BAND = "#1b1f24", "#59636e", "#d8dee4", "#fdfdfe", "#cfe8d5"
REPLICA, ORIGINAL = "#0b5fa5", "#b35900"
GOOD, BAD, UNSURE = "#1a7f37", "#c62828", "#8a6100"
VIOLET, TEAL, ROSE = "#7a4fb5", "#0f7c80", "#a83279"
DARK: Final = {
    INK: "#e6edf3",
    FAINT: "#9198a1",
    GRID: "#343b44",
    PAPER: "#11161d",
    BAND: "#173a22",
    REPLICA: "#6cb6ff",
    ORIGINAL: "#f0a35e",
    GOOD: "#57d364",
    BAD: "#ff7b72",
    UNSURE: "#e3b341",
    VIOLET: "#c297ff",
    TEAL: "#56d4dd",
    ROSE: "#ff9bce",
}
PHASE_COLOURS = {
    **{"start-up": FAINT, "compiling": UNSURE, "data": TEAL, "forward and backward": REPLICA, "optimizer": VIOLET},
    **{"communication": GOOD, "checkpoints": ORIGINAL, "evaluation": ROSE, "other": GRID},
}
TONE_COLOURS: dict[Tone, str] = {"good": GOOD, "bad": BAD, "unsure": UNSURE, "muted": FAINT, "plain": INK}
SYMBOLS: dict[EvidenceStatus, str] = {
    "replicated": "circle",
    "not_replicated": "x",
    "consistent": "diamond",
    "inconclusive": "diamond-open",
    "uninformative": "circle-open",
    "invalid": "x-open",
    "not_evaluated": "square-open",
}
LONGEST_LABEL = 24
MOST_POINTS = 2000
TICKS_FINE, TICKS_MIDDLE, TICKS_COARSE = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5)
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def label(text: str, longest: int | None = None) -> str:
    """`text` for plotly, which understands a subset of HTML: escaped, and cut with an ellipsis where it must be."""
    text = visible(text)
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    return html.escape(text, quote=False)


def _styled(figure: go.Figure, height: int) -> go.Figure:
    """One look for all: no background of its own, no dragging (it would catch the scrolling finger)."""
    axis = {
        "gridcolor": GRID,
        "linecolor": GRID,
        "zerolinecolor": GRID,
        "fixedrange": True,
        "automargin": True,
        "title_font_size": 13,
    }
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"family": FONT, "size": 13, "color": INK},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        hoverlabel={"bgcolor": PAPER, "bordercolor": FAINT, "font": {"color": INK}},
        dragmode=False,
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def interval_plot(verdict: Verdict) -> Plot:
    """Each benchmark's difference with its interval against the band of ±threshold; the macro mean below."""
    figure, margin = go.Figure(), verdict.threshold_pp
    figure.add_vrect(x0=-margin, x1=margin, fillcolor=BAND, line_width=0, layer="below")
    figure.add_vline(x=0, line={"color": FAINT, "width": 1, "dash": "dot"})
    for status in SYMBOLS:
        rows = [each for each in enumerate(verdict.benchmarks) if each[1].evidence == status]
        if rows:
            figure.add_trace(_interval_trace(status, rows, margin))
    labels = [label(benchmark.name, LONGEST_LABEL) for benchmark in verdict.benchmarks]
    mean = verdict.evidence.macro_mean
    if mean is not None:
        hover = f"macro mean {points(mean.difference_pp, margin)} pp<br>{interval_points(mean.ci90_pp, margin)}"
        at = (mean.difference_pp, *mean.ci90_pp)
        figure.add_trace(_dots("macro mean (weaker)", [(len(labels), at, hover)], INK, "star"))
        labels.append("<i>macro mean</i>")
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels, range=[len(labels) - 0.5, -0.5])
    figure.update_xaxes(title_text="replica − original, percentage points", range=_reach(verdict))
    level = percent(verdict.evidence.level, 0)
    described = "; ".join(
        f"{each.name} {points(each.difference_pp, margin)} {interval_points(each.ci90_pp, margin)} {each.evidence}"
        for each in verdict.benchmarks
    )
    return Plot(
        "intervals",
        f"Difference per benchmark with its {level} % interval; the shaded band is ±{threshold(verdict)}",
        f"Differences replica minus original in percentage points with {level} % intervals: {described}.",
        _styled(figure, 150 + 34 * len(labels)),
    )


def _reach(verdict: Verdict) -> list[float]:
    """Axis from the lowest to the highest end of all intervals, never less than half a margin beyond the band."""
    edge = 1.5 * verdict.threshold_pp
    spans = [_span(each) for each in verdict.benchmarks]
    low, high = min([-edge, *(low for _, low, _ in spans)]), max([edge, *(high for _, _, high in spans)])
    return [low - 0.03 * (high - low), high + 0.03 * (high - low)]


def _span(benchmark: BenchmarkVerdict) -> tuple[float, float, float]:
    """Difference and interval; of no width where there is none."""
    middle = benchmark.difference_pp
    return (middle, *(benchmark.ci90_pp or (middle, middle)))


def _interval_trace(status: EvidenceStatus, rows: Sequence[tuple[int, BenchmarkVerdict]], edge: float) -> go.Scatter:
    dots = []
    for position, each in rows:
        accuracies = f"original {percent(each.original)} %, replica {percent(each.replica)} %"
        difference = f"{points(each.difference_pp, edge)} pp {interval_points(each.ci90_pp, edge)}"
        hover = f"{label(each.name)}<br>{accuracies}<br>{difference}<br>{status}"
        dots.append((position, _span(each), hover))
    return _dots(status, dots, TONE_COLOURS[EVIDENCE_TONES[status]], SYMBOLS[status])


def _dots(
    name: str, dots: Sequence[tuple[float, tuple[float, float, float], str]], colour: str, symbol: str
) -> go.Scatter:
    """Points with intervals, at the rows given: (row, (middle, low, high), hover text)."""
    return go.Scatter(
        name=name,
        mode="markers",
        x=[middle for _, (middle, _, _), _ in dots],
        y=[position for position, _, _ in dots],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - middle for _, (middle, _, high), _ in dots],
            "arrayminus": [middle - low for _, (middle, low, _), _ in dots],
            "color": colour,
            "thickness": 2,
            "width": 5,
        },
        marker={"color": colour, "symbol": symbol, "size": 10},
        text=[hover for _, _, hover in dots],
        hovertemplate="%{text}<extra></extra>",
        showlegend=True,
    )


def calibration_plot(calibration: Calibration) -> Plot:
    """Pass rates of the default reading, alone and with the gate, by seeds' interval: good pairs and each control."""
    figure, told = go.Figure(), []
    found = groups(calibration)
    series = (
        ("every_benchmark", REPLICA, "circle", -0.13),
        ("every_benchmark + held_out_loss", ORIGINAL, "diamond", 0.13),
    )
    for test, colour, symbol, shift in series:
        dots = []
        for at, group in enumerate(found):
            rate = group.rates.get(test)
            if rate is None:
                continue
            hover = f"{label(group_name(group))}<br>{TESTS[test]}: {rate.passed} of {rate.pairs} pairs"
            dots.append((at + shift, (100 * rate.rate, 100 * rate.low_by_seeds, 100 * rate.high_by_seeds), hover))
            told.append(f"{group_name(group)}, {TESTS[test]}: {rate.passed} of {rate.pairs}")
        if dots:
            figure.add_trace(_dots(TESTS[test], dots, colour, symbol))
    names = [label(group_name(group), LONGEST_LABEL) for group in found]
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.5, -0.5])
    figure.update_xaxes(title_text="pairs that pass, %", range=[-4, 104])
    return Plot(
        "suite",
        "How often pairs pass, with the 95 % interval by seeds: good pairs should be right, controls left",
        f"Pairs that pass: {'; '.join(told)}.",
        _styled(figure, 130 + 50 * len(names)),
    )


def thinned(lines: Sequence[MetricLine]) -> Sequence[MetricLine]:
    """At most about `MOST_POINTS` lines, evenly spaced, the last one kept."""
    stride = -(-len(lines) // MOST_POINTS)
    return lines if stride <= 1 else [*lines[:-1:stride], lines[-1]]


def _curve(name: str, lines: Sequence[MetricLine], field: str, colour: str, dash: str = "solid") -> go.Scatter:
    present = [line for line in thinned(lines) if getattr(line, field) is not None]
    return go.Scatter(
        name=name,
        mode="lines+markers" if len(present) < 3 else "lines",
        x=[line.step for line in present],
        y=[getattr(line, field) for line in present],
        line={"color": colour, "width": 2, "dash": dash},
        hovertemplate=f"{name}, step %{{x}}: %{{y:.5g}}<extra></extra>",
    )


def loss_plot(replica: Metrics | None, original: Metrics | None, held_out: HeldOutLoss | None) -> Plot:
    """Training loss by step, and the held-out losses as horizontal lines."""
    figure = go.Figure()
    told = []
    sides = (("replica", replica, held_out and held_out.replica, REPLICA, "solid"),
             ("original", original, held_out and held_out.original, ORIGINAL, "dash"))  # fmt: skip
    for name, metrics, level, colour, dash in sides:
        if metrics is not None and metrics.lines:
            figure.add_trace(_curve(name, metrics.lines, "loss", colour, dash))
            told.append(_first_and_last(name, metrics.lines))
        if level is not None:
            figure.add_hline(y=level, line={"color": colour, "width": 1, "dash": "dot"})
            told.append(f"held-out {name} {level:.4f}")
    figure.update_xaxes(title_text="step", rangemode="tozero")
    figure.update_yaxes(title_text="loss, nats per token")
    figure.update_layout(showlegend=True)
    dotted = "" if held_out is None else "; dotted: held-out loss at the end"
    return Plot(
        "loss",
        f"Training loss by step{dotted}",
        f"Training loss in nats per token: {'; '.join(told)}.",
        _styled(figure, 380),
    )


def _first_and_last(name: str, lines: Sequence[MetricLine]) -> str:
    known = [line for line in lines if line.loss is not None]
    if not known:
        return f"{name}: no loss logged"
    first, last = known[0], known[-1]
    return f"{name} from {first.loss:.4f} at step {first.step} to {last.loss:.4f} at step {last.step}"


def throughput_plot(metrics: Metrics) -> Plot:
    """Tokens per second by step."""
    figure = go.Figure(_curve("tokens per second", metrics.lines, "tokens_per_s", REPLICA))
    figure.update_xaxes(title_text="step", rangemode="tozero")
    figure.update_yaxes(title_text="tokens per second", rangemode="tozero")
    return Plot("throughput", "Throughput by step", "Tokens per second at each logged step.", _styled(figure, 280))


def time_plot(run: RunRecord) -> Plot:
    """One stacked bar of seconds by phase."""
    split = phases(run.time)
    figure = go.Figure()
    for name, spent in split:
        figure.add_trace(
            go.Bar(
                name=name,
                x=[spent],
                y=[""],
                orientation="h",
                marker={"color": PHASE_COLOURS[name], "line": {"color": PAPER, "width": 1}},
                hovertemplate=f"{name}: {seconds(spent)}<extra></extra>",
            )
        )
    # On a phone the legend is a column of up to nine; half of the plot, plotly's limit, would make it scroll.
    figure.update_layout(barmode="stack", showlegend=True, legend_traceorder="normal", legend_maxheight=210)
    figure.update_xaxes(title_text="seconds")
    told = ", ".join(f"{name} {seconds(spent)}" for name, spent in split)
    return Plot(
        "time", "Seconds of the run by phase", f"Stacked bar of seconds by phase: {told}.", _styled(figure, 330)
    )


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis about `low`..`high` (> 0): the finest steps in a decade that give at most six.

    Plotly's own leave less than a decade with one labelled tick or none.
    """
    if not 0 < low <= high < math.inf:
        return []
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    near: list[float] = []
    for steps in (TICKS_FINE, TICKS_MIDDLE, TICKS_COARSE, (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        near = [tick for tick in ticks if low / 1.05 <= tick <= high * 1.05]
        if len(near) <= 6:
            return near
    return near[:: -(-len(near) // 6)]


def _short(value: float) -> str:
    """A tick with its prefix: `20k`, `5M`."""
    for unit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if unit <= value < 1e12:
            return f"{value / unit:g}{prefix}"
    return f"{value:g}"


def forecast_plot(forecast: Forecast) -> Plot:
    """Median and 90 % interval of each estimate, one logarithmic axis a unit."""
    found = estimates(forecast)
    units = tuple(dict.fromkeys(each.unit for each in found))
    heights = [sum(each.unit == unit for each in found) for unit in units]
    figure = make_subplots(rows=len(units), cols=1, row_heights=heights, vertical_spacing=0.2)
    for place, unit in enumerate(units, 1):
        mine = [(each.label.split(",")[0], each.quantiles) for each in found if each.unit == unit]
        dots = [
            (at, (each.median, each.p5, each.p95), f"{name}: {significant(each.median)} {unit}<br>"
             f"90 %: {significant(each.p5)} to {significant(each.p95)}")
            for at, (name, each) in enumerate(mine)
        ]  # fmt: skip
        figure.add_trace(_dots(unit, dots, REPLICA, "circle"), row=place, col=1)
        ticks = {"tickvals": list(range(len(mine))), "ticktext": [name for name, _ in mine]}
        figure.update_yaxes(**ticks, range=[len(mine) - 0.5, -0.5], row=place, col=1)
        low, high = min(each.p5 for _, each in mine), max(each.p95 for _, each in mine)
        marks = log_ticks(low, high)
        texts = [f"{mark:g}" if mark < 1000 else _short(mark) for mark in marks]
        figure.update_xaxes(type="log", title_text=unit, tickvals=marks, ticktext=texts, row=place, col=1)
    figure.update_traces(showlegend=False)
    told = "; ".join(
        f"{each.label} {significant(each.quantiles.median)} "
        f"({significant(each.quantiles.p5)} to {significant(each.quantiles.p95)})"
        for each in found
    )
    return Plot(
        "forecast",
        f"Forecast for {count(forecast.cluster.accelerator_count)} accelerators: median and 90 % interval, "
        "logarithmic axes",
        f"Medians with 90 % intervals: {told}.",
        _styled(figure, 420),
    )

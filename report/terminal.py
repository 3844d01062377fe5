"""The records as tables for a terminal: they read well at 80 columns and without colour."""

from dataclasses import replace

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table as RichTable
from rich.text import Text

from accounting.flops import FlopLedger
from eval.calibration import Calibration
from eval.verdict import Verdict
from extrapolate.forecast import Forecast
from report.calibration_tables import calibration_tables
from report.content import Cell, Paragraph, Table, Tone
from report.forecast_tables import estimate_table, target_table
from report.run_tables import held_out_table, ledger_table, throughput_table, time_table, training_table
from report.verdict_tables import (
    benchmark_table,
    gate_sentence,
    identity_table,
    macro_mean_sentence,
    needed_sentences,
    one_sided_sentences,
    readings_table,
)
from report.words import EVIDENCE_TONES, LITERAL_TONES, conclusion
from train.record import RunRecord

STYLES: dict[Tone, str] = {"plain": "", "good": "green", "bad": "red", "unsure": "yellow", "muted": "dim"}
# Headings that are too long for eight columns in eighty.
SHORT_HEADS = {"original %": "orig.%", "replica %": "repl.%", "difference pp": "diff.", "if independent %": "indep. %"}


def verdict_table(verdict: Verdict) -> RenderableType:
    """The verdict: benchmarks, readings, evidence, held-out loss, reasons, and the conclusion as the last line."""
    parts: list[RenderableType] = []
    if verdict.benchmarks:
        parts.append(_table(_without_suite(benchmark_table(verdict))))
    readings = readings_table(verdict)
    if readings is not None:
        parts.append(_table(readings))
    if verdict.literal.status in {"pass", "fail"}:
        parts.append(_line(f"Evidence, all benchmarks: {verdict.evidence.status}", _evidence_tone(verdict)))
    if verdict.evidence.macro_mean is not None:
        parts.append(_line(macro_mean_sentence(verdict, verdict.evidence.macro_mean)))
    if verdict.held_out_loss is not None:
        gate = gate_sentence(verdict.held_out_loss)
        parts.append(_line(gate.text, gate.tone))
    parts += [_line(text) for text in (*needed_sentences(verdict), *one_sided_sentences(verdict))]
    parts += [_line(f"Warning: {warning}", "unsure") for warning in verdict.warnings]
    identity = identity_table(verdict)
    if identity is not None:
        parts.append(_table(identity))
    parts += [_line(f"Reason: {reason}", "bad") for reason in verdict.reasons]
    tone = LITERAL_TONES[verdict.literal.status]
    return Group(*parts, Text(conclusion(verdict), style=Style.parse(f"bold {STYLES[tone]}")))


def _without_suite(table: Table) -> Table:
    """`tinyworld_facts` as `facts` where every benchmark is of one suite: eight columns need the room."""
    names = [cells[0].text for cells in table.rows]
    suite = names[0].partition("_")[0] + "_"
    if len(names) < 2 or not all(name.startswith(suite) for name in names):
        return table
    rows = tuple((replace(cells[0], text=cells[0].text.removeprefix(suite)), *cells[1:]) for cells in table.rows)
    return replace(table, caption=f"{table.caption} Suite: {suite.rstrip('_')}.", rows=rows)


def run_table(run: RunRecord) -> RenderableType:
    """The run: training, held-out loss, time by phase, FLOPs with their conventions, throughput."""
    tables = (
        training_table(run),
        held_out_table(run),
        time_table(run),
        ledger_table(run.flops, run.name).without("exact"),  # up to 33 digits wide
        throughput_table(run),
    )
    return Group(*(_table(table) for table in tables if table is not None))


def flop_table(ledger: FlopLedger, whose: str) -> RenderableType:
    """Every count of a ledger with its convention."""
    return _table(ledger_table(ledger, whose).without("exact"))  # up to 33 digits wide


def forecast_table(forecast: Forecast) -> RenderableType:
    """The forecast: what is forecast, each estimate with its interval, the caveats."""
    caveats = [_line(f"Caveat: {caveat}", "unsure") for caveat in forecast.caveats]
    return Group(_table(target_table(forecast)), _table(estimate_table(forecast)), *caveats)


def forecast_summary(forecast: Forecast) -> RenderableType:
    """The estimates alone, for the end of a run; inputs and caveats stand in the report."""
    return _table(estimate_table(forecast))


def calibration_table(calibration: Calibration) -> RenderableType:
    """The operating characteristics of the suite."""
    return Group(*(_block(block) for block in calibration_tables(calibration)))


def _evidence_tone(verdict: Verdict) -> Tone:
    return EVIDENCE_TONES[verdict.evidence.status]


def _block(block: Table | Paragraph) -> RenderableType:
    return _table(block) if isinstance(block, Table) else _line(block.text, block.tone)


def _line(text: str, tone: Tone = "plain") -> RenderableType:
    return Text(text, style=STYLES[tone])


def _cell(cell: Cell) -> Text:
    # Text, never a string: rich would read [brackets] in a name as markup.
    return Text(cell.text, style=STYLES[cell.tone])


def _table(table: Table) -> RenderableType:
    """A table under its caption. Numbers and statuses keep to one line; names fold rather than being cut."""
    drawn = RichTable(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for at, column in enumerate(table.columns):
        whole = column.numeric or column.head in {"literal", "evidence"}
        drawn.add_column(
            Text(SHORT_HEADS.get(column.head, column.head)),
            justify="right" if column.numeric else "left",
            no_wrap=whole,
            overflow="fold",
            min_width=None if at else 6,
        )
    for cells in table.rows:
        drawn.add_row(*(_cell(cell) for cell in cells))
    return Group(Text(table.caption, style="italic"), Padding(drawn, (0, 0, 1, 0)))

"""The report's sections in their order, from whatever the run directory holds. What is missing is said."""

from pathlib import Path

from report.calibration_tables import calibration_tables
from report.content import Badge, Block, Cell, Column, Listing, Page, Paragraph, Section, Table, row
from report.estimate_tables import flop_table
from report.forecast_tables import driver_table, estimate_table, gpt3_like_table, input_table, target_table
from report.inputs import Metrics, RunFiles, read_run
from report.plots import calibration_plot, forecast_plot, interval_plot, loss_plot, throughput_plot, time_plot
from report.run_tables import (
    events_table,
    held_out_table,
    ledger_table,
    matmul_table,
    provenance_tables,
    throughput_table,
    time_table,
    training_table,
)
from report.verdict_tables import detail_table, verdict_conclusion, verdict_findings
from report.words import (
    EVIDENCE_TONES,
    LITERAL_TONES,
    LITERAL_WORDS,
    evidence_reason,
    gate_sentence,
    literal_meaning,
    verdict_remarks,
)


def build_page(run_dir: Path) -> Page:
    """Read a run directory and lay its report out. Raises BadInputError as `read_run` does."""
    files = read_run(run_dir)
    return Page(
        title=f"Replication report: {files.name}",
        subtitle=_subtitle(files),
        badges=_badges(files),
        sections=(
            _verdict(files),
            _intervals(files),
            _suite(files),
            _loss(files),
            _held_out(files),
            _time(files),
            _flops(files),
            _throughput(files),
            _forecast(files),
            _inputs(files),
            _provenance(files),
            _configuration(files),
        ),
    )


MENDS = {
    "verdict.json": "`replibench run CONFIG` writes it, and for anybody's results "
    "`replibench compare ORIGINAL REPLICA --output RUN_DIR/verdict.json`",
    "calibration.json": "`replibench calibrate CONFIG` measures them; name the file that it writes under `calibration` "
    "in the configuration, and `replibench run CONFIG` lays it beside the verdict",
    "forecast.json": "`replibench extrapolate forecast RUN_DIR` writes it beside the run's config.yaml",
}


def not_run(what: str, file: str) -> Paragraph:
    """The sentence that stands where something is missing: never a guess, always the mend."""
    mend = MENDS.get(file, "`replibench run CONFIG` writes it, or `replibench train CONFIG` where there is no original")
    return Paragraph(f"not run: no {file} in the run directory, so no {what}; {mend}", "muted")


def _subtitle(files: RunFiles) -> str:
    parts = []
    if files.manifest is not None:
        parts.append(files.manifest.created)
    if files.run is not None:
        parts.append(f"{files.run.device_name}, {files.run.steps:,} steps, {files.run.tokens:,} tokens")
    return " · ".join(parts)


def _badges(files: RunFiles) -> tuple[Badge, ...]:
    verdict = files.verdict
    if verdict is None:
        return (Badge("Verdict", "NOT RUN", "muted", "the two models have not been compared"),)
    literal, evidence = verdict.literal.verdict, verdict.evidence.verdict
    return (
        Badge("Literal criterion", LITERAL_WORDS[literal], LITERAL_TONES[literal], literal_meaning(verdict)),
        Badge("Evidence", evidence.replace("_", " ").upper(), EVIDENCE_TONES[evidence], evidence_reason(verdict)),
    )


def _verdict(files: RunFiles) -> Section:
    verdict = files.verdict
    if verdict is None:
        return Section("verdict", "Verdict", (not_run("verdict", "verdict.json"),))
    blocks = (verdict_conclusion(verdict), *verdict_remarks(verdict), *verdict_findings(verdict))
    return Section("verdict", "Verdict", blocks)


def _intervals(files: RunFiles) -> Section:
    title = "Differences and their intervals"
    if files.verdict is None:
        return Section("intervals", title, (not_run("differences", "verdict.json"),))
    if not files.verdict.benchmarks:
        return Section(
            "intervals", title, (Paragraph("No benchmark was compared, so there is no difference.", "muted"),)
        )
    return Section("intervals", title, (interval_plot(files.verdict), detail_table(files.verdict)))


def _suite(files: RunFiles) -> Section:
    title = "What this suite can see"
    if files.calibration is None:
        return Section("suite", title, (not_run("operating characteristics", "calibration.json"),))
    return Section("suite", title, (calibration_plot(files.calibration), *calibration_tables(files.calibration)))


def _loss(files: RunFiles) -> Section:
    blocks: list[Block] = []
    if files.metrics is not None and files.metrics.lines:
        held_out = files.run.held_out_loss if files.run else None
        blocks.append(loss_plot(files.metrics, files.original_metrics, held_out))
    else:
        blocks.append(not_run("loss curve", "metrics.jsonl"))
    if files.original_metrics is None:
        text = "The original's loss curve is not shown: no original_metrics.jsonl in the run directory."
        blocks.append(Paragraph(text, "muted"))
    named = (("metrics.jsonl", files.metrics), ("original_metrics.jsonl", files.original_metrics))
    for name, metrics in named:
        blocks += _left_out(name, metrics)
    blocks.append(training_table(files.run) if files.run else not_run("training summary", "run.json"))
    if files.events:
        blocks.append(events_table(files.events))
    return Section("loss", "Training", tuple(blocks))


def _left_out(name: str, metrics: Metrics | None) -> list[Block]:
    """What reading a metrics file had to leave out."""
    if metrics is None:
        return []
    blocks: list[Block] = []
    if metrics.repeated_steps:
        text = f"{name}: {metrics.repeated_steps} steps were logged again after a restart; the later line is shown."
        blocks.append(Paragraph(text, "muted"))
    if metrics.cut_off:
        blocks.append(Paragraph(f"{name}: the last line is cut off and left out.", "unsure"))
    return blocks


def _held_out(files: RunFiles) -> Section:
    title, blocks = "Held-out loss", list[Block]()
    if files.run is None:
        blocks.append(not_run("held-out loss", "run.json"))
    else:
        missing = Paragraph("not run: run.json has no held-out loss", "muted")
        blocks.append(held_out_table(files.run) or missing)
    if files.verdict is not None and files.verdict.held_out_loss is not None:
        blocks.append(gate_sentence(files.verdict.held_out_loss))
    return Section("held-out", title, tuple(blocks))


def _time(files: RunFiles) -> Section:
    title = "Time"
    if files.run is None:
        return Section("time", title, (not_run("time split", "run.json"),))
    return Section("time", title, (time_plot(files.run), time_table(files.run)))


def _flops(files: RunFiles) -> Section:
    if files.run is None:
        return Section("flops", "FLOPs", (not_run("FLOPs", "run.json"),))
    ledger = files.run.flops
    return Section("flops", "FLOPs", (ledger_table(ledger, "this run"), matmul_table(ledger)))


def _throughput(files: RunFiles) -> Section:
    title = "Throughput and utilisation"
    if files.run is None:
        return Section("throughput", title, (not_run("throughput", "run.json"),))
    blocks: list[Block] = [throughput_table(files.run)]
    if files.metrics is not None and any(line.tokens_per_s is not None for line in files.metrics.lines):
        blocks.append(throughput_plot(files.metrics))
    return Section("throughput", title, tuple(blocks))


def _forecast(files: RunFiles) -> Section:
    forecast = files.forecast
    if forecast is None:
        return Section("forecast", "Forecast", (not_run("forecast", "forecast.json"),))
    blocks = (
        forecast_plot(forecast),
        estimate_table(forecast),
        target_table(forecast),
        driver_table(forecast),
        gpt3_like_table(forecast),
        flop_table(forecast.flop, forecast.tokens, forecast.sequence_length),
    )
    return Section("forecast", f"Forecast: {forecast.target}", blocks)


def _inputs(files: RunFiles) -> Section:
    title = "What the forecast was drawn from"
    if files.forecast is None:
        return Section("inputs", title, (not_run("inputs", "forecast.json"),))
    warnings = tuple(row(Cell(warning)) for warning in files.forecast.warnings)
    blocks: tuple[Block, ...] = (input_table(files.forecast),)
    if warnings:
        blocks += (Table("To know before believing it", (Column("warning"),), warnings),)
    return Section("inputs", title, blocks)


def _provenance(files: RunFiles) -> Section:
    title = "Provenance"
    if files.manifest is None:
        return Section("provenance", title, (not_run("provenance", "manifest.json"),))
    return Section("provenance", title, tuple(provenance_tables(files.manifest)))


def _configuration(files: RunFiles) -> Section:
    title = "Configuration"
    if files.config is None:
        return Section("configuration", title, (not_run("configuration", "config.yaml"),))
    return Section("configuration", title, (Listing("The resolved configuration", files.config),))

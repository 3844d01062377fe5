"""Write every prediction of a published run beside the truth into docs/validation.md between its two markers.

python -m scripts.document_validation
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from configs import presets
from configs.booked import booked_runs
from configs.files import write_text
from configs.forecast import ForecastConfig
from configs.published import Reproduction, all_reproductions
from extrapolate.calibration import calibration
from extrapolate.forecast import forecast
from extrapolate.loss import PUBLISHED, published_law
from extrapolate.utilisation import held_pairs, similar_pairs
from extrapolate.validation import (
    Check,
    Coverage,
    coverage,
    effective_checks,
    flop_checks,
    planned_checks,
    speed_checks,
    team_checks,
)
from extrapolate.widening import published_trials, widening
from scripts.documents import between

PAGE = Path(__file__).resolve().parent.parent / "docs" / "validation.md"
BEGIN = "<!-- validation: begin (python -m scripts.document_validation) -->"
END = "<!-- validation: end -->"
TERA = 1e12
HOURS_PER_DAY = 24
FLOP_FAILS_PERCENT = 5.0
UNLIKELY = 0.1

# Why an interval did not hold, by the beginning of the run's name; `reason` wants one for each that did not.
_AS_TUNED = (
    "the calibrating software a year later, by its own authors: as tuned as the calibration, while the interval is of "
    "teams that use it"
)
SPEED_REASONS = {
    "korthikanti": _AS_TUNED,
    "Megatron-LM 2022": _AS_TUNED,
    "mpt": "LLM Foundry of 2023, whose attention is a flash kernel: faster than the kernels of the calibration",
    "narayanan-time-175b-zero-3": "ZeRO-3 of 2021 gathered one tensor after another and waited; the model hides it",
}
HOUR_REASONS = {
    "opt-175b": "59 % of its booked time ended up in the model, the least of all runs; none of the others lost more "
    "than 15 %, so without it nothing says that this happens. The priors in use have it in them",
    "gpt3-175b": "10,000 is a round number of Patterson et al., and nobody published the layout: 3.2e6 tokens a step "
    "leave one or two sequences to each copy there, and data-parallel communication is 85 % of the best plan's step",
}
FLOP_REASONS = {
    "gopher-280b": "6ND is of model FLOPs; Table A26 counts what was run, with a second forward pass in the backward",
    "opt-175b": "6ND is of model FLOPs; its logbook counts what was run, 8ND and attention",
}


def tables() -> str:
    """The summary, then each kind of prediction, then what is known to fail."""
    speeds, hours, planned = speed_checks(), effective_checks(), planned_checks()
    return "\n\n".join(
        [
            _summary(speeds, hours, planned),
            _flop(),
            _speeds(speeds),
            _hours(hours, planned),
            _memory(),
            _loss(),
            _failing(speeds, hours, planned),
        ]
    )


def updated(page: str) -> str:
    """`page` with the tables between its markers. Raises BadInputError when the markers are not there, once each."""
    return between(page, PAGE.name, BEGIN, END, tables())


def reason(check: Check, reasons: dict[str, str]) -> str:
    """Why its interval did not hold. Raises LookupError where nobody has said."""
    for name, why in reasons.items():
        if check.run.startswith(name):
            return why
    raise LookupError(f"{check.run}: its interval did not hold; say why in scripts/document_validation.py")


def held_out(checks: Iterable[Check]) -> list[Check]:
    """Those with an interval in which the truth had no part."""
    return [check for check in checks if check.held is not None and check.kept_out is not None]


def _summary(speeds: Sequence[Check], hours: Sequence[Check], planned: Sequence[Check]) -> str:
    teams, carried = team_checks(), held_pairs(similar_pairs(calibration()))
    groups = (
        ("speed of a step, by run", held_out(speeds)),
        ("speed of a step, by team", list(teams)),
        ("accelerator-hours, by the effective MFU of others", held_out(hours)),
        ("accelerator-hours, by the plan, and the MFU and goodput of others", held_out(planned)),
    )
    alone = coverage([*teams, *held_out(hours), *held_out(planned)])
    rows = [(name, *_counted(coverage(checks))) for name, checks in groups]
    heads = ("90 % intervals of what was held out", "held", "of", "share", "90 % interval of it", "chance of so few")
    figures = [row for row in all_reproductions() if row.reason is None]
    trials = published_trials()
    as_made = sum(trial.needs <= 1 for trial in trials)
    narrow = (
        "**The intervals are too narrow**, on what there is to try them on: read a stated 90 % as "
        f"{100 * alone.low:.0f} to {100 * alone.high:.0f} %."
    )
    return "\n\n".join(
        [
            "### In all",
            _table(heads, ("", *["---:"] * 5), [*rows, ("the last three together", *_counted(alone))]),
            f"The last three are one interval a team or a booked run: {alone.held} of {alone.of} held. Were each held "
            f"with 90 % and apart from the others, so few would come in {100 * alone.at_most:.0f} % of such tables. "
            "They are not quite apart (three of the runs are in all three rows, and the others make each one's "
            "interval), and the runs within a team are not at all, so the first row is for looking at. "
            + (
                narrow if alone.at_most < UNLIKELY else "That does not speak against 90 %, on the little that there is."
            ),
            f"As Student's t makes them {as_made} of {len(trials)} held. So they are widened ({widening():.2f} times, "
            "in the forecast), and shown widened here by the factor that the other teams need: it is no part of what "
            "it is tried on.",
            f"A run of the user's own is carried with a spread that held {carried.held} of {carried.of} {carried.what} "
            "([throughput](throughput.md)).",
            f"Beside these, {sum(row.is_met for row in figures)} of {len(figures)} published figures that follow by "
            "arithmetic are met to their last digit or to what their rounding explains; "
            f"{len(all_reproductions()) - len(figures)} more are not, each with its reason "
            "([accounting](accounting.md)).",
        ]
    )


def _counted(found: Coverage) -> tuple[str, ...]:
    return (
        str(found.held),
        str(found.of),
        f"{100 * found.held / found.of:.0f} %",
        f"{100 * found.low:.0f} to {100 * found.high:.0f} %",
        f"{100 * found.at_most:.2g} %",
    )


def _flop() -> str:
    rows = []
    for check in flop_checks():
        by = check.convention_error_percent
        shown = f"{check.error_percent:+.1f} %"
        fails = abs(check.error_percent) > FLOP_FAILS_PERCENT
        rows.append(
            (
                check.run,
                _flop_text(check.published),
                _flop_text(check.six_nd),
                f"**{shown}**" if fails else shown,
                check.convention,
                "–" if by is None else f"{by:+.1f} %",
                check.source,
            )
        )
    heads = ("model", "published", "6ND", "error", "what they count", "ours, of that", "source")
    return "\n\n".join(
        [
            "### FLOPs of training",
            "By arithmetic, so without an interval: the count that most people make, and the one that the publication "
            "makes.",
            _table(heads, ("", "---:", "---:", "---:", "", "---:", ""), rows),
        ]
    )


def _speeds(checks: Sequence[Check]) -> str:
    rows = [
        (
            check.run,
            f"{check.truth / TERA:.0f}",
            f"{check.predicted / TERA:.0f}",
            f"{check.error_percent:+.1f} %",
            _interval(check, TERA, ".0f"),
            check.kept_out or "**in the prior**: its team made the widening for another accelerator",
        )
        for check in checks
    ]
    heads = ("run", "measured", "predicted", "error", "90 % in practice", "how it was kept out")
    return "\n\n".join(
        [
            "### TFLOP/s of one accelerator, recompute included",
            "Of the layout that was run. The calibrating team's own have no interval, as that is of other teams. "
            "Sources: [throughput](throughput.md).",
            _table(heads, ("", "---:", "---:", "---:", "", ""), rows),
        ]
    )


def _hours(hours: Sequence[Check], planned: Sequence[Check]) -> str:
    heads = ("run", "booked", "predicted", "error", "90 %", "in days: booked, predicted", "how it was kept out")
    aligned = ("", "---:", "---:", "---:", "", "---:", "")
    sources = {check.run: check.source for check in (*hours, *planned)}
    return "\n\n".join(
        [
            "### Accelerator-hours and days",
            "Model FLOPs over the peak and an effective MFU, which has the lost work in it:",
            _table(heads, aligned, [_hour_cells(check) for check in hours]),
            "The best plan on such a cluster, its MFU in practice, and a goodput; GPT-3's hours were computed from a "
            "speed, so nothing is lost there:",
            _table(heads, aligned, [_hour_cells(check) for check in planned]),
            "Days are hours over the accelerators, so they are no other test.",
            _opt_in_the_prior(),
            "Sources:\n\n" + "\n".join(f"- {run}: {source}" for run, source in sources.items()),
        ]
    )


def _opt_in_the_prior() -> str:
    days = forecast(ForecastConfig(target="opt-175b")).wall_clock_days
    inside = days.p5 <= _opt_days() <= days.p95
    return (
        f"OPT-175B as the forecast has it, **in the prior**: 1024 A100 take {days.p5:.0f} to {days.p95:.0f} days for "
        f"its 300e9 tokens, and the {_opt_days():.0f} that they took at the pace of the last 90 % lie "
        f"{'inside' if inside else '**outside**'}. That shows nothing: it is one of the runs that the goodput is of."
    )


def _opt_days() -> float:
    """Of the calendar, for all tokens at the pace of the last 90 %."""
    return (booked_runs().goodput["opt-175b"].booked_days or 0) / 0.9


def _hour_cells(check: Check) -> tuple[str, ...]:
    row = booked_runs().effective_mfu[check.run]
    count = None if row.cluster is None else presets.cluster(row.cluster).count
    in_days = "–"
    if count is not None:
        in_days = ", ".join(f"{hours / count / HOURS_PER_DAY:.1f}" for hours in (check.truth, check.predicted))
    return (
        check.run,
        f"{check.truth:,.0f}",
        f"{check.predicted:,.0f}",
        f"{check.error_percent:+.0f} %",
        _interval(check, 1, ",.0f"),
        in_days,
        check.kept_out or "**in the prior**",
    )


def _memory() -> str:
    rows = [row for row in all_reproductions() if "memory_bytes" in row.figure]
    cells = [
        (
            row.what,
            row.figure.replace("memory_bytes.", "").replace(" + ", ", "),
            f"{row.theirs} {row.unit}",
            f"{float(row.ours):.4g} {row.unit}",
            _error(row),
            row.source,
        )
        for row in rows
    ]
    heads = ("of", "what", "published", "ours", "error", "source")
    return "\n\n".join(
        [
            "### Memory of a device",
            "By arithmetic. What a run's devices held in all, with the framework's own, nobody published.",
            _table(heads, ("", "", "---:", "---:", "---:", ""), cells),
        ]
    )


def _error(row: Reproduction) -> str:
    shown = f"{row.difference_percent:+.1f} %"
    return shown if row.reason is None else f"**{shown}**: {row.reason}"


def _loss() -> str:
    law = published_law()
    rows = [
        (
            f"{band.above:g} to {band.up_to:g}",
            str(band.predictions),
            str(band.cuts),
            _percent(band.unwidened_coverage),
            _percent(band.coverage),
            f"{band.sequential_held} of {band.sequential_predictions}" if band.sequential_predictions else "not tested",
        )
        for band in law.calibration.bands
    ]
    heads = ("times the largest run's FLOP", "predictions", "cuts", "as fitted", "as widened", "by smaller runs alone")
    return "\n\n".join(
        [
            "### Loss",
            f"{PUBLISHED}: a law of the runs below each cut in compute predicts those above it. The share of 90 % "
            "intervals that held, as the bootstrap gives them, as widened (by these same predictions, so no test), and "
            "with the width found from what lies below each cut alone ([scaling law](scaling-law.md)).",
            _table(heads, ("", "---:", "---:", "---:", "---:", "---:"), rows),
            "GPT-3's target lies 24 times beyond: there the honest figure is the last one, of few predictions.",
        ]
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _failing(speeds: Sequence[Check], hours: Sequence[Check], planned: Sequence[Check]) -> str:
    """Runs that fail in the same way are one row."""
    found: dict[tuple[str, str], list[tuple[str, float]]] = {}
    for flop in flop_checks():
        if abs(flop.error_percent) > FLOP_FAILS_PERCENT:
            found.setdefault(("FLOPs by 6ND", FLOP_REASONS[flop.run]), []).append((flop.run, flop.error_percent))
    (ours,) = (row for row in all_reproductions() if row.what.startswith("OPT-175B, 300e9") and row.unit == "days")
    why = (
        f"its authors' 33 days (here {float(ours.ours):.1f}) are free of failures by definition; the last 90 % of the "
        f"tokens took {0.9 * _opt_days():.0f} days of the calendar, so all of them about {_opt_days():.0f}"
    )
    found["days at the speed of its steps", why] = [("opt-175b", 100 * (float(ours.ours) / _opt_days() - 1))]
    for what, checks, reasons in (
        ("TFLOP/s", speeds, SPEED_REASONS),
        ("TFLOP/s, of the whole team", team_checks(), SPEED_REASONS),
        ("hours, by the effective MFU of others", hours, HOUR_REASONS),
        ("hours, by the plan", planned, HOUR_REASONS),
    ):
        for check in checks:
            if check.held is False:
                found.setdefault((what, reason(check, reasons)), []).append((check.run, check.error_percent))
    rows = [
        (", ".join(run for run, _ in runs), what, ", ".join(f"{error:+.0f} %" for _, error in runs), why)
        for (what, why), runs in found.items()
    ]
    return "\n\n".join(["### Known to fail", _table(("run", "prediction", "error", "why"), ("", "", "---:", ""), rows)])


def _interval(check: Check, unit: float, digits: str) -> str:
    if check.interval is None:
        return "–"
    low, high = (format(bound / unit, digits) for bound in check.interval)
    return f"{low} to {high}: {'inside' if check.held else '**outside**'}"


def _flop_text(value: float) -> str:
    return f"{value:.3g}".replace("e+", "e")


def _table(heads: Sequence[str], aligned: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(rule or '---' for rule in aligned)}|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    write_text(PAGE, updated(PAGE.read_text(encoding="utf-8")))

"""Write the tables of the calibration, the checks and the priors into docs/throughput.md between its two markers.

python -m scripts.document_throughput
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from configs.booked import booked_runs
from configs.distributions import Z95
from configs.files import write_text
from extrapolate.calibration import Calibration, Checked, calibration
from extrapolate.duration import Prior, effective_mfu, effective_mfu_prior, goodput_prior
from extrapolate.utilisation import (
    Practice,
    carried_sigma,
    interval_without_its_team,
    other_kind_sigma,
    practice,
    similar_pairs,
    without_team,
)
from extrapolate.widening import widening
from scripts.documents import between

PAGE = Path(__file__).resolve().parent.parent / "docs" / "throughput.md"
BEGIN = "<!-- throughput: begin (python -m scripts.document_throughput) -->"
END = "<!-- throughput: end -->"
TERA = 1e12


def tables() -> str:
    """The calibration, what it was checked on, and the priors of the time, as Markdown."""
    found = calibration()
    return "\n\n".join(
        [
            _calibration(found),
            _held_out(found),
            _practice(found),
            _kinds(found),
            _beyond(found),
            _goodput(),
            _effective(),
        ]
    )


def updated(page: str) -> str:
    """`page` with the tables between its markers. Raises BadInputError when the markers are not there, once each."""
    return between(page, PAGE.name, BEGIN, END, tables())


def _calibration(found: Calibration) -> str:
    errors = np.abs([row.error_percent for row in found.left_out])
    fitted = found.efficiency
    return "\n\n".join(
        [
            "### The calibration, each row predicted by a fit of the others",
            f"Fitted to all {len(errors)}: matmuls at {100 * fitted.matmul:.1f} % of the peak, and "
            f"{fitted.activation_traffic:.2f} bytes of memory traffic for each byte of activations. Left out one by "
            f"one, the median absolute error of the predicted FLOP/s is {np.median(errors):.1f} %, the largest "
            f"{errors.max():.1f} %, the root mean square of the log ratio {found.left_out_rms:.3f}.",
            _steps(found.left_out),
            _sources(found.left_out),
        ]
    )


def _held_out(found: Calibration) -> str:
    others = [row for row in found.held_out if row.step.team in found.practice]
    inside = sum(_in_interval(row, found) for row in others)
    teams = sum(_team_in_interval(team, found) for team in found.practice)
    return "\n\n".join(
        [
            "### Held out",
            "TFLOP/s of one accelerator, recompute included. The interval is the 90 % of one more team, made without "
            f"the row's own: it holds the average of {teams} of the {len(found.practice)} other teams, and {inside} of "
            f"their {len(others)} runs, which are not independent within a team. The calibrating team has none.",
            _steps(found.held_out, found),
            _sources(found.held_out),
        ]
    )


def _practice(found: Calibration) -> str:
    others, mean = practice(found), np.mean(list(found.practice.values()))
    low, high = (100 * math.exp(others.shift + z * widening() * others.sigma) for z in (-Z95, Z95))
    rows = [(team, f"{100 * math.expm1(ratio):+.1f} %") for team, ratio in found.practice.items()]
    return "\n\n".join(
        [
            "### In practice",
            "How much faster than it was the model takes each team's runs to be, on average:",
            _table(("team", "predicted over measured"), ("", "---:"), rows),
            f"So a plan's MFU in practice is {100 * math.exp(-mean):.0f} % of the model's, "
            f"and for one more team the 90 % are {low:.0f} to {high:.0f} % of it (Student's t of {len(rows)} teams, "
            f"{widening():.2f} times as wide, by leaving published runs out).",
            *(_doubtful(row, found) for row in found.doubtful),
        ]
    )


def _doubtful(row: Checked, found: Calibration) -> str:
    """What the prior would be with a row that is not in it."""
    other = practice(found._replace(practice={**found.practice, row.step.team: row.log_ratio}))
    return (
        f"{row.step.name} is not in it ({row.step.note}). With it the MFU in practice were "
        f"{100 * math.exp(other.shift):.0f} % of the model's, and the sigma before widening {other.sigma:.3f} instead "
        f"of {practice(found).sigma:.3f}."
    )


def _kinds(found: Calibration) -> str:
    rows = [(name, f"{100 * math.expm1(ratio):+.0f} %") for name, ratio in found.kinds.items()]
    return "\n\n".join(
        [
            "### Another kind of accelerator",
            "The same model and software on A100 and on H100: how much more the prediction is above the H100's "
            "measurement than above the A100's.",
            _table(("pair", "more"), ("", "---:"), rows),
            f"The root mean square of the logs, {other_kind_sigma(found):.2f}, is added in quadrature to the sigma of "
            "a plan on anything but an A100. A run of the user's own is carried with a sigma of "
            f"{carried_sigma(similar_pairs(found)):.3f}.",
            _steps(found.pairs),
            _sources(found.pairs),
        ]
    )


def _beyond(found: Calibration) -> str:
    return "\n\n".join(["### Beyond the calibration", _steps(found.beyond), _sources(found.beyond)])


def _goodput() -> str:
    rows = []
    for name, row in booked_runs().goodput.items():
        printed = row.share is not None
        how = "as printed" if printed else f"{row.useful_days} of {row.booked_days:g} days"
        least = "at least " if row.at_least else ""
        rows.append((name, f"{least}{100 * row.value:.0f} %", how, row.source))
    return "\n\n".join(
        [
            "### Goodput",
            _table(("run", "goodput", "how", "source"), ("", "---:", "", ""), rows),
            _prior(goodput_prior()),
        ]
    )


def _effective() -> str:
    rows = [
        (
            name,
            f"{row.tokens:.3g}".replace("e+", "e"),
            f"{row.accelerator_hours:,.0f} {row.accelerator}",
            f"{100 * effective_mfu(row):.1f} %",
            "yes" if row.booked else "no: computed from a speed",
            row.source,
        )
        for name, row in booked_runs().effective_mfu.items()
    ]
    heads = ("run", "tokens", "accelerator-hours", "effective MFU", "in the prior", "source")
    return "\n\n".join(
        ["### Effective MFU", _table(heads, ("", "---:", "---:", "---:", "", ""), rows), _prior(effective_mfu_prior())]
    )


def _prior(prior: Prior) -> str:
    low, median, high = (f"{100 * share:.1f} %" for share in (prior.low, prior.median, prior.high))
    return f"Prior: median {median}, 90 % {low} to {high}, from {prior.runs} runs."


def _team_in_interval(team: str, found: Calibration) -> bool:
    shift, sigma = _without(team, found)
    return abs(found.practice[team] + shift) <= Z95 * sigma * widening(team)


def _in_interval(row: Checked, found: Calibration) -> bool:
    low, high = interval_without_its_team(row, found)
    return low <= row.step.hardware_flop_per_s <= high


def _without(team: str, found: Calibration) -> Practice:
    return practice(without_team(found, team))


def _steps(rows: Sequence[Checked], found: Calibration | None = None) -> str:
    heads = [
        "run",
        "accelerators",
        "t × p × d",
        "v",
        "b",
        "ZeRO",
        "recompute",
        "batch",
        "measured",
        "predicted",
        "error",
    ]
    cells = [_cells(row) + ([_checked_interval(row, found)] if found else []) for row in rows]
    if found:
        heads.append("90 % in practice")
    return _table(heads, ["", "", "", *["---:"] * 3, "", *["---:"] * 4, ""], cells)


def _cells(row: Checked) -> list[str]:
    step, layout = row.step, row.step.layout
    split = f"{layout.tensor_parallel_size} × {layout.pipeline_parallel_size} × {layout.data_parallel_size}"
    return [
        step.name,
        f"{step.accelerators:,} {step.accelerator.name}",
        split,
        str(layout.interleave),
        str(layout.micro_batch_size),
        str(layout.zero_stage),
        layout.recompute + (", sequence-parallel" if layout.sequence_parallel else ""),
        f"{step.sequences:,}",
        f"{step.hardware_flop_per_s / TERA:.0f}",
        f"{row.predicted_hardware_flop_per_s / TERA:.0f}",
        f"{row.error_percent:+.1f} %",
    ]


def _checked_interval(row: Checked, found: Calibration) -> str:
    if row.step.team not in found.practice:
        return "–"
    low, high = (bound / TERA for bound in interval_without_its_team(row, found))
    return f"{low:.0f} to {high:.0f}: {'inside' if _in_interval(row, found) else '**outside**'}"


def _sources(rows: Sequence[Checked]) -> str:
    said = dict.fromkeys((row.step.note, row.step.source) for row in rows)
    return "Sources:\n\n" + "\n".join(f"- {source}{f' ({note})' if note else ''}" for note, source in said)


def _table(heads: Iterable[str], aligned: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    heads = list(heads)
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(rule or '---' for rule in aligned[: len(heads)])}|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    write_text(PAGE, updated(PAGE.read_text(encoding="utf-8")))

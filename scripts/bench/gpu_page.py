"""A run of the GPU bench as Markdown: what the command prints and what docs/performance.md shows."""

from scripts.bench.gpu_record import GpuBench, Outcome, Speed

GOALS = {"gpt2-124m": 0.50, "gpt2-355m": 0.55, "gpt3-1.3b": 0.60}  # MFU by the exact count, of the faster of our two
GB = 1e9
MS = 1e3


def page_text(record: GpuBench) -> str:
    """Machine, speed, memory, where the time goes, losses, and what is missing with the reason."""
    measured = [(outcome, outcome.speed) for outcome in record.outcomes if outcome.speed is not None]
    parts = [_machine(record)]
    if measured:
        parts += [_speed_table(measured), _memory_table(measured), _profiles(measured)]
    parts += [_losses(record), _missing(record)]
    return "\n\n".join(part for part in parts if part)


def _machine(record: GpuBench) -> str:
    device = record.device
    code = f"commit `{record.commit[:12]}`" if record.commit else "commit not known"
    code += " with changes" if record.dirty else ""
    code += f", nanoGPT `{record.nanogpt_commit[:12]}`" if record.nanogpt_commit else ""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items() if version)
    return (
        f"{device.name}, {device.memory_bytes / GB:.0f} GB, driver {device.driver or 'not known'}, CUDA {device.cuda}; "
        f"{record.created}, {code}; {versions}. All of it took {record.took_s:.0f} s. One bf16 product of 8192 × 8192 "
        f"random matrices runs at {device.matmul_bf16_flop_per_s / 1e12:.0f} TFLOP/s there."
    )


def _speed_table(measured: list[tuple[Outcome, Speed]]) -> str:
    rows = []
    for outcome, speed in measured:
        case, step = outcome.case, speed.step_s
        shares = [f"{100 * share:.1f} %" for share in (speed.mfu or {}).values()] or ["no peak known"] * 3
        goal = f"{100 * GOALS[case.model]:.0f} %" if case.what == "training" and case.model in GOALS else ""
        energy = speed.energy_j
        rows.append(
            [
                case.title,
                f"{case.micro_batch_size} × {case.gradient_accumulation_steps} × {case.sequence_length}",
                f"{speed.tokens_per_s:,.0f}",
                *shares,
                goal,
                f"{MS * step.median:.1f} ({MS * step.first_quartile:.1f}–{MS * step.third_quartile:.1f})",
                f"{speed.timed_steps}",
                f"{speed.first_step_s:.0f}",
                "" if energy is None else f"{1e6 * energy / (speed.timed_steps * case.tokens_per_step):,.1f}",
            ]
        )
    head = ["", "rows × accumulation × length", "tokens/s", "MFU exact", "MFU causal", "MFU 6ND", "goal"]
    head += ["step, ms (quartiles)", "steps", "first step, s", "J a million tokens"]
    peaks = sorted({speed.peak.source for _, speed in measured if speed.peak})
    return _table(head, rows) + ("\n\nPeak: " + "; ".join(peaks) + "." if peaks else "")


def _memory_table(measured: list[tuple[Outcome, Speed]]) -> str:
    rows = []
    for outcome, speed in measured:
        used, counted = speed.allocated_bytes, speed.predicted.total
        most, reserved = (f"{b / GB:.1f}" if b is not None else "" for b in (used, speed.reserved_bytes))
        ratio = f"{used / counted:.2f}" if used is not None else ""
        rows.append([outcome.case.title, most, reserved, f"{counted / GB:.1f}", ratio])
    head = ["peak memory, GB", "allocated", "reserved by torch", "`accounting.memory`", "allocated / counted"]
    return _table(head, rows)


def _profiles(measured: list[tuple[Outcome, Speed]]) -> str:
    rows = []
    for outcome, speed in measured:
        found = speed.profile
        attention = ", ".join(f"`{name.removeprefix('aten::')}`" for name in found.attention)
        kernels = "; ".join(f"{100 * share:.0f} % `{_short(name)}`" for name, share in found.kernels[:3])
        rows.append([outcome.case.title, attention or "none seen", kernels or f"none: {found.error}"])
    return _table(["", "attention", "longest kernels"], rows)


def _losses(record: GpuBench) -> str:
    gap = record.loss_gap
    if gap is None:
        return ""
    last = ", ".join(f"{name} {loss:.4f}" for name, loss in gap.last_losses.items())
    return (
        f"bf16 against fp32, {gap.steps} steps of a small model, same rows and seed: losses differ by {gap.mean:.4f} "
        f"nats per token in the mean and {gap.largest:.4f} at most; over the last tenth of the steps: {last}."
    )


def _missing(record: GpuBench) -> str:
    rows = [[o.case.title, o.status.replace("_", " "), o.reason or ""] for o in record.outcomes if o.reason]
    return _table(["not measured", "", "why"], rows) if rows else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:59] + "…"

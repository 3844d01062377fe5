"""An estimate as tables: parameters, FLOPs, memory, and the time if there is a speed."""

from accounting.conventions import CONVENTION
from accounting.estimate import Estimate, FlopSummary
from report.content import Cell, Column, Paragraph, Table, pairs, row
from report.formatting import count, gigabytes, percent, scientific, seconds, significant

FLOPS = (
    ("model_exact", "model FLOPs"),
    ("model_exact_causal", "model FLOPs, causal"),
    ("hardware_selective_recompute", "hardware, selective recompute"),
    ("hardware_full_recompute", "hardware, full recompute"),
    ("six_nd", "6ND, all parameters"),
    ("six_nd_non_embedding", "6ND, non-embedding"),
    ("closed_form", "closed form"),
    ("closed_form_full_recompute", "closed form, full recompute"),
)
STATES = ("parameters", "gradients", "optimizer", "activations", "logits")


def estimate_tables(estimate: Estimate) -> tuple[Table | Paragraph, ...]:
    """All of it, in the order in which it follows from one another."""
    blocks: list[Table | Paragraph] = [
        parameter_table(estimate),
        flop_table(estimate.flop, estimate.tokens, estimate.sequence_length),
        memory_table(estimate),
    ]
    if estimate.wall_clock_s is not None:
        blocks.append(estimated_time_table(estimate))
    blocks += [Paragraph(f"Note: {note}", "muted") for note in estimate.notes]
    return (*blocks, *(Paragraph(f"Warning: {warning}", "unsure") for warning in estimate.warnings))


def parameter_table(estimate: Estimate) -> Table:
    """Parameters by part."""
    parts, shape = estimate.parameters, estimate.architecture
    heads = f"{shape.n_heads} heads of {shape.d_head}"
    if shape.n_kv_heads != shape.n_heads:
        heads += f" ({shape.n_kv_heads} for keys and values)"
    return Table(
        f"{estimate.model} ({shape.family}): {shape.n_layers} layers, d_model {shape.d_model}, {heads}, "
        f"d_ff {shape.d_ff}{' gated' if shape.gated_mlp else ''}, {count(shape.padded_vocab_size)} rows of vocabulary",
        (Column("parameters"), Column("", numeric=True)),
        (
            row("total", count(parts.total)),
            row("non-embedding", count(parts.non_embedding)),
            *(
                row(f"  {name}", count(getattr(parts, name)))
                for name in ("embedding", "positions", "attention", "mlp", "norms", "head")
            ),
        ),
    )


def flop_table(flop: FlopSummary, tokens: int, sequence_length: int) -> Table:
    """Training FLOPs by every convention; none stands without it."""
    rows = []
    for field, name in FLOPS:
        value = getattr(flop, field)
        convention = CONVENTION[f"flop.{field}"] if value is not None else "does not apply to this shape"
        rows.append(row(name, "–" if value is None else scientific(value), convention))
    return Table(
        f"Training FLOPs of {count(tokens)} tokens in sequences of {count(sequence_length)}",
        (Column("count"), Column("FLOP", numeric=True), Column("convention")),
        tuple(rows),
    )


def memory_table(estimate: Estimate) -> Table:
    """Bytes on the fullest accelerator, and whether they fit."""
    layout, needed = estimate.layout, estimate.memory_bytes
    stage = (
        f", in stage {needed.stage + 1} of {layout.pipeline_parallel_size}" if layout.pipeline_parallel_size > 1 else ""
    )
    chunks = f" in {layout.interleave} chunks each" if layout.interleave > 1 else ""
    devices = "the device" if layout.devices == 1 else f"the fullest of {count(layout.devices)} devices"
    parallel = (
        f"data × tensor × pipeline parallel {layout.data_parallel_size} × {layout.tensor_parallel_size} × "
        f"{layout.pipeline_parallel_size}{chunks}"
    )
    rows = [row(name, gigabytes(getattr(needed, name))) for name in STATES]
    rows.append(row("total", gigabytes(needed.total)))
    if estimate.device_memory_bytes is not None:
        fits = Cell("it fits", "good") if estimate.fits else Cell("it does not fit", "bad")
        rows.append(row(f"a device of {estimate.accelerator}", gigabytes(estimate.device_memory_bytes)))
        rows.append((Cell("by this count"), fits))
    return Table(
        f"Memory of {devices}{stage}: {parallel}, "
        f"ZeRO-{layout.zero_stage}, {layout.precision}, micro-batch {layout.micro_batch_size}, "
        f"recompute {layout.recompute}{', sequence-parallel' if layout.sequence_parallel else ''}. "
        "The framework's own memory, buffers and fragmentation come on top.",
        (Column("bytes"), Column("", numeric=True)),
        tuple(rows),
    )


def estimated_time_table(estimate: Estimate) -> Table:
    """Speed in every way in which it is said, and the time it gives. The caller has checked that there is one."""

    def share(value: float | None) -> str:
        return "no peak is known" if value is None else f"{percent(value, 1)} %"

    def rate(value: float | None) -> str:
        return "" if value is None else f"{significant(value / 1e12)} TFLOP/s"

    hours, wall_clock, tokens = estimate.accelerator_hours, estimate.wall_clock_s, estimate.tokens_per_s_per_accelerator
    if hours is None or wall_clock is None or tokens is None:
        raise ValueError("the estimate has no speed")
    peak = estimate.peak_flop_per_s_per_accelerator
    where = estimate.accelerator or "accelerator"
    ridge = "" if estimate.ridge_flop_per_byte is None else significant(estimate.ridge_flop_per_byte, 3)
    return pairs(
        f"Time on {count(estimate.accelerator_count)} × {where}: of steps that count, without restarts and lost work",
        ("MFU (model FLOPs over the peak)", share(estimate.mfu)),
        ("HFU (recompute included)", share(estimate.hfu)),
        ("peak, dense, each", rate(peak)) if peak else None,
        ("model FLOP/s, each", rate(estimate.model_flop_per_s_per_accelerator)),
        ("hardware FLOP/s, each", rate(estimate.hardware_flop_per_s_per_accelerator)),
        ("tokens per second, each", significant(tokens)),
        (
            "FLOP per byte of the matmuls",
            f"{significant(estimate.arithmetic_intensity_flop_per_byte, 3)} (memory is the limit below {ridge})",
        )
        if ridge
        else None,
        ("accelerator-hours", significant(hours)),
        ("wall-clock", seconds(wall_clock)),
        heads=("quantity", "value"),
    )

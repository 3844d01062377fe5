"""The best layouts of a model on a cluster as tables: what they are, why the first is first, what was left out."""

from extrapolate.throughput import Alternative, Plan, Planning
from report.content import Cell, Column, Paragraph, Table, row
from report.formatting import count, gigabytes, percent, significant

PARTS = (
    ("matmul_s", "matmuls"),
    ("elementwise_s", "memory traffic outside them"),
    ("tensor_parallel_s", "tensor-parallel sums"),
    ("pipeline_bubble_s", "the pipeline's bubble"),
    ("pipeline_sends_s", "the pipeline's sends"),
    ("data_parallel_s", "data-parallel communication"),
    ("optimizer_s", "optimizer"),
)
NEAREST = 3  # alternatives shown of each field


def layout_tables(planning: Planning) -> tuple[Table | Paragraph, ...]:
    """The plans, the first one's step, the alternatives to it, and the warnings."""
    first, used = planning.plans[0], planning.utilisation
    practice = (
        f"MFU while training: {percent(used.mfu.median, 1)} % "
        f"({percent(used.mfu.low, 1)} to {percent(used.mfu.high, 1)} %, 90 %), by {used.mfu.source}."
    )
    dropped = "; ".join(f"{count(each.count)} {each.what}: {each.reason}" for each in planning.dropped)
    looked_at = f"{count(planning.layouts_considered)} layouts looked at, {count(planning.layouts_fitting)} fit."
    return (
        _plans_table(planning),
        Paragraph(practice),
        _step_table(first),
        *(Paragraph(f"{reason[0].upper()}{reason[1:]}.") for reason in planning.reasons),
        _alternatives_table(planning.alternatives),
        Paragraph(f"{looked_at} Dropped: {dropped}." if dropped else looked_at, "muted"),
        *(Paragraph(f"Warning: {warning}.", "unsure") for warning in planning.warnings),
    )


def _plans_table(planning: Planning) -> Table:
    heads = ("MFU %", "HFU %", "step s", "tensor", "pipe", "data", "ZeRO", "micro", "recompute", "seq.", "chunks", "GB")
    return Table(
        f"The best layouts of {count(planning.global_batch)} sequences of {count(planning.sequence_length)} on "
        f"{count(planning.accelerator_count)} × {planning.accelerator}, {planning.dtype}. Tensor, pipe, data: parallel "
        "sizes; micro: sequences at a time; seq.: sequence parallel; chunks: of layers on a pipeline stage; GB: on the "
        "fullest device. MFU and HFU are those of a tuned benchmark.",
        (Column("rank"), *(Column(head, numeric=True) for head in heads)),
        tuple(_plan_row(at, plan) for at, plan in enumerate(planning.plans, 1)),
    )


def _plan_row(at: int, plan: Plan) -> tuple[Cell, ...]:
    return row(
        str(at),
        percent(plan.mfu, 1),
        percent(plan.hfu, 1),
        significant(plan.step_time_s),
        str(plan.tensor_parallel_size),
        str(plan.pipeline_parallel_size),
        str(plan.data_parallel_size),
        str(plan.zero_stage),
        str(plan.micro_batch_size),
        plan.recompute,
        "yes" if plan.sequence_parallel else "no",
        str(plan.interleave),
        gigabytes(plan.memory.total_bytes).removesuffix(" GB"),
    )


def _step_table(plan: Plan) -> Table:
    rows = [(name, getattr(plan.parts, field)) for field, name in PARTS]
    return Table(
        "A step of the first",
        (Column("part"), Column("s", numeric=True), Column("%", numeric=True)),
        tuple(row(name, significant(s, 3), percent(s / plan.step_time_s, 1)) for name, s in rows if s > 0),
    )


def _alternatives_table(alternatives: tuple[Alternative, ...]) -> Table:
    """Of each field the nearest in time; how much slower the best plan with that value is."""
    rows = []
    for field in dict.fromkeys(each.field for each in alternatives):
        here = [each for each in alternatives if each.field == field]
        timed = sorted(
            (each for each in here if each.slower_percent is not None), key=lambda each: each.step_time_s or 0
        )
        cells = [f"{_value(each)}: {_slower(each)}" for each in timed[:NEAREST]]
        none = [_value(each) for each in here if each.slower_percent is None]
        rows.append(row(field, ", ".join(cells) or "–", ", ".join(none) or "–"))
    return Table(
        "Instead of the first: how much slower the best layout with another value is, with no communication hidden",
        (Column("field"), Column("slower by"), Column("fits in no layout")),
        tuple(rows),
    )


def _value(each: Alternative) -> str:
    return {True: "yes", False: "no"}[each.value] if isinstance(each.value, bool) else str(each.value)


def _slower(each: Alternative) -> str:
    return "–" if each.slower_percent is None else f"{significant(each.slower_percent, 2)} %"

"""The run record and its manifest as tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from accounting.flops import FlopLedger
from report.content import Cell, Column, Table, pairs, row
from report.formatting import count, energy, loss, percent, scientific, seconds, significant, size, yes_no
from train.events import Event
from train.record import Goodput, Manifest, RunRecord, StepTime

MOST_EVENTS = 30  # rows of a table
PHASES = (
    ("start_up_s", "start-up"),
    ("compile_s", "compiling"),
    ("data_s", "data"),
    ("forward_backward_s", "forward and backward"),
    ("teacher_s", "the reference's forward"),
    ("optimizer_s", "optimizer"),
    ("communication_s", "communication"),
    ("checkpoint_s", "checkpoints"),
    ("evaluation_s", "evaluation"),
    ("other_s", "other"),
)
CONVENTIONS = (
    (
        "model_flop",
        "model FLOPs",
        "exact, every matmul, forward + backward, attention over the full square; numerator of MFU",
    ),
    ("model_flop_causal_halved", "model FLOPs, causal", "exact, attention core halved for the causal mask"),
    (
        "hardware_flop",
        "hardware FLOPs",
        "model FLOPs, what recompute ({recompute}) runs again, and a teacher's forward passes; numerator of HFU",
    ),
    (
        "teacher_forward_flop",
        "the teacher's forward passes",
        "of the reference, whose logits were learned, in each tensor-parallel process; no part of model FLOPs or MFU",
    ),
    ("six_n_d_all_flop", "6ND, all parameters", "6·N·D, N = {all} (all parameters)"),
    ("six_n_d_non_embedding_flop", "6ND, non-embedding", "6·N·D, N = {non_embedding} (no embeddings, no head)"),
    ("closed_form_flop", "closed form", "72BsLh²(1+s/6h+V/12Lh), Korthikanti et al. 2022, eq. 7"),
    (
        "closed_form_full_recompute_flop",
        "closed form, full recompute",
        "96BsLh²(1+s/6h+V/16Lh), Narayanan et al. 2021, eq. 3",
    ),
    ("forward_flop", "forward pass alone", "exact, attention over the full square"),
    ("backward_flop", "backward pass alone", "twice the forward pass"),
)
MATMULS = (
    ("qkv_projections", "query, key and value projections"),
    ("attention_scores", "attention scores (full square)"),
    ("attention_values", "attention values (full square)"),
    ("attention_output", "attention output projection"),
    ("mlp", "MLP"),
    ("logits", "logits"),
)


def phases(time: StepTime) -> tuple[tuple[str, float], ...]:
    """Phase and seconds, in the order in which a run goes through them, without those that were not measured."""
    split = ((label, getattr(time, field)) for field, label in PHASES)
    return tuple((label, spent) for label, spent in split if spent is not None)


def time_table(run: RunRecord) -> Table:
    """Seconds by phase, and each phase's share of their sum."""
    split = phases(run.time)
    whole = sum(spent for _, spent in split)
    apart = "" if run.time.communication_s is not None else " Communication is not known apart from them."
    return Table(
        "Where the time went: seconds of rank 0 by phase. The phases do not overlap; % is of their sum."
        f"{apart} Wall-clock over all attempts: {seconds(run.wall_clock_s)}.",
        (Column("phase"), Column("time", numeric=True), Column("%", numeric=True)),
        tuple(row(label, seconds(spent), percent(spent / whole, 1) if whole > 0 else "–") for label, spent in split),
    )


def ledger_table(ledger: FlopLedger, whose: str) -> Table:
    """Every count of the ledger with its convention; none stands without it."""
    words = {
        "recompute": ledger.recompute,
        "all": count(ledger.parameters_all),
        "non_embedding": count(ledger.parameters_non_embedding),
    }
    rows = []
    for field, name, convention in CONVENTIONS:
        value = getattr(ledger, field)
        if field == "teacher_forward_flop" and not value:
            continue
        numbers = ("–", "does not apply to this shape") if value is None else (scientific(value), count(value))
        rows.append(row(name, *numbers, convention.format(**words)))
    return Table(
        f"Training FLOPs of {whose}: {count(ledger.tokens)} tokens in sequences of {count(ledger.sequence_length)}",
        (Column("count"), Column("FLOP", numeric=True), Column("exact", numeric=True), Column("convention")),
        tuple(rows),
    )


def matmul_table(ledger: FlopLedger) -> Table:
    """The forward pass of one token by part."""
    parts = ledger.forward_flop_per_token
    return Table(
        "Forward FLOP of one token by part, all layers together",
        (Column("part"), Column("FLOP per token", numeric=True)),
        (
            *(row(label, count(getattr(parts, field))) for field, label in MATMULS),
            row("all of it", count(parts.total)),
        ),
    )


def throughput_table(run: RunRecord) -> Table:
    """Speed, utilisation with the peak it is a share of, memory, and work that was lost."""
    mfu = "not known: this accelerator has no peak in the table" if run.peak is None else "not recorded"
    if run.mfu is not None and run.peak is not None:
        mfu = f"{percent(run.mfu, 1)} % of the peak below (model FLOPs, attention in full, at the median step time)"
    return pairs(
        "Speed, and the share of the peak that was used",
        ("tokens per second", f"{significant(run.tokens_per_s)} (at the median step time)"),
        ("median step time", f"{significant(run.step_time_median_s)} s (first steps excluded)"),
        ("MFU", mfu),
        None if run.hfu is None else ("HFU", f"{percent(run.hfu, 1)} % (hardware FLOPs, recompute included, likewise)"),
        None
        if run.peak is None
        else ("peak", f"{scientific(run.peak.flop_per_s)} FLOP/s, all devices together ({run.peak.source})"),
        ("devices", f"{run.n_devices} × {run.device_name} ({run.device_type})"),
        (
            "data × tensor × pipeline parallel",
            f"{run.data_parallel_size} × {run.tensor_parallel_size} × {run.pipeline_parallel_size}",
        ),
        ("ZeRO stage, precision", f"{run.zero_stage}, {run.precision}"),
        ("peak memory", "not recorded" if run.peak_memory_bytes is None else size(run.peak_memory_bytes)),
        ("energy", _energy(run)),
        None if run.goodput is None else ("goodput", _goodput(run.goodput)),
        ("restarts", count(run.restarts)),
        ("steps lost to restarts", count(run.lost_steps)),
        ("steps skipped (loss or gradient not finite)", count(run.skipped_steps)),
        heads=("quantity", "value"),
    )


def _goodput(goodput: Goodput) -> str:
    waited = "for an unknown time" if goodput.waiting_s is None else seconds(goodput.waiting_s)
    return (
        f"{percent(goodput.share, 1)} % of {seconds(goodput.booked_s)}: lost {seconds(goodput.lost_s)}, start-up "
        f"{seconds(goodput.start_up_s)}, checkpoints {seconds(goodput.checkpoint_s)}, evaluation "
        f"{seconds(goodput.evaluation_s)}; waited {waited} beside it"
    )


def _energy(run: RunRecord) -> str:
    if run.energy_joules is None:
        return "not measured: neither GPUs (NVML) nor CPU packages (RAPL) could be read in every attempt"
    return f"{energy(run.energy_joules)} over all attempts ({run.energy_source})"


def events_table(events: Sequence[Event]) -> Table:
    """What happened beside the steps: the last of it, and how often each kind of thing happened."""
    kinds = ", ".join(
        f"{number} × {kind.replace('_', ' ')}" for kind, number in Counter(e.kind for e in events).items()
    )
    last = events[-MOST_EVENTS:]
    shown = f"; the last {MOST_EVENTS} are shown" if len(last) < len(events) else ""
    return Table(
        f"What happened beside the steps: {kinds}{shown}",
        (Column("what"), Column("after step", numeric=True), Column("in words")),
        tuple(row(event.kind.replace("_", " "), count(event.step), event.message) for event in last),
    )


def training_table(run: RunRecord) -> Table:
    """What was trained, how far it got, and the loss it reached."""
    shape = run.architecture
    finished = Cell("yes", "good") if run.finished else Cell("no: the run stopped early", "bad")
    return pairs(
        "What was trained, and how far it got",
        ("finished", finished),
        ("steps", count(run.steps)),
        ("tokens processed", f"{count(run.tokens)} (padding included: what FLOPs count)"),
        ("tokens predicted", f"{count(run.predicted_tokens)} (without padding)"),
        ("training loss", f"{loss(run.loss)} nats per token (mean of the last logged interval)"),
        (
            "architecture",
            f"{shape.family}: {shape.n_layers} layers, d_model {shape.d_model}, {shape.n_heads} heads, "
            f"d_ff {shape.d_ff}, vocabulary {count(shape.vocab_size)}, context {count(shape.context)}",
        ),
        (
            "parameters",
            f"{count(run.flops.parameters_all)} ({count(run.flops.parameters_non_embedding)} non-embedding)",
        ),
        (
            "exported checkpoint",
            f"logits against the engine's, largest absolute difference {significant(run.export_logit_difference)}",
        ),
        None
        if run.data_order_sha256 is None
        else ("data-order certificate", f"{run.data_order_sha256[:16]}… (of every token id consumed, in order)"),
        ("wall-clock", f"{seconds(run.wall_clock_s)} over all attempts, start-up and lost work included"),
        heads=("quantity", "value"),
    )


def held_out_table(run: RunRecord) -> Table | None:
    """Held-out loss of the replica, and of the original where it was measured."""
    held_out = run.held_out_loss
    if held_out is None:
        return None
    original = "not measured" if held_out.original is None else loss(held_out.original)
    return Table(
        f"Mean cross-entropy on {count(held_out.tokens)} held-out tokens, nats per token",
        (Column("model"), Column("held-out loss", numeric=True)),
        (row("original", original), row("replica", loss(held_out.replica))),
    )


def _facts(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_fact(value)}" for key, value in values.items()) or "none recorded"


def _fact(value: Any) -> str:
    """A value of the manifest's free-form parts, as it is."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return yes_no(value)
    if isinstance(value, int):
        return count(value)
    if isinstance(value, Mapping):
        return f"({_facts(value)})"
    if isinstance(value, (list, tuple)):
        return "; ".join(_fact(each) for each in value) or "none"
    return str(value)


def provenance_tables(manifest: Manifest) -> list[Table]:
    """Where the result came from: code, versions, machine, seeds, data and their hashes."""
    corpus = manifest.corpus
    tables = [
        pairs(
            "Where the result comes from",
            ("run", manifest.name),
            ("created", manifest.created),
            ("code", _facts(manifest.code)),
            ("machine", _facts(manifest.machine)),
            ("seeds", ", ".join(f"{name} {seed}" for name, seed in manifest.seeds.items()) or "none recorded"),
            ("corpus", f"{corpus.source}: {count(corpus.documents)} documents, {count(corpus.rows)} rows of "
             f"{count(corpus.sequence_length)}, {count(corpus.tokens)} tokens, {count(corpus.positions)} positions"),
            ("held-out", f"{count(corpus.held_out_tokens)} tokens"),
            None if manifest.reference is None else ("reference", _reference(manifest)),
            ("identity", _identity(manifest)),
            heads=("fact", "value"),
        ),
        pairs("Versions", *manifest.versions.items(), heads=("library", "version")),
        pairs("sha256", *_hashes(manifest), heads=("of", "sha256")),
    ]  # fmt: skip
    if manifest.identity is not None and manifest.identity.differences:
        tables.append(
            Table(
                "In what the replica's architecture is not the reference's",
                (Column("field"), Column("reference"), Column("replica")),
                tuple(row(d.field, _fact(d.reference), _fact(d.replica)) for d in manifest.identity.differences),
            )
        )
    return tables


def _reference(manifest: Manifest) -> str:
    assert manifest.reference is not None
    revision = manifest.reference.revision
    return manifest.reference.source + (f" at revision {revision}" if revision else "")


def _identity(manifest: Manifest) -> Cell:
    if manifest.identity is None:
        return Cell("not checked: no reference", "muted")
    if manifest.identity.identical:
        return Cell("the replica's architecture is identical to the reference's", "good")
    return Cell(f"not identical: {len(manifest.identity.differences)} fields differ", "bad")


def _hashes(manifest: Manifest) -> list[tuple[str, str]]:
    reference = manifest.reference.sha256 if manifest.reference else {}
    return [
        ("training configuration", manifest.training_config_sha256),
        ("tokenizer", manifest.tokenizer_sha256),
        ("corpus (token ids)", manifest.corpus.sha256),
        ("held-out documents", manifest.corpus.held_out_sha256),
        *((f"reference {name}", digest) for name, digest in reference.items()),
    ]

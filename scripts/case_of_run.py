"""A finished run of the user's own as a case: its records, cell by cell, each with the file that says so."""

import datetime
from pathlib import Path

from accounting.accelerators import match_device_name
from configs import presets
from configs.cases import AcceleratorFact, Case, Fact, Factors, Mechanism, Other, Project, Release, Resources, SpeedFact
from configs.errors import BadInputError
from configs.files import read_record
from eval.mechanism import mechanism, origin_of
from eval.verdict import LiteralLayer, Verdict
from train.record import Manifest, RunRecord

SECONDS_PER_HOUR = 3600
ORIGINAL = Path("eval") / "original"  # where a run has the original's results


def case_of_run(directory: Path, developer: str | None) -> Case:
    """The case of a run directory. Raises BadInputError for what is no run, and for one that is not finished."""
    run = _finished(directory)
    manifest_path = directory / "manifest.json"
    manifest = read_record(manifest_path, Manifest) if manifest_path.is_file() else None
    verdict_path = directory / "verdict.json"
    verdict = read_record(verdict_path, Verdict) if verdict_path.is_file() else None
    record = str(directory / "run.json")
    return Case(
        title=run.name,
        architecture=run.architecture,
        tokens=run.tokens,
        sequence_length=run.flops.sequence_length,
        model_source=record,
        project=_project(manifest, str(manifest_path), developer),
        release=Release(
            training_began=None if manifest is None else _began(manifest, str(manifest_path)),
            mechanism=_mechanism(directory, verdict),
        ),
        resources=_resources(run, record, manifest, str(manifest_path)),
        factors=_factors(run, record),
        other=_other(run, record, verdict, str(verdict_path)),
    )


def _finished(directory: Path) -> RunRecord:
    path = directory / "run.json"
    if not directory.is_dir():
        raise BadInputError(
            f"{directory}: {'is a file' if directory.exists() else 'no such directory'}; give the directory of a run"
        )
    if not path.is_file():
        if (directory / "manifest.json").is_file():
            raise BadInputError(f"{directory}: the run is not finished (no run.json); end it with `replibench train`")
        raise BadInputError(f"{directory}: is no run (neither run.json nor manifest.json); give one such as runs/smoke")
    run = read_record(path, RunRecord)
    if not run.finished:
        raise BadInputError(f"{directory}: the run is not finished; end it with `replibench train`")
    return run


def _project(manifest: Manifest | None, source: str, developer: str | None) -> Project:
    reference = manifest.reference if manifest else None
    return Project(
        developer=Fact(value=developer, source="given with --developer") if developer else None,
        aim=Fact(value=f"to replicate {reference.source}", source=source) if reference else None,
    )


def _began(manifest: Manifest, source: str) -> Fact[datetime.date]:
    day = datetime.datetime.fromisoformat(manifest.created).date()
    return Fact(value=day, source=source, note="UTC, when the run was prepared")


def _mechanism(directory: Path, verdict: Verdict | None) -> Fact[Mechanism]:
    """The verdict's word; without a verdict what the manifest alone can say: never that it is a replication."""
    if verdict is not None:
        return Fact(value=verdict.mechanism, source=str(directory / "verdict.json"), note=verdict.mechanism_reason)
    word, why = mechanism([origin_of(directory)], LiteralLayer(verdict="not_evaluated"), directory / ORIGINAL)
    return Fact(value=word, source=str(directory / "manifest.json"), note=f"{why}; there is no verdict")


def _resources(run: RunRecord, record: str, manifest: Manifest | None, source: str) -> Resources:
    hours = run.wall_clock_s / SECONDS_PER_HOUR
    known = match_device_name(run.device_name, presets.accelerators()) if run.device_type == "cuda" else None
    corpus = manifest.corpus if manifest else None
    return Resources(
        accelerator=AcceleratorFact(
            value=run.device_name, row=known.name if known else None, precision=run.precision, source=record
        ),
        accelerators=Fact(value=run.n_devices, source=record),
        training_hours=Fact(value=hours, source=record, note="all attempts, start-up and lost work included"),
        accelerator_hours=Fact(value=hours * run.n_devices, source=record, note="measured, lost work included"),
        speed=SpeedFact(
            value=run.tokens_per_s / run.n_devices,
            kind="tokens_per_s_per_accelerator",
            recompute=run.flops.recompute,
            source=record,
            note="measured, at the median step time",
        ),
        data_set=Fact(value=corpus.source, source=source) if corpus else None,
        data_set_tokens=Fact(value=corpus.tokens, source=source) if corpus else None,
        epochs=Fact(value=run.tokens / corpus.positions, source=source, note="tokens of run.json over positions")
        if corpus
        else None,
    )


def _factors(run: RunRecord, record: str) -> Factors:
    if not (run.restarts or run.lost_steps or run.skipped_steps):
        return Factors()
    lost = f"{run.restarts} restarts, {run.lost_steps} steps done again, {run.skipped_steps} skipped"
    return Factors(hindering=(Fact(value=lost, source=record),))


def _other(run: RunRecord, record: str, verdict: Verdict | None, source: str) -> Other:
    remarks: list[Fact[str]] = []
    if run.held_out_loss is not None:
        remarks.append(Fact(value=f"held-out loss {run.held_out_loss.replica:.4f} nats per token", source=record))
    if verdict is not None:
        words = f"criterion: literal {verdict.literal.verdict}, evidence {verdict.evidence.verdict}"
        remarks.append(Fact(value=words, source=source))
    return Other(remarks=tuple(remarks))

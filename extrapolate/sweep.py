"""A sweep's ladder as a law, its prediction of a larger run, and what became of the prediction."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from configs.errors import BadInputError
from configs.files import Record, read_record, write_text
from extrapolate.rollout import LossInterval, calibrated
from extrapolate.runs import COLUMNS, read_runs
from extrapolate.scaling_law import LawFit
from train.record import RunRecord

RUNS, PREDICTION, RESULT = "runs.csv", "prediction.json", "sweep.json"


class SweepPrediction(Record):
    """prediction.json: what the ladder says of the held-out run, written before that run begins.

    `not_calibrated` says why these runs calibrate no interval; its width is then that of published runs.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.sweep-prediction/1"] = Field("replibench.sweep-prediction/1", alias="schema")
    created: str = Field(description="UTC, ISO 8601, to the millisecond")
    member: str
    runs_sha256: str = Field(description="of runs.csv, from which the law is")
    law: LawFit
    loss: LossInterval
    not_calibrated: str | None


class SweepMember(Record):
    """A trained member. N counts all parameters, D the tokens processed; loss is held-out, nats per token."""

    name: str
    parameters: int
    tokens: int
    loss: float
    by_law: float = Field(description="what the ladder's law has at this place")
    wall_clock_s: float


class SweepResult(Record):
    """sweep.json: the ladder, what it predicted, and what came true. Errors are truth − prediction."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.sweep/1"] = Field("replibench.sweep/1", alias="schema")
    name: str
    members: tuple[SweepMember, ...] = Field(description="the ladder")
    residual_rms_percent: float = Field(description="of the ladder about its law")
    prediction: SweepPrediction
    held_out: SweepMember
    error_nats: float
    error_percent: float = Field(description="of the predicted loss")
    interval_held: bool
    training_s: float = Field(description="wall-clock of all members, restarts included")


def write_runs(path: Path, run_dirs: dict[str, Path]) -> None:
    """runs.csv of finished runs: the columns of a law, and the members' names."""
    lines = [",".join(("member", *COLUMNS))]
    for name, run_dir in run_dirs.items():
        runs = read_runs([run_dir])
        (parameters,), (tokens,), (loss,) = runs.parameters, runs.tokens, runs.loss
        lines.append(f"{name},{parameters:.0f},{tokens:.0f},{float(loss)!r}")
    write_text(path, "\n".join(lines) + "\n")


def predict(runs: Path, member: str, parameters: int, tokens: int) -> SweepPrediction:
    """The law of runs.csv at N parameters and D tokens. Raises BadInputError where the runs give none."""
    law = calibrated(read_runs([runs]))
    return SweepPrediction(
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        member=member,
        runs_sha256=_sha256(runs),
        law=law.law,
        loss=law.predict(parameters, tokens),
        not_calibrated=law.calibration.reason,
    )


def stored_prediction(directory: Path, parameters: int, tokens: int, *, begun: bool) -> SweepPrediction | None:
    """The prediction that is there, if it is of this runs.csv and target; None where one is still to be made.

    Raises BadInputError where the held-out run has `begun` without it: what is known cannot be predicted.
    """
    path = directory / PREDICTION
    found = read_record(path, SweepPrediction) if path.is_file() else None
    is_ours = found is not None and (
        (found.runs_sha256, found.loss.parameters, found.loss.tokens) == (_sha256(directory / RUNS), parameters, tokens)
    )
    if begun and not is_ours:
        what = "is of another ladder or target" if found else "is missing"
        raise BadInputError(
            f"{path}: {what}, and {directory / found.member if found else 'the held-out run'} was begun already, so "
            "nothing can be predicted any more; delete the held-out run's directory, or name another --run-dir"
        )
    return found if is_ours else None


def result(name: str, prediction: SweepPrediction, ladder: dict[str, Path], held_out: Path) -> SweepResult:
    """What came true, from the records of the runs."""
    members = tuple(_member(member, run_dir, prediction.law) for member, run_dir in ladder.items())
    truth = _member(prediction.member, held_out, prediction.law)
    loss = prediction.loss
    squares = [(member.loss / member.by_law - 1) ** 2 for member in members]
    return SweepResult(
        name=name,
        members=members,
        residual_rms_percent=100 * (sum(squares) / len(squares)) ** 0.5,
        prediction=prediction,
        held_out=truth,
        error_nats=truth.loss - loss.median,
        error_percent=100 * (truth.loss / loss.median - 1),
        interval_held=loss.p5 <= truth.loss <= loss.p95,
        training_s=sum(member.wall_clock_s for member in (*members, truth)),
    )


def _member(name: str, run_dir: Path, law: LawFit) -> SweepMember:
    run = read_record(run_dir / "run.json", RunRecord)
    assert run.held_out_loss is not None  # every training measures it
    parameters = run.flops.parameters_all
    return SweepMember(
        name=name,
        parameters=parameters,
        tokens=run.tokens,
        loss=run.held_out_loss.replica,
        by_law=law.loss(parameters, run.tokens),
        wall_clock_s=run.wall_clock_s,
    )


def _sha256(runs: Path) -> str:
    return hashlib.sha256(runs.read_bytes()).hexdigest()

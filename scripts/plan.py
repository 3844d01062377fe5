"""The command `extrapolate plan`: its flags to one `Planning`; an error names the flag."""

from pathlib import Path

from configs import presets
from configs.errors import BadInputError
from configs.files import read_record
from extrapolate.throughput import Planning, plan
from train.record import RunRecord


def plan_from_flags(
    model: str,
    cluster: str,
    batch: int,
    sequence_length: int | None,
    count: int | None,
    run: Path | None,
    best: int,
) -> Planning:
    """The plans; the model's context where no length is given. BadInputError names the flag and the mend.

    `run` is a run directory or its run.json.
    """
    try:
        shape, left_out = presets.model_architecture(model)
    except BadInputError as error:
        raise BadInputError(f"--model: {error}") from None
    try:
        machine = presets.cluster(cluster)
    except BadInputError as error:
        raise BadInputError(f"--cluster: {error}") from None
    measured = _run(run) if run else None
    found = plan(shape, machine, batch, sequence_length or shape.context, count, measured, best)
    if not left_out:
        return found
    warning = f"{model} does not give {', '.join(left_out)}: the defaults of {shape.family} are taken"
    return found.model_copy(update={"warnings": (warning, *found.warnings)})


def _run(path: Path) -> RunRecord:
    try:
        return read_record(path / "run.json" if path.is_dir() else path, RunRecord)
    except BadInputError as error:
        raise BadInputError(f"--run: {error}") from None

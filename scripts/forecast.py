"""The command `extrapolate forecast`: its arguments to one `Forecast`; an error names the flag or the file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from configs.errors import BadInputError
from configs.files import read_record, write_record
from configs.forecast import ForecastConfig
from configs.loader import load_config
from configs.locks import exclusive
from extrapolate.forecast import Forecast, forecast
from extrapolate.runs import Runs, read_runs
from scripts.estimate import whole_tokens
from train.record import RunRecord


def forecast_from_arguments(paths: Sequence[Path], flags: Mapping[str, Any]) -> Forecast:
    """The forecast. `flags` are those that were given, by key of `ForecastConfig`.

    Of one run directory the other keys are its configuration's, and forecast.json is written into it, under its lock.
    """
    runs, ladder = _read(paths)
    here = paths[0] if len(paths) == 1 and (paths[0] / "config.yaml").is_file() else None
    base = ForecastConfig() if here is None else load_config(here / "config.yaml").forecast
    config = _config(base, flags)
    if here is None:
        return forecast(config, runs, ladder)
    with exclusive(here):
        found = forecast(config, runs, ladder)
        write_record(here / "forecast.json", found)
    return found


def _read(paths: Sequence[Path]) -> tuple[tuple[RunRecord, ...], Runs | None]:
    """Records of run directories (or their run.json), or the runs of one CSV."""
    if len(paths) == 1 and not paths[0].is_dir() and paths[0].suffix != ".json":
        return (), read_runs(paths)
    files = (path / "run.json" if path.is_dir() else path for path in paths)
    return tuple(read_record(file, RunRecord) for file in files), None


def _config(base: ForecastConfig, flags: Mapping[str, Any]) -> ForecastConfig:
    given = dict(flags)
    if "tokens" in given:
        given["tokens"] = whole_tokens(given["tokens"])
    if "goodput" in given:
        given["goodput"] = _share(given["goodput"])
    if "assumptions" in given:
        given["assumptions"] = str(given["assumptions"])
    if given.get("target", base.target) != base.target and "tokens" not in given:
        given["tokens"] = given["sequence_length"] = None  # the configuration's are of its own target
    try:
        return ForecastConfig.model_validate({**base.model_dump(), **given})
    except ValidationError as error:
        problem = error.errors()[0]
        flag = f"--{str(problem['loc'][0]).replace('_', '-')}"
        said = problem["msg"].removeprefix("Value error, ")
        raise BadInputError(f"{flag}: {said[0].lower()}{said[1:]}") from None


def _share(text: str) -> dict[str, Any]:
    """`0.9`, or `0.5-0.97` for the central 90 %."""
    low, dash, high = text.partition("-")
    try:
        bounds = [float(low), float(high)] if dash else [float(low)]
    except ValueError:
        raise BadInputError(f"--goodput: {text!r} is no share, such as 0.9, nor a range, such as 0.5-0.97") from None
    source = "given with --goodput"
    if len(bounds) == 1:
        return {"distribution": "constant", "value": bounds[0], "source": source}
    return {"distribution": "logit_normal", "low": bounds[0], "high": bounds[1], "source": source}

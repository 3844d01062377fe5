"""Finished runs, what a law is fitted to: parameters, tokens and loss of each, checked."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from configs.errors import BadInputError
from configs.files import read_record
from extrapolate.levenberg import Array, Points
from train.record import RunRecord

Quantity = Literal["parameters", "tokens", "flop"]

COLUMNS = ("parameters", "tokens", "loss")
FLOP_PER_PARAMETER_AND_TOKEN = 6  # C = 6ND, the convention of the laws
LEAST_RUNS = 6  # one more than the law has parameters
LEAST_LEVELS = 3  # different sizes, and different numbers of tokens: A, α and E need three points of a curve


@dataclass(frozen=True)
class Runs:
    """Parameters N, training tokens D and loss (nats per token) of each run, all of shape (n,), all above 0.

    `source` and `rows` are for messages: where the runs are from, and what each is called there. Raises BadInputError
    that names the row for a number that is not finite or not above 0.
    """

    parameters: Array
    tokens: Array
    loss: Array
    source: str = "runs"
    rows: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name in COLUMNS:
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        if not len(self.parameters) == len(self.tokens) == len(self.loss):
            raise BadInputError(f"{self.source}: parameters, tokens and loss are not equally many")
        if not self.rows:
            object.__setattr__(self, "rows", tuple(f"run {number}" for number in range(1, len(self.loss) + 1)))
        for name in COLUMNS:
            for row, value in zip(self.rows, getattr(self, name), strict=True):
                if not (math.isfinite(value) and value > 0):
                    raise BadInputError(
                        f"{self.source}: {row}: {name} is {value:g}; it must be a finite number above 0 "
                        "(a run that diverged is left out)"
                    )

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def flop(self) -> Array:
        """Compute of each run by C = 6ND."""
        return FLOP_PER_PARAMETER_AND_TOKEN * self.parameters * self.tokens

    @property
    def points(self) -> Points:
        """The runs as the law's minimiser takes them: terms N and D."""
        return Points(np.log(np.stack([self.parameters, self.tokens])), np.log(self.loss))

    def only(self, kept: npt.NDArray[np.bool_]) -> "Runs":
        """The runs of a mask (n,)."""
        rows = tuple(row for row, keep in zip(self.rows, kept, strict=True) if keep)
        return Runs(self.parameters[kept], self.tokens[kept], self.loss[kept], self.source, rows)

    def without_highest(self, dropped: int) -> "Runs":
        """The runs less so many of the highest losses; of equal losses, the later ones stay. Raises BadInputError."""
        if dropped < 0 or len(self) - dropped < 1:
            raise BadInputError(
                f"{self.source}: the {dropped} highest losses of {len(self)} runs cannot be dropped; drop fewer"
            )
        kept = np.ones(len(self), bool)
        kept[np.argsort(-self.loss, kind="stable")[:dropped]] = False
        return self.only(kept)

    def refuse_smaller(self, value: float, of: Quantity) -> None:
        """Raises BadInputError for what is below the smallest run: the law is for what is as large, or larger."""
        smallest = float(getattr(self, of).min())
        if not (math.isfinite(value) and value >= smallest * (1 - 1e-9)):
            raise BadInputError(
                f"{value:g} is not as large as the smallest of the runs, of {smallest:.4g}; a law is for larger ones"
            )

    def why_too_few(self) -> str | None:
        """Why no law of five parameters follows from these runs, and what is missing; None where one may."""
        if len(self) < LEAST_RUNS:
            few = "1 run is" if len(self) == 1 else f"{len(self)} runs are"
            return f"{few} too few for a law of five parameters; give at least {LEAST_RUNS}"
        for values, what, several, letters in (
            (self.parameters, "size", "sizes", "E, A and alpha"),
            (self.tokens, "number of tokens", "numbers of tokens", "E, B and beta"),
        ):
            levels = _levels(values)
            if levels == 1:
                return f"all runs have one {what}; {letters} need at least {LEAST_LEVELS}"
            if levels < LEAST_LEVELS:
                return f"the runs have {levels} different {several}; {letters} need at least {LEAST_LEVELS}"
        return None


def read_runs(paths: Sequence[Path]) -> Runs:
    """One CSV with the columns parameters, tokens and loss (others are not read), or finished run directories.

    Of a run directory: all parameters, the tokens processed, and the replica's held-out loss. Raises BadInputError.
    """
    if not paths:
        raise BadInputError("RUNS: missing; give a CSV with the columns parameters,tokens,loss, or run directories")
    if len(paths) == 1 and not paths[0].is_dir():
        return _from_csv(paths[0])
    return _from_directories(paths)


def _from_csv(path: Path) -> Runs:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise BadInputError(f"{path}: is not text; give a CSV with the columns parameters,tokens,loss") from None
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if reader.fieldnames is None:
        raise BadInputError(f"{path}: is empty; give a CSV with the columns parameters,tokens,loss")
    if missing:
        raise BadInputError(f"{path}: has no column {', '.join(missing)}; the first line names parameters,tokens,loss")
    rows, numbers = [], []
    for line in reader:
        row = f"line {reader.line_num}"
        rows.append(row)
        numbers.append([_number(line[name], f"{path}: {row}: {name}") for name in COLUMNS])
    if not rows:
        raise BadInputError(f"{path}: has no runs under its heading")
    parameters, tokens, loss = np.array(numbers).T
    return Runs(parameters, tokens, loss, str(path), tuple(rows))


def _number(text: str | None, where: str) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise BadInputError(f"{where} is {text!r}, which is no number") from None


def _from_directories(paths: Sequence[Path]) -> Runs:
    rows = []
    for path in paths:
        if not path.is_dir():
            raise BadInputError(f"{path}: is no run directory; give one CSV alone, or run directories")
        run = read_record(path / "run.json", RunRecord)
        if run.held_out_loss is None:
            raise BadInputError(f"{path}: run.json has no held_out_loss; give runs that were finished with one")
        rows.append((run.flops.parameters_all, run.tokens, run.held_out_loss.replica))
    parameters, tokens, loss = np.array(rows, np.float64).T
    return Runs(parameters, tokens, loss, "run directories", tuple(str(path) for path in paths))


def _levels(values: Array) -> int:
    """How many different values, to six digits."""
    return len({f"{value:.5e}" for value in values})

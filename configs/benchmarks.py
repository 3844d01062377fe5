"""Which metric stands for a benchmark and what guessing scores on it: `benchmarks.yaml`, typed."""

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from configs.errors import BadInputError
from configs.files import Record
from configs.loader import parse_yaml

T = TypeVar("T")
_PRESET = Path(__file__).with_name("benchmarks.yaml")


class BenchmarkRules(Record):
    """The metric rule and the chance levels (accuracies, 0..1). Names may end in `*`, exact names go first."""

    default_metrics: Annotated[tuple[str, ...], Field(min_length=1)]
    metrics: Mapping[str, str]
    chance: Mapping[str, Annotated[float, Field(ge=0, lt=1)]]

    def metric(self, benchmark: str, reported: Collection[str]) -> str | None:
        """The metric to compare `benchmark` by: its own, else the first default that is reported; None if none is."""
        own = _lookup(self.metrics, benchmark)
        candidates = self.default_metrics if own is None else (own,)
        return next((metric for metric in candidates if metric in reported), None)

    def chance_of(self, benchmark: str) -> float | None:
        """Accuracy of guessing on `benchmark`, None when it is not known."""
        return _lookup(self.chance, benchmark)

    def with_chance(self, chance: Mapping[str, float]) -> "BenchmarkRules":
        """The same rules with the caller's chance levels over these."""
        return BenchmarkRules(
            default_metrics=self.default_metrics, metrics=self.metrics, chance={**self.chance, **chance}
        )


def _lookup(table: Mapping[str, T], name: str) -> T | None:
    """`table[name]`, else the value of the longest `prefix*` that fits, else None."""
    if name in table:
        return table[name]
    prefixes = [key for key in table if key.endswith("*") and name.startswith(key[:-1])]
    return table[max(prefixes, key=len)] if prefixes else None


def read_benchmark_rules(path: Path) -> BenchmarkRules:
    """Read a rules file. Raises BadInputError naming the file and the key."""
    try:
        return BenchmarkRules.model_validate(parse_yaml(path.read_text(encoding="utf-8"), str(path)))
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInputError(f"{path}: {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}") from None


@cache
def benchmark_rules() -> BenchmarkRules:
    """The rules that come with the harness."""
    return read_benchmark_rules(_PRESET)

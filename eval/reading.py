"""What the readers of result files share: what was asked for, which metric decides, and when a number is a score."""

import difflib
import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from configs.benchmarks import BenchmarkRules
from configs.errors import BadInputError
from eval.scores import TaskScores

Json = Mapping[str, Any]
Metric = tuple[str, str]  # name and filter; lm-eval post-processes answers by named filters, "none" is none
Row = Mapping[Metric, float]  # one benchmark's numbers, NaN where the file has no number

NO_FILTER = "none"
_MODEL_KEYS = ("peft", "delta", "pretrained", "model", "path", "engine")  # in lm-eval's own order
_NAMES_OF_A_ROW = ("alias", "name", "task_name", "prompt_name", "sample_len")


@dataclass(frozen=True)
class Asked:
    """What the caller wants of a file: the rules, the benchmarks (None: all), and other metrics than the rules'."""

    rules: BenchmarkRules
    benchmarks: Collection[str] | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)

    def names(self, path: Path, found: Iterable[str], groups: Json | None = None) -> list[str]:
        """Those of the benchmarks in a file that are asked for, sorted. `*` at the end of a name matches any ending.

        Raises BadInputError naming the nearest ones, or the members of a group, when one is not there.
        """
        there = sorted(found)
        wanted = {*there} if self.benchmarks is None else set()
        for name in self.benchmarks or ():
            matches = {one for one in there if one == name or (name.endswith("*") and one.startswith(name[:-1]))}
            if not matches:
                raise BadInputError(f"{path}: no benchmark {name!r} in it; {_nearest(name, there, groups)}")
            wanted |= matches
        for name in self.overrides:
            if name not in wanted:
                raise BadInputError(f"{path}: no benchmark {name!r} to change the metric of; {_nearest(name, there)}")
        return sorted(wanted)

    def metric(self, path: Path, name: str, row: Row) -> Metric | None:
        """The metric that decides on a benchmark: the caller's, else the rule's; None when the file has neither.

        A caller names it as lm-eval does, "exact_match" or with its filter "exact_match,flexible-extract".
        """
        override = self.overrides.get(name)
        if override is None:
            wanted, filter_ = self.rules.metric(name, {metric for metric, _ in row}), ""
        else:
            wanted, _, filter_ = override.partition(",")
        filters = [one for metric, one in row if metric == wanted and filter_ in ("", one)]
        if filters and wanted:
            return wanted, _preferred(filters)
        if override is not None:
            raise BadInputError(f"{path}: {name} has no metric {override!r}; it has {_listed(map(label, row))}")
        if self.benchmarks is not None and name in self.benchmarks:
            raise BadInputError(
                f"{path}: {name} has no accuracy (it has {_listed(map(label, row))}); "
                "name a metric of it, or leave it out"
            )
        return None

    def used_overrides(self, names: Collection[str]) -> dict[str, str]:
        """The overrides of these benchmarks."""
        return {name: metric for name, metric in self.overrides.items() if name in names}


def label(metric: Metric) -> str:
    """As lm-eval writes it, but without the filter that does nothing."""
    return metric[0] if metric[1] == NO_FILTER else ",".join(metric)


def _preferred(filters: Collection[str]) -> str:
    """No filter, else the strict one, else the first by name: fixed, so that nobody can take the better one."""
    return next((name for name in (NO_FILTER, "strict-match") if name in filters), min(filters))


def _nearest(name: str, there: list[str], groups: Json | None = None) -> str:
    members = (groups or {}).get(name)
    if members and isinstance(members, list):
        return f"it is a group: ask for {', '.join(map(str, members[:3]))}{', …' if len(members) > 3 else ''}"
    near = difflib.get_close_matches(name, there, n=3)
    return f"did you mean {' or '.join(near)}?" if near else f"it has {_listed(there)}"


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    return (", ".join(every[:6]) + (f" and {len(every) - 6} more" if len(every) > 6 else "")) or "none"


# ---- numbers


def numbers(row: Json, *, filters: bool) -> dict[Metric, float]:
    """The numbers of a results row: keys "acc,none" with filters, "acc" without. Standard errors are left out."""
    found = {}
    for key, value in row.items():
        metric, comma, filter_ = key.partition(",")
        number = math.nan if value == "N/A" else as_number(value)
        if number is None or key in _NAMES_OF_A_ROW or metric.endswith("_stderr") or bool(comma) != filters:
            continue
        found[metric, filter_ or NO_FILTER] = number
    return found


def as_number(value: Any) -> float | None:
    """A JSON value as a float: NaN for null; None for what is no number ("N/A", text)."""
    if value is None:
        return math.nan
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | float):
            return float(value)
        return float(value) if isinstance(value, str) and not math.isfinite(float(value)) else None
    except OverflowError:
        return math.inf
    except ValueError:
        return None


def checked_share(path: Path, name: str, metric: str, value: float) -> float:
    """A score between 0 and 1. Raises BadInputError for what is not one: NaN, a percentage, a negative number."""
    if not math.isfinite(value):
        raise BadInputError(f"{path}: {name}: {metric} is {value}, not a number; the evaluation failed, repeat it")
    if not 0 <= value <= 1:
        mend = "divide by 100 if it is in per cent, or name another metric"
        raise BadInputError(f"{path}: {name}: {metric} is {value}; scores are shares between 0 and 1; {mend}")
    return value


def scored(
    path: Path, metric: Metric, row: Row, n_items: int | None, known: Mapping[str, Any]
) -> tuple[TaskScores, list[str]]:
    """A benchmark of which only the totals are known, and what a reader must be warned of.

    The score is exact: right answers over items where the share is such a count, else the decimal in the file.
    """
    share = row[metric]
    correct = None if n_items is None else count_of(share, n_items)
    warnings = []
    if correct is None and n_items is not None:
        warnings.append(f"{path}: {known['name']}: {share} is no count of right answers out of {n_items}")
    task = TaskScores(
        metric=label(metric),
        score=Fraction(str(share)) if correct is None or n_items is None else Fraction(correct, n_items),
        n_items=n_items,
        correct=correct,
        finite=None if all(map(math.isfinite, row.values())) else False,
        **known,
    )
    return task, warnings


def count_of(share: float, n_items: int) -> int | None:
    """How many of `n_items` are right; None when the share is no such count."""
    count = round(share * n_items)
    return count if n_items > 0 and abs(count - share * n_items) <= 1e-6 * n_items else None


def items_from_error(share: float, standard_error: float | None) -> int | None:
    """The number of items behind a share and its standard error, sqrt(p(1−p)/(n−1)) as every lm-eval computes it.

    None unless that reproduces the error to 1e-9 and the share is a count: a bootstrapped error or a mean of other
    things than right and wrong has no such number, and neither have shares of 0 and 1, whose error is 0.
    """
    if standard_error is None or not standard_error > 0 or not 0 < share < 1:
        return None
    n = round(share * (1 - share) / standard_error**2) + 1
    if n < 2 or not math.isclose(math.sqrt(share * (1 - share) / (n - 1)), standard_error, rel_tol=1e-9):
        return None
    return n if count_of(share, n) is not None else None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises BadInputError when there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadInputError(f"{path}: not JSON ({error}); the file was cut off or edited, evaluate again") from None
    if not isinstance(document, dict):
        raise BadInputError(f"{path}: not a results file of lm-eval; give results_*.json or its directory")
    return document


def table(document: Json, key: str) -> Json:
    """The JSON object under a key; empty where there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def whole(value: Any) -> int | None:
    """A number of shots or items as files record it; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def text(value: Any) -> str | None:
    """A value as text; None stays None."""
    return None if value is None else str(value)


def model_name(config: Json) -> str | None:
    """A model by its name on the hub, or its directory, with the revision where one was given ("name@revision").

    `model_args` is text ("pretrained=…,revision=…") or a table; GPT-NeoX recorded its own table, with the directory
    that it loaded and the step.
    """
    arguments = _model_arguments(config)
    name = next((arguments[key] for key in _MODEL_KEYS if arguments.get(key)), None)
    revision = arguments.get("revision")
    if name is None and arguments.get("load"):
        name, revision = Path(str(arguments["load"])).name, arguments.get("iteration")
    if name is None:
        return text(config.get("model") or None)
    return f"{name}@{revision}" if revision not in (None, "", "main") else str(name)


def revision_of(config: Json) -> str | None:
    """The revision of the hub that the model was loaded at, where that was recorded."""
    return text(_model_arguments(config).get("revision") or None)


def _model_arguments(config: Json) -> Json:
    arguments = config.get("model_args")
    if isinstance(arguments, str):
        return dict(part.partition("=")[::2] for part in arguments.split(","))
    return arguments if isinstance(arguments, dict) else {}


def limit_of(config: Json) -> str | None:
    """The limit on items that was recorded, 1000 and 1000.0 alike; None for none."""
    limit = as_number(config.get("limit")) if config.get("limit") is not None else None
    return None if limit is None else f"{limit:g}"

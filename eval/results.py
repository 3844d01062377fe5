"""What lm-eval 0.4.x wrote, read into one typed object: scores, items, and everything that makes two runs comparable.

A directory written by lm-eval holds results_<time>.json and, with --log_samples, one samples_<task>_<time>.jsonl a
task; lm-eval puts both under a directory named after the model. Nothing here decides anything: `eval.criterion` does.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from configs.benchmarks import BenchmarkRules, benchmark_rules
from configs.errors import BadInputError
from tinyworld.benchmarks import BENCHMARKS

Json = Mapping[str, Any]

# Recorded by lm-eval, and able to change a log-likelihood or a generated answer. The padding token cannot.
_POLICY_FIELDS = (
    "tokenizer_bos_token",
    "tokenizer_eos_token",
    "eot_token_id",
    "max_length",
    "chat_template_sha",
    "system_instruction_sha",
)


class Item(NamedTuple):
    """One question as one model answered it. `unit` names the group of questions that share a fate, if there is one."""

    doc_id: int
    doc_hash: str
    correct: bool
    unit: str | None


@dataclass(frozen=True)
class TaskScores:
    """One benchmark of one model.

    `items` is None when no samples were logged, else in order of document. `requests_digest` covers prompts and targets
    (two of different kinds, "samples:" and "lm-eval:", cannot be compared), `answers_digest` the log-likelihoods to
    the last bit (None when there are none). `finite`: every logged log-likelihood, or without samples every metric, is
    a finite number; None when there is nothing to see it by. `chance` is the accuracy of guessing.
    """

    name: str
    metric: str
    n_items: int
    correct: int
    items: tuple[Item, ...] | None = None
    n_shot: int | None = None
    version: str | None = None
    chance: float | None = None
    finite: bool | None = None
    requests_digest: str | None = None
    answers_digest: str | None = None


@dataclass(frozen=True)
class Scores:
    """One model's results. `policy` holds what was recorded of tokenizer, length and prompt policy, as JSON text."""

    path: str
    model_name: str | None
    tasks: Mapping[str, TaskScores]
    limit: str | None = None
    policy: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()  # tasks without a metric that the criterion can use


def read_scores(path: Path, rules: BenchmarkRules | None = None) -> Scores:
    """Read an lm-eval results file, or the newest one in a directory (or in its one model sub-directory).

    `rules` say which metric stands for a task and what guessing scores; default: `known_rules`.
    Raises BadInputError, one line naming the file and the mend, when files are missing, broken, of another format, or
    contradict each other.
    """
    rules = rules or known_rules()
    results_path = find_results(path)
    document = _read_json(results_path)
    for key in ("results", "n-samples", "versions"):
        if not isinstance(document.get(key), dict):
            raise BadInputError(
                f"{results_path}: no {key!r} table, so not a results file of lm-eval 0.4; "
                "evaluate again with lm-eval >= 0.4"
            )
    tasks: dict[str, TaskScores] = {}
    skipped: list[str] = []
    for name in sorted(document["n-samples"]):
        task = _read_task(results_path, document, name, rules)
        if task is None:
            skipped.append(name)
        else:
            tasks[name] = task
    config = document.get("config") or {}
    return Scores(
        path=str(path),
        model_name=document.get("model_name") or None,
        tasks=tasks,
        limit=None if config.get("limit") is None else str(config["limit"]),
        policy={key: json.dumps(document[key]) for key in _POLICY_FIELDS if document.get(key) is not None},
        skipped=tuple(skipped),
    )


def known_rules() -> BenchmarkRules:
    """`configs/benchmarks.yaml`, and the chance levels of the generated suite from its own grammar."""
    return benchmark_rules().with_chance({f"tinyworld_{name}": b.chance for name, b in BENCHMARKS.items()})


def find_results(path: Path) -> Path:
    """The results file meant by `path`: itself, the newest in it, or the newest in its only sub-directory with any."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise BadInputError(f"{path}: no such file or directory")
    found = list(path.glob("results_*.json")) or list(path.rglob("results_*.json"))
    if not found:
        raise BadInputError(f"{path}: no results_*.json in it; give the directory that lm-eval's --output_path named")
    folders = sorted({file.parent for file in found})
    if len(folders) > 1:
        names = ", ".join(str(folder.relative_to(path)) for folder in folders[:4])
        raise BadInputError(f"{path}: results of several models in it ({names}); give one of these directories")
    return max(found, key=lambda file: file.name)  # the name is an ISO time stamp


def _read_task(results_path: Path, document: Json, name: str, rules: BenchmarkRules) -> TaskScores | None:
    """One task of a results file with its samples; None when it has no metric that is right or wrong item by item."""
    row = document["results"].get(name)
    if not isinstance(row, dict):
        raise BadInputError(f"{results_path}: task {name!r} is in 'n-samples' but not in 'results'; evaluate it again")
    metrics = _metrics_by_filter(row)
    metric = rules.metric(name, {metric for metric, _ in metrics})
    if metric is None:
        return None
    chosen = _preferred_filter([filter_ for key, filter_ in metrics if key == metric])
    accuracy = metrics[metric, chosen]
    n_items = int(document["n-samples"][name]["effective"])
    config = (document.get("configs") or {}).get(name) or {}
    n_shot = (document.get("n-shot") or {}).get(name, config.get("num_fewshot"))
    common: dict[str, Any] = {
        "name": name,
        "metric": metric,
        "n_shot": None if n_shot is None else int(n_shot),
        "version": _text(document["versions"].get(name)),
        "chance": rules.chance_of(name),
    }
    samples_path = results_path.with_name(f"samples_{name}_{results_path.stem.removeprefix('results_')}.jsonl")
    if samples_path.is_file():
        samples = list(_read_samples(samples_path, chosen))
        return _from_samples(samples_path, samples, metric, (accuracy, n_items), common)
    finite = all(math.isfinite(value) for value in metrics.values())
    task_hash = (document.get("task_hashes") or {}).get(name)
    return TaskScores(
        **common,
        n_items=n_items,
        correct=_integer_count(results_path, name, metric, accuracy, n_items) if finite else 0,
        finite=None if finite else False,
        requests_digest=f"lm-eval:{task_hash}" if task_hash else None,
    )


def _metrics_by_filter(row: Json) -> dict[tuple[str, str], float]:
    """{(metric, filter): value} of a results row, whose keys read "acc,none"; standard errors left out."""
    pairs = ((key.partition(","), value) for key, value in row.items())
    return {
        (metric, filter_): float(value)
        for (metric, comma, filter_), value in pairs
        if comma and not metric.endswith("_stderr") and isinstance(value, int | float)
    }


def _preferred_filter(filters: list[str]) -> str:
    """lm-eval post-processes answers by named filters: take "none", else the strict one, else the first by name."""
    return next((name for name in ("none", "strict-match") if name in filters), min(filters))


def _integer_count(path: Path, task: str, metric: str, accuracy: float, n_items: int) -> int:
    """How many items are right, from their share. Raises BadInputError when the share is not a count over n_items."""
    count = round(accuracy * n_items)
    if abs(count - accuracy * n_items) > 1e-6 * max(1, n_items) or not 0 <= count <= n_items or n_items == 0:
        raise BadInputError(
            f"{path}: {task}: {metric} = {accuracy} is not a number of right answers out of {n_items}; "
            "name another metric for it in the benchmark rules"
        )
    return count


# ---- samples


def _read_samples(path: Path, chosen_filter: str) -> Iterator[dict[str, Any]]:
    """The samples of one filter, in document order as written. Raises BadInputError naming a broken line."""
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                sample = json.loads(line)
                if sample.get("filter", chosen_filter) == chosen_filter:
                    yield sample
            except (json.JSONDecodeError, AttributeError):
                raise BadInputError(
                    f"{path}, line {number}: not a JSON object; the file was cut off or edited, evaluate again"
                ) from None


def _from_samples(
    path: Path, samples: list[dict[str, Any]], metric: str, aggregate: tuple[float, int], common: dict[str, Any]
) -> TaskScores:
    """A task from its samples, checked against the aggregate (accuracy, n) that lm-eval wrote beside them."""
    accuracy, n_items = aggregate
    pairs = sorted(((_item(path, sample, metric), sample) for sample in samples), key=lambda pair: pair[0][:2])
    items = tuple(item for item, _ in pairs)
    if len({item[:2] for item in items}) != len(items):
        raise BadInputError(
            f"{path}: a document stands twice (doc_id and doc_hash); evaluate again into an empty directory"
        )
    correct = sum(item.correct for item in items)
    if len(items) != n_items or not math.isclose(correct, accuracy * n_items, abs_tol=1e-6 * max(1, n_items)):
        raise BadInputError(
            f"{path}: {correct} right of {len(items)} by {metric}, but the results file beside it says "
            f"{accuracy} of {n_items}; they are not of one evaluation, evaluate again"
        )
    answers = [number for _, sample in pairs for number in _log_likelihoods(sample)]
    return TaskScores(
        **common,
        n_items=n_items,
        correct=correct,
        items=items,
        finite=all(math.isfinite(float(number)) for number in answers) if answers else None,
        requests_digest="samples:"
        + _digest([(str(s.get("prompt_hash")), str(s.get("target_hash"))) for _, s in pairs]),
        answers_digest=_digest(answers) if answers else None,
    )


def _item(path: Path, sample: Json, metric: str) -> Item:
    """One sample as an item. Raises BadInputError when a field is missing or the metric is not right-or-wrong."""
    try:
        value, document = sample[metric], sample["doc"]
        doc_id, doc_hash = int(sample["doc_id"]), str(sample["doc_hash"])
    except KeyError as missing:
        raise BadInputError(f"{path}: a sample has no {missing}; log samples with lm-eval >= 0.4.3") from None
    if value not in (0, 1):
        raise BadInputError(
            f"{path}: {metric} of document {doc_id} is {value!r}, neither right (1) nor wrong (0); "
            "name another metric for this task in the benchmark rules"
        )
    unit = document.get("unit") if isinstance(document, dict) else None
    return Item(doc_id, doc_hash, bool(value), _text(unit))


def _log_likelihoods(sample: Json) -> Iterator[str]:
    """The log-likelihoods of a sample as written: lm-eval logs each as [value, is_greedy]; generated text has none."""
    for response in sample.get("filtered_resps") or ():
        if isinstance(response, list) and len(response) == 2 and str(response[1]) in ("True", "False"):
            yield str(response[0])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadInputError(f"{path}: not JSON ({error}); the file was cut off or edited, evaluate again") from None
    if not isinstance(document, dict):
        raise BadInputError(f"{path}: not an lm-eval results file; give results_*.json or its directory")
    return document

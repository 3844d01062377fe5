"""What lm-eval wrote before 0.4: {results, versions, config}, bare metric names, no number of items.

The number of items follows from the standard error, `eval.reading.items_from_error`. Two variants of it are public:
bigscience-workshop/bigscience keeps BLOOM's and OPT's results with the time of each run under its benchmark
(evaluation/results/tr11/opt/bslmeval.json), and its own harness writes `results` as a list of rows, the same rows by
name in `table_results`.
"""

import json
import re
from pathlib import Path
from typing import Any

from configs.errors import BadInputError
from eval.reading import (
    Asked,
    Json,
    as_number,
    checked_share,
    items_from_error,
    label,
    limit_of,
    model_name,
    numbers,
    revision_of,
    scored,
    table,
    text,
    whole,
)
from eval.scores import Scores, TaskScores

_TIME = re.compile(r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d")


def read_old_harness(path: Path, document: Json, asked: Asked) -> Scores:
    """The scores in a results file of the old harness. Raises BadInputError for what is none."""
    rows = table(document, "results") or table(document, "table_results")
    if not rows or not all(isinstance(row, dict) for row in rows.values()):
        raise BadInputError(f"{path}: 'results' is no table of benchmarks; give a results file of lm-eval")
    config = table(document, "config")
    tasks: dict[str, TaskScores] = {}
    skipped, several, warnings = [], [], []
    for name in asked.names(path, rows):
        columns, times = _newest(rows[name])
        row = numbers(columns, filters=False)
        metric = asked.metric(path, name, row)
        if metric is None:
            skipped.append(name)
            continue
        if times > 1:
            several.append(name)
        share = checked_share(path, name, label(metric), row[metric])
        known: dict[str, Any] = {
            "name": name,
            "n_shot": whole(config.get("num_fewshot")),
            "version": text(table(document, "versions").get(name)),
            "chance": asked.rules.chance_of(name),
        }
        n_items = items_from_error(share, as_number(columns.get(f"{metric[0]}_stderr")))
        tasks[name], said = scored(path, metric, row, n_items, known)
        warnings += said
    if several:
        warnings.append(f"{path}: evaluated several times, the newest was read: {', '.join(several)}")
    return Scores(
        path=str(path),
        model_name=model_name(config),
        tasks=tasks,
        revision=revision_of(config),
        limit=limit_of(config),
        # None and {} are the same: no description before the questions
        policy={"description_dict": json.dumps(config["description_dict"] or {})}
        if "description_dict" in config
        else {},
        skipped=tuple(skipped),
        warnings=tuple(warnings),
        metric_overrides=asked.used_overrides(tasks),
    )


def _newest(row: Json) -> tuple[Json, int]:
    """The numbers of a benchmark, and how often it was evaluated: some files have a time between the two."""
    times = sorted(key for key, value in row.items() if _TIME.fullmatch(key) and isinstance(value, dict))
    return (row[times[-1]], len(times)) if times else (row, 1)

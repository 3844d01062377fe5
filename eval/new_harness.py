"""What lm-eval 0.4 writes: metrics with their filters ("acc,none"), items counted, logged samples beside it."""

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
from eval.samples import TIME, OnlyTotalsError, Totals, read_samples
from eval.scores import Scores, TaskScores

# Recorded by lm-eval, and able to change a log-likelihood or a generated answer. The padding token cannot.
_POLICY = ("tokenizer_bos_token", "tokenizer_eos_token", "eot_token_id", "max_length")
# The same, and where they are recorded as null there was none: that is a policy too.
_PROMPT_POLICY = ("chat_template_sha", "system_instruction_sha")


def is_new_harness(document: Json) -> bool:
    """Whether a results file is of lm-eval 0.4, and not of the harness before it."""
    if any(key in document for key in ("n-samples", "n-shot", "configs")):
        return True
    return any("," in key for row in document["results"].values() if isinstance(row, dict) for key in row)


def read_new_harness(path: Path, document: Json, asked: Asked) -> Scores:
    """The scores in a results file of lm-eval 0.4. Before 0.4.3 items were not counted: see `items_from_error`."""
    # Groups are neither counted nor configured, so that only benchmarks are left.
    counted = table(document, "n-samples") or table(document, "configs") or document["results"]
    tasks: dict[str, TaskScores] = {}
    skipped, warnings = [], []
    for name in asked.names(path, counted, table(document, "group_subtasks")):
        task, said = _read_task(path, document, name, asked)
        warnings += said
        if task is None:
            skipped.append(name)
        else:
            tasks[name] = task
    config = table(document, "config")
    policy = {key: document[key] for key in _POLICY if document.get(key) is not None}
    policy |= {key: document[key] for key in _PROMPT_POLICY if key in document}
    if config.get("model_num_parameters"):
        policy["model_num_parameters"] = config["model_num_parameters"]
    if any(task.n_shot for task in tasks.values()) and config.get("fewshot_seed") is not None:
        policy["fewshot_seed"] = config["fewshot_seed"]  # which examples are shown
    return Scores(
        path=str(path),
        model_name=text(document.get("model_name") or None) or model_name(config),
        tasks=tasks,
        revision=revision_of(config),
        limit=limit_of(config),
        policy={key: json.dumps(value) for key, value in policy.items()},
        skipped=tuple(skipped),
        warnings=tuple(warnings),
        metric_overrides=asked.used_overrides(tasks),
    )


def samples_beside(results: Path, benchmark: str) -> Path:
    """Where lm-eval logs a benchmark's items beside a results file: the two have one time in their names."""
    time = re.search(TIME, results.stem)
    return results.with_name(f"samples_{benchmark}{f'_{time[0]}' if time else ''}.jsonl")


def _read_task(path: Path, document: Json, name: str, asked: Asked) -> tuple[TaskScores | None, list[str]]:
    """One benchmark, None when no metric of it is right or wrong item by item, and what a reader must be warned of."""
    columns = document["results"].get(name)
    if not isinstance(columns, dict):
        raise BadInputError(f"{path}: {name!r} is counted but not in 'results'; evaluate it again")
    row = numbers(columns, filters=True)
    metric = asked.metric(path, name, row)
    if metric is None:
        return None, []
    share = checked_share(path, name, label(metric), row[metric])
    n_items = _n_items(document, name)
    if n_items is None:
        n_items = items_from_error(share, as_number(columns.get(f"{metric[0]}_stderr,{metric[1]}")))
    config = table(table(document, "configs"), name)
    known: dict[str, Any] = {
        "name": name,
        "n_shot": whole(table(document, "n-shot").get(name, config.get("num_fewshot"))),
        "version": text(table(document, "versions").get(name)),
        "chance": asked.rules.chance_of(name),
    }
    warnings = []
    samples = samples_beside(path, name)
    if n_items is not None and samples.is_file():
        try:
            cluster = asked.rules.cluster_of(name)
            return read_samples(samples, metric, cluster=cluster, totals=Totals(n_items, row), known=known), []
        except OnlyTotalsError as why:
            warnings.append(f"{samples}: items are not used: {why}")
    elif samples.is_file():
        warnings.append(f"{samples}: items are not used: the results beside them do not say how many there are")
    else:
        others = sorted(file.name for file in path.parent.glob(f"samples_{name}_*.jsonl"))
        if others:
            warnings.append(f"{path.parent / others[-1]}: items are not used: {path.name} is of another time")
    task_hash = table(document, "task_hashes").get(name)
    known["requests_digest"] = f"lm-eval:{task_hash}" if task_hash else None
    task, said = scored(path, metric, row, n_items, known)
    return task, warnings + said


def _n_items(document: Json, name: str) -> int | None:
    """How many items were evaluated: with --limit not all that there are."""
    return whole(table(table(document, "n-samples"), name).get("effective")) or None

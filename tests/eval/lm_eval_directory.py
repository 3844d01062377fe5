"""Small result directories in lm-eval 0.4's own format, for tests that need no lm-eval."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TIME = "2026-01-02T03-04-05.678901"
Answers = Sequence[bool]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sample(task: str, index: int, right: bool, *, unit: str | None, seed: int, metric: str) -> dict[str, Any]:
    document: dict[str, Any] = {"question": f"{task} {index}", "choices": ["yes", "no"], "gold": 0}
    if unit is not None:
        document["unit"] = unit
    first = -1.0 - ((index * 7919 + seed * 104729) % 1000) / 997
    answers = [[str(first), "False"], [str(first + (-0.5 if right else 0.5)), "False"]]
    return {
        "doc_id": index,
        "doc": document,
        "target": "0",
        "resps": [[answer] for answer in answers],
        "filtered_resps": answers,
        "filter": "none",
        "metrics": [metric],
        "doc_hash": _hash(json.dumps(document)),
        "prompt_hash": _hash(f"prompt {task} {index}"),
        "target_hash": _hash("0"),
        metric: float(right),
    }


def write_lm_eval(
    path: Path,
    tasks: Mapping[str, Answers],
    *,
    seed: int = 0,
    model: str = "model",
    units: Mapping[str, Sequence[str]] | None = None,
    metric: str = "acc",
    n_shot: int = 0,
    version: float = 1.0,
    limit: float | None = None,
    max_length: int = 256,
    samples: bool = True,
    time: str = TIME,
) -> Path:
    """Write results_*.json and samples_*.jsonl; `tasks` says which items are right, `seed` varies log-likelihoods."""
    path.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "results": {
            name: {
                "name": name,
                "alias": name,
                "sample_len": len(answers),
                f"{metric},none": sum(answers) / len(answers),
                f"{metric}_stderr,none": 0.01,
            }
            for name, answers in tasks.items()
        },
        "group_subtasks": {},
        "configs": {name: {"task": name, "num_fewshot": n_shot} for name in tasks},
        "versions": dict.fromkeys(tasks, version),
        "n-shot": dict.fromkeys(tasks, n_shot),
        "n-samples": {name: {"original": len(answers), "effective": len(answers)} for name, answers in tasks.items()},
        "config": {"model": "", "model_args": {"pretrained": model}, "limit": limit},
        "tokenizer_eos_token": ["<|endoftext|>", "0"],
        "eot_token_id": 0,
        "max_length": max_length,
        "model_name": model,
        "chat_template_sha": None,
    }
    (path / f"results_{time}.json").write_text(json.dumps(results, indent=2))
    for name, answers in tasks.items() if samples else ():
        rows = [
            _sample(name, i, right, unit=units[name][i] if units else None, seed=seed, metric=metric)
            for i, right in enumerate(answers)
        ]
        (path / f"samples_{name}_{time}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def edit_results(path: Path, **changes: Any) -> None:
    """Overwrite top-level keys of the one results file in `path`."""
    (file,) = path.glob("results_*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

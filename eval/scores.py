"""One model's benchmark results as the criterion takes them, whatever file they came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

UNKNOWN = "unknown"  # a limit that the file does not speak of, other than None for none


class Item(NamedTuple):
    """One question as one model answered it. `unit` names the group of questions that share a fate, if there is one."""

    doc_id: int
    doc_hash: str
    correct: bool
    unit: str | None


@dataclass(frozen=True)
class TaskScores:
    """One benchmark of one model.

    `score` is the accuracy, exact: `correct`/`n_items` where they are known, else the decimal as it was published.
    `items` is None when no samples were logged, else in order of document. `requests_digest` covers prompts and targets
    (two of different kinds, "samples:" and "lm-eval:", cannot be compared), `answers_digest` the log-likelihoods to
    the last bit (None when there are none). `finite`: every logged log-likelihood, or without samples every metric, is
    a finite number; None when there is nothing to see it by. `chance` is the accuracy of guessing.
    """

    name: str
    metric: str
    score: Fraction
    n_items: int | None = None
    correct: int | None = None
    items: tuple[Item, ...] | None = None
    n_shot: int | None = None
    version: str | None = None
    chance: float | None = None
    finite: bool | None = None
    requests_digest: str | None = None
    answers_digest: str | None = None


@dataclass(frozen=True)
class Scores:
    """One model's results. `policy` holds what was recorded of tokenizer, length and prompt policy, as JSON text.

    `revision`: of the hub, where it was recorded that the model was loaded at one.
    `warnings`: what the reader noticed and a reader of the verdict must know, such as a file that lies about its name.
    `metric_overrides`: {benchmark: metric} that the caller asked for instead of the rule's.
    """

    path: str
    model_name: str | None
    tasks: Mapping[str, TaskScores]
    revision: str | None = None
    limit: str | None = None
    policy: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()  # tasks without a metric that the criterion can use
    warnings: tuple[str, ...] = ()
    metric_overrides: Mapping[str, str] = field(default_factory=dict)

"""A replica beside further runs of the original's own recipe: would one more seed of that recipe lie where it lies?

The verdict is about the original, and stays so. But another seed of the very recipe differs from the original too, and
where there are such runs their spread says how much. A replica by the same recipe is one more draw: its score less the
mean of k runs, over sd·√(1 + 1/k), is Student's t with k − 1 degrees of freedom (a prediction, as in Hahn 1969).
"""

import math
from collections.abc import Sequence
from statistics import mean

from eval.comparable import bit_identical, refusals
from eval.scores import Scores
from eval.statistics import standard_deviation, t_tail
from eval.verdict import BesideControls


def beside_controls(
    original: Scores, replica: Scores, controls: Sequence[Scores], revision: str | None = None
) -> tuple[tuple[BesideControls, ...], tuple[str, ...]]:
    """A row for each benchmark that everybody has, and what kept the others out.

    Controls that cannot be compared with the original (other items, shots, limits) are named in a warning and left out.
    `revision`: the hub's that the original is of, if any; controls of another, or of none that is known, are warned of.
    """
    warnings: list[str] = []
    kept: list[Scores] = []
    for control in controls:
        shared = sorted(original.tasks.keys() & control.tasks.keys())
        why = refusals(original, [control], shared, ()) or ([] if shared else ["no benchmark is shared"])
        copied = next((run for run in (original, *kept, replica) if _same_answers(run, control)), None)
        if copied is not None:
            why.append(f"the same answers to the last bit as {copied.path}: a copy is no further seed")
        if why:
            warnings.append(f"control {control.path}: is left out: {why[0]}")
        else:
            kept.append(control)
            if revision is not None and control.revision != revision:
                recorded = f"is of revision {control.revision}" if control.revision else "does not say its revision"
                warnings.append(
                    f"control {control.path}: {recorded}, and the original is of {revision}: see that both were "
                    "trained on as many tokens"
                )
    if not kept:
        return (), tuple(warnings)
    runs = [original, *kept]
    names = sorted(set.intersection(*({*scores.tasks} for scores in (*runs, replica))))
    rows = (_row(name, [float(100 * run.tasks[name].score) for run in runs], replica) for name in names)
    return tuple(rows), tuple(warnings)


def _same_answers(one: Scores, two: Scores) -> bool:
    return bit_identical(one, two, sorted(one.tasks.keys() & two.tasks.keys()))


def _row(name: str, runs: Sequence[float], replica: Scores) -> BesideControls:
    sd, centre = standard_deviation(runs), mean(runs)
    difference = float(100 * replica.tasks[name].score) - centre
    # without any spread there is nothing to measure a difference by
    t = abs(difference) / (sd * math.sqrt(1 + 1 / len(runs))) if sd else None
    return BesideControls(
        name=name,
        runs=len(runs),
        mean=centre / 100,
        sd_pp=sd,
        lowest=min(runs) / 100,
        highest=max(runs) / 100,
        difference_pp=difference,
        p_as_far=None if t is None else min(1.0, 2 * t_tail(t, len(runs) - 1)),
    )

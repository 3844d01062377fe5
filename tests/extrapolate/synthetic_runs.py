"""Runs of a law that is known, with noise on log loss."""

import numpy as np

from extrapolate.runs import Runs

LAW = {"E": 1.8, "A": 450.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}


def law_loss(parameters: np.ndarray, tokens: np.ndarray, law: dict[str, float]) -> np.ndarray:
    return law["E"] + law["A"] / parameters ** law["alpha"] + law["B"] / tokens ** law["beta"]


def ladder(
    sizes: int,
    budgets: int,
    noise: float,
    seed: int = 0,
    law: dict[str, float] = LAW,
    smallest: tuple[float, float] = (3e7, 5e8),
    span: float = 300.0,
) -> Runs:
    """Every size on every number of tokens; sizes from the smallest to `span` times as much, tokens four times that."""
    n = np.geomspace(smallest[0], smallest[0] * span, sizes)
    d = np.geomspace(smallest[1], smallest[1] * span * 4, budgets)  # so that computes fall on many levels
    parameters, tokens = (axis.ravel() for axis in np.meshgrid(n, d))
    errors = np.random.default_rng(seed).normal(0, noise, len(parameters)) if noise else 0.0
    return Runs(parameters, tokens, law_loss(parameters, tokens, law) * np.exp(errors))

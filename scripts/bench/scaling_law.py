"""How long the loss law takes on the 245 runs of Hoffmann et al.: our batched fit and bootstrap against one by one.

    OMP_NUM_THREADS=1 python -m scripts.bench.scaling_law --pairs 3
    python -m scripts.bench.scaling_law --coverage 20    # of intervals, where the truth is known; some minutes

The other way is that of the replication's notebook (Besiroglu et al. 2024, data_analysis.ipynb): for the fit scipy's
L-BFGS-B from each of the 4,500 starts of the grid, derivatives by finite differences; for the bootstrap BFGS with the
gradient, from one start a resample. Its gradient is written out here, where the notebook's autograd is slower. All of
it takes minutes, so an evenly spread part of the starts and of the resamples is timed: the seconds printed are of that
part, with its size, and the ratio is of seconds a start, or a resample. The part's own result is shown beside ours.
Each pair measures ours, then theirs, so that other work on the machine falls on both; processor seconds stand beside.
"""

import argparse
import functools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy import optimize

from extrapolate.levenberg import DELTA, Array
from extrapolate.rollout import calibrated
from extrapolate.runs import Runs, read_runs
from extrapolate.scaling_law import LawFit, bootstrap, draw_counts, fit, log_losses, starts

RUNS = Path(__file__).resolve().parents[2] / "configs" / "facts" / "hoffmann2022_runs.csv"
DROPPED = 5
T = TypeVar("T")


def main() -> None:
    """Measure, and print each pair and the ratios' median and range."""
    options = _options()
    if options.coverage:
        coverage_of_known_laws(read_runs([RUNS]).without_highest(DROPPED), options.coverage)
        return
    if os.environ.get("OMP_NUM_THREADS") != "1":
        print("OMP_NUM_THREADS is not 1: this is not a measurement of one core")
    runs = read_runs([RUNS])
    kept = runs.without_highest(DROPPED)
    chosen = starts()[np.linspace(0, len(starts()) - 1, options.starts).astype(int)]
    ratios: dict[str, list[float]] = {"fit, a start": [], "bootstrap, a resample": []}
    for pair in range(1, options.pairs + 1):
        law, ours = timed(lambda: fit(runs, DROPPED))
        best, theirs = timed(lambda: min(float(one_by_one(start, kept).fun) for start in chosen))
        ratios["fit, a start"].append((ours[0] / len(starts())) / (theirs[0] / len(chosen)))
        print(f"pair {pair}, fit")
        print(f"  ours:   {said(ours, len(starts()), 'starts')}; objective {law.objective:.8f}")
        print(f"  theirs: {said(theirs, len(chosen), 'starts')}; objective {best:.8f}", flush=True)

        drawn, ours = timed(functools.partial(bootstrap, runs, law, options.resamples))
        alphas, theirs = timed(functools.partial(alphas_one_by_one, kept, law, options.their_resamples))
        ratios["bootstrap, a resample"].append((ours[0] / options.resamples) / (theirs[0] / options.their_resamples))
        error = drawn.standard_errors()["alpha"]
        print(f"pair {pair}, bootstrap")
        print(f"  ours:   {said(ours, options.resamples, 'resamples')}; standard error of alpha {error:.4f}")
        print(
            f"  theirs: {said(theirs, len(alphas), 'resamples')}; standard error of alpha {alphas.std(ddof=1):.4f}",
            flush=True,
        )
    for what, found in ratios.items():
        print(f"ratio, {what}: median {statistics.median(found):.5f}, from {min(found):.5f} to {max(found):.5f}")


def coverage_of_known_laws(runs: Runs, worlds: int) -> None:
    """Runs of the same sizes and tokens whose losses are the fitted law's with normal noise: do intervals hold there?

    In each world, 200 new runs at 3, 30 and 300 times the largest compute, on 5 to 80 tokens a parameter.
    """
    truth = fit(runs)
    noise = float(np.std(np.log(runs.loss / law_losses(truth, runs.parameters, runs.tokens))))
    held: dict[float, list[float]] = {factor: [] for factor in (3.0, 30.0, 300.0)}
    for world in range(worlds):
        generator = np.random.default_rng(world)
        errors = np.exp(generator.normal(0, noise, (4, 240)))
        law = calibrated(
            Runs(runs.parameters, runs.tokens, law_losses(truth, runs.parameters, runs.tokens) * errors[0])
        )
        for factor, error in zip(held, errors[1:, :200], strict=True):
            ratio = generator.uniform(np.log(5), np.log(80), 200)
            n = np.sqrt(factor * runs.flop.max() / 6 / np.exp(ratio))
            d = n * np.exp(ratio)
            found = [law.predict(*place) for place in zip(n, d, strict=True)]
            inside = [
                one.p5 <= loss <= one.p95 for one, loss in zip(found, law_losses(truth, n, d) * error, strict=True)
            ]
            held[factor].append(float(np.mean(inside)))
        bands = [f"{band.widening:.2f}" for band in law.calibration.bands if band.widening is not None]
        print(
            f"world {world}: widened by {', '.join(bands)}; held {[shares[-1] for shares in held.values()]}", flush=True
        )
    for factor, shares in held.items():
        print(f"{factor:g} times the largest run: {np.mean(shares):.3f} of new runs inside, over {worlds} worlds")


def law_losses(law: LawFit, parameters: Array, tokens: Array) -> Array:
    """The law's loss of each."""
    return np.asarray(np.exp(log_losses(law.theta, parameters, tokens)[0]))


def timed(what: Callable[[], T]) -> tuple[T, tuple[float, float]]:
    """What it returns, and its seconds: of the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    result = what()
    return result, (time.perf_counter() - clock, time.process_time() - processor)


def said(seconds: tuple[float, float], number: int, what: str) -> str:
    """Seconds of so many, as they were measured."""
    return f"{number:,} {what} in {seconds[0]:.2f} s ({seconds[1]:.2f} of the processor)"


def one_by_one(start: Array, runs: Runs) -> optimize.OptimizeResult:
    """One start of the grid, as the notebook has it under "Replicate exactly"."""
    log_n, log_d, log_loss = np.log(runs.parameters), np.log(runs.tokens), np.log(runs.loss)
    return optimize.minimize(objective, start, args=(log_n, log_d, log_loss), method="L-BFGS-B")


def alphas_one_by_one(runs: Runs, law: LawFit, resamples: int) -> Array:
    """alpha of each resample, as the notebook has it under "Our estimates"; it starts from Hoffmann's own law."""
    hoffmann = np.array([6.0073404, 6.0179186, 0.5267228, 0.33917084, 0.2849083])
    found = []
    for counts in draw_counts(law.n_points, resamples, seed=0).astype(int):
        columns = [np.repeat(np.log(column), counts) for column in (runs.parameters, runs.tokens, runs.loss)]
        end = optimize.minimize(objective, hoffmann, args=tuple(columns), jac=gradient, method="BFGS")
        found.append(end.x[3])
    return np.array(found)


def objective(theta: Array, log_n: Array, log_d: Array, log_loss: Array) -> float:
    """The summed Huber loss of the notebook."""
    a, b, e, alpha, beta = theta
    prediction = np.log(np.exp(a - alpha * log_n) + np.exp(b - beta * log_d) + np.exp(e))
    residual = np.abs(log_loss - prediction)
    return float(np.where(residual <= DELTA, 0.5 * residual**2, DELTA * (residual - 0.5 * DELTA)).sum())


def gradient(theta: Array, log_n: Array, log_d: Array, log_loss: Array) -> Array:
    """Its gradient."""
    a, b, e, alpha, beta = theta
    terms = np.stack([np.exp(a - alpha * log_n), np.exp(b - beta * log_d), np.full(len(log_n), np.exp(e))])
    total = terms.sum(0)
    slopes = -np.clip(log_loss - np.log(total), -DELTA, DELTA) * terms / total
    return np.array([*slopes.sum(1), -(slopes[0] @ log_n), -(slopes[1] @ log_d)])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--starts", type=int, default=150, help="of the 4,500 that the other way is timed on")
    parser.add_argument("--resamples", type=int, default=1000, help="of ours")
    parser.add_argument("--their-resamples", type=int, default=100)
    parser.add_argument("--coverage", type=int, default=0, metavar="WORLDS", help="instead: coverage in known worlds")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""How long a forecast takes: planner, draws, cost and loss together, by the number of samples.

    OMP_NUM_THREADS=1 python -m scripts.bench.forecast_speed --repeats 5

Processor seconds, which move less with what else the machine does, beside the wall-clock. The first forecast of a
process also reads the presets and is not counted.
"""

import argparse
import statistics
import time

from configs.forecast import ForecastConfig
from extrapolate.forecast import forecast

SAMPLES = (1_000, 100_000, 1_000_000)


def main() -> None:
    """Measure, and print the median and range of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    forecast(ForecastConfig(samples=SAMPLES[0]))
    for samples in SAMPLES:
        config = ForecastConfig(samples=samples)
        processor, wall = zip(*(_seconds(config) for _ in range(repeats)), strict=True)
        print(f"{samples:>9,} samples: {_said(processor)} of processor, {_said(wall)} of wall-clock")


def _seconds(config: ForecastConfig) -> tuple[float, float]:
    processor, wall = time.process_time(), time.perf_counter()
    forecast(config)
    return time.process_time() - processor, time.perf_counter() - wall


def _said(seconds: tuple[float, ...]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()

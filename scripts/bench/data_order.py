"""How long a resumed run looks whether its corpus is still the same: by the links, and by all of the chain.

    python -m scripts.bench.data_order --rows 1024 --length 2048 --steps 200

A corpus of so many steps is written, as uint16, and read in its stored order as a run reads it. Seconds are of the
processor, with the corpus in the page cache.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from train import certificate
from train.corpus.indexed import open_indexed, write_index
from train.corpus.packed import Block, PackedRows
from train.meters import Progress


def main() -> None:
    """Measure, and print."""
    options = _options()
    size, steps, width = options.rows, options.steps, options.length + 1
    with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        stem = Path(scratch) / "corpus"
        rng = np.random.default_rng(0)
        with stem.with_suffix(".bin").open("wb") as stream:
            for _ in range(steps):
                stream.write(rng.integers(0, 50_000, size * width, dtype=np.uint16).tobytes())
        write_index(stem.with_suffix(".idx"), np.dtype("<u2"), np.full(steps * size, width, np.int32))
        rows = PackedRows(open_indexed(stem).tokens, options.length, width)

        def batch(step: int) -> Block:
            return rows[step * size : (step + 1) * size]

        progress = Progress()
        begin = time.process_time()
        for step in range(steps):
            progress.read(batch(step))
            progress.add(0.0, size * options.length)
        reading_s = time.process_time() - begin
        begin = time.process_time()
        same = certificate.of_steps(batch, steps) == progress.data_order_sha256
        chain_s = time.process_time() - begin
        begin = time.process_time()
        same &= certificate.broken_link(progress.data_order_links, batch) is None
        links_s = time.process_time() - begin
    assert same, "the corpus is not what was read"
    print(
        f"{steps:,} steps of {size:,} rows of {width:,} ids; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
        f"reading a batch and putting it into the certificate: {1e3 * reading_s / steps:.1f} ms\n"
        f"on resume, all of the chain: {chain_s:.2f} s, {1e3 * chain_s / steps:.1f} ms a step; "
        f"{len(progress.data_order_links)} links: {links_s:.2f} s; ratio {chain_s / links_s:.1f}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How long a resumed run looks at its corpus.")
    parser.add_argument("--rows", type=int, default=1024, help="of a global batch")
    parser.add_argument("--length", type=int, default=2048, help="train.sequence_length")
    parser.add_argument("--steps", type=int, default=200, help="that were done")
    parser.add_argument("--directory", type=Path, help="where the corpus is written (4.2 MB a step), and removed again")
    return parser.parse_args()


if __name__ == "__main__":
    main()

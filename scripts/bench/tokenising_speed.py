"""How fast text becomes tokens: `train.corpus.encoding` against `tokenizers` alone, on one core, and in all.

    python -m scripts.bench.tokenising_speed --tokenizer TOKENIZER.json --path 'novels/*.txt.gz' --rounds 3

Each round measures `tokenizers`' encode_batch_fast on one thread, then ours with nothing looked up before, then ours
again with what it has learned (what a corpus larger than this one comes to), so that other work on the machine falls on
all of them. The ids are compared. Seconds are of the processor. At the end the whole preparation is measured, with its
processes: megabytes a second of the clock, and the memory of the largest process and of all.
"""

import argparse
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from configs.schema import SourceConfig
from train.corpus.encoding import Encoder
from train.corpus.indexed import dtype_for
from train.corpus.sources import Skipped, documents_of
from train.corpus.tokenise import Settings, tokenise
from train.corpus.tokenizer import end_of_text_id, read_tokenizer, vocabulary_size


def main() -> None:
    """Measure, and print each round."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    options = _options()
    source = SourceConfig(path=options.path)
    texts = [document.text for document in documents_of(source, Skipped())]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    tokenizer = read_tokenizer(options.tokenizer, "--tokenizer")
    end, dtype = end_of_text_id(tokenizer, None), dtype_for(vocabulary_size(tokenizer))
    print(f"{megabytes:.1f} MB in {len(texts):,} documents; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for number in range(1, options.rounds + 1):
        theirs_s, theirs = _timed(lambda: [_plainly(tokenizer, text, end, dtype) for text in texts])
        ours = Encoder(tokenizer, end, dtype)
        cold_s, cold = _timed(partial(_each, ours, texts))
        warm_s, warm = _timed(partial(_each, ours, texts))
        assert theirs == cold == warm, "the ids differ"
        print(
            f"round {number}: MB/s of a core: tokenizers {megabytes / theirs_s:.2f}, ours {megabytes / cold_s:.2f}, "
            f"having learned {megabytes / warm_s:.2f}; ratio {theirs_s / cold_s:.1f} and {theirs_s / warm_s:.1f}",
            flush=True,
        )
    _preparation(source, options.tokenizer, end, options.workers, megabytes)


def _each(encoder: Encoder, texts: list[str]) -> list[bytes]:
    return [encoder.encode([text])[0] for text in texts]


def _plainly(tokenizer: Any, text: str, end: int, dtype: Any) -> bytes:
    (encoding,) = tokenizer.encode_batch_fast([text], add_special_tokens=False)
    return np.array([*encoding.ids, end], dtype).tobytes()


def _timed(what: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of this process, and the result."""
    start = time.process_time()
    result = what()
    return time.process_time() - start, result


def _preparation(source: SourceConfig, tokenizer: Path, end: int, workers: int, megabytes: float) -> None:
    largest = [0]
    done = threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not done.wait(0.2):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            largest[0] = max(largest[0], total)

    before = largest_rss()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory() as name:
        start = time.monotonic()
        settings = Settings(tokenizer, end, 0.005)
        skipped = Skipped()
        tokenise(documents_of(source, skipped), Path(name) / "s", "", settings, lambda p: None, skipped, workers)
        seconds = time.monotonic() - start
    done.set()
    thread.join()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"preparation with {workers} processes: {megabytes / seconds:.2f} MB/s of the clock ({seconds:.1f} s), "
        f"{children.ru_utime + children.ru_stime:.1f} processor seconds of theirs; memory of all "
        f"{largest[0] / 1e6:.0f} MB, this process {before / 1e6:.0f} MB before"
    )


def largest_rss() -> int:
    """Bytes that this process has in memory."""
    return int(psutil.Process().memory_info().rss)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()

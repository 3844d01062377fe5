"""How fast the hygiene is, and how much memory it takes, on the novels and WikiText-2 with real benchmarks.

python -m scripts.bench.corpus_hygiene DATA

DATA holds corpora/english_novels/*.txt.gz, corpora/wikitext-2/*.txt and benchmarks/*/*.jsonl[.gz]. A novel is cut at
its lines into documents of 2,000 characters or a little more, WikiText-2 at its articles. Seconds are those of
one processor, which a busy machine lengthens less than the wall clock's.
"""

import argparse
import gzip
import json
import re
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from configs.hygiene import HygieneConfig, NearDuplicatesConfig
from train.corpus.documents import Document
from train.corpus.hygiene import Hygiene, HygieneReport

OFF = HygieneConfig(
    exact_duplicates=False,
    near_duplicates=NearDuplicatesConfig(threshold=None),
    decontaminate=False,
)
STAGES: dict[str, dict[str, Any]] = {
    "exact duplicates and held-out split": {"exact_duplicates": True},
    "near duplicates": {"near_duplicates": NearDuplicatesConfig()},
    "decontamination": {"decontaminate": True},
}
CHARACTERS = 2_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    corpus = [*_novels(arguments.data), *_wikitext(arguments.data)]
    benchmarks = _benchmarks(arguments.data)
    megabytes = sum(len(document.text.encode()) for document in corpus) / 1e6
    examples = sum(map(len, benchmarks.values()))
    print(f"{len(corpus):,} documents, {megabytes:.1f} MB; {examples:,} examples of {len(benchmarks)} benchmarks")
    configs = {name: OFF.model_copy(update=change) for name, change in STAGES.items()}
    for name, config in {**configs, "all": HygieneConfig()}.items():
        before = _resident_bytes()
        seconds, building, report = _measure(config, corpus, benchmarks)
        print(
            f"{name}: {megabytes / seconds:.1f} MB/s ({seconds:.1f} s, {building:.1f} s more for the benchmarks), "
            f"peak memory {before / 1e6:.0f} → {_resident_bytes() / 1e6:.0f} MB",
            flush=True,
        )
    print(report.model_dump_json(indent=2, by_alias=True))


def _measure(
    config: HygieneConfig, corpus: list[Document], benchmarks: dict[str, list[list[str]]]
) -> tuple[float, float, HygieneReport]:
    """Processor seconds of the two passes and of indexing the benchmarks, and the report."""
    begin = time.process_time()
    hygiene = Hygiene(config, 0.005, benchmarks)
    ready = time.process_time()
    hygiene.survey(corpus)
    for _ in hygiene.clean(corpus):
        pass
    return time.process_time() - ready, ready - begin, hygiene.report()


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _novels(data: Path) -> Iterator[Document]:
    number = 0
    for path in sorted((data / "corpora" / "english_novels").glob("*.txt.gz")):
        part = ""
        for line in gzip.decompress(path.read_bytes()).decode("utf-8").splitlines(keepends=True):
            part += line
            if len(part) >= CHARACTERS:
                yield Document(part, "novels", number)
                part, number = "", number + 1
        if part:
            yield Document(part, "novels", number)
            number += 1


def _wikitext(data: Path) -> Iterator[Document]:
    text = "".join(path.read_text(encoding="utf-8") for path in sorted((data / "corpora/wikitext-2").glob("*.txt")))
    for number, article in enumerate(re.split(r"(?m)^(?= = [^=]+ = $)", text)):
        yield Document(article, "wikitext-2", number)


def _benchmarks(data: Path) -> dict[str, list[list[str]]]:
    """Name → the examples, each one text: its fields, one after the other (lm-eval would take minutes)."""
    found: dict[str, list[list[str]]] = {}
    for path in sorted((data / "benchmarks").rglob("*.jsonl*")):
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
            name = path.relative_to(data / "benchmarks").parts[0]
            found.setdefault(name, []).extend([" ".join(_texts(json.loads(line)))] for line in stream)
    return found


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


if __name__ == "__main__":
    main()

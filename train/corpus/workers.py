"""Batches of documents through processes of their own, in their order, with few of them in memory."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.connection import wait
from typing import Any, TypeVar

from configs.errors import WorkFailedError
from train.corpus.documents import Document

BATCH_CHARACTERS = 1 << 20  # that a process gets at once
_FEW_BATCHES = 4  # are not worth starting processes for

Batch = list[Document]
Result = TypeVar("Result")


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worked(
    documents: Iterable[Document], make: Callable[[], Callable[[Batch], Result]], workers: int, doing: str
) -> Iterator[tuple[Batch, Result]]:
    """The documents in batches of their order, each with what the worker that `make` makes says of it.

    `make` is called once in each of `workers` processes; in this one where there is only one, or little text. About
    two batches a process are in memory. Raises WorkFailedError, which begins with `doing`, when a process was killed.
    """
    batches = _batches(documents)
    first = list(islice(batches, _FEW_BATCHES))
    if workers == 1 or len(first) < _FEW_BATCHES:
        work = make()
        for batch in chain(first, batches):
            yield batch, work(batch)
        return
    context = multiprocessing.get_context("spawn")  # nothing of this process, its threads and locks, comes along
    pool = ProcessPoolExecutor(workers, context, _start, (make,))
    waiting: deque[tuple[Batch, Future[Any]]] = deque()
    try:
        for batch in chain(first, batches):
            waiting.append((batch, pool.submit(_work, batch)))
            if len(waiting) > 2 * workers:
                yield _done(*waiting.popleft())
        while waiting:
            yield _done(*waiting.popleft())
    except BrokenProcessPool:
        raise WorkFailedError(f"{doing}: a process was killed (out of memory?); give the same command again") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _done(batch: Batch, future: Future[Any]) -> tuple[Batch, Any]:
    return batch, future.result()


def _batches(documents: Iterable[Document]) -> Iterator[Batch]:
    batch: Batch = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


_worker: Callable[[Batch], Any] | None = None  # of a process of the pool


def _start(make: Callable[[], Callable[[Batch], Any]]) -> None:
    global _worker  # noqa: PLW0603  (what a pool's process has from its start)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, which got it too, ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    _worker = make()


def _end_with_parent() -> None:
    """A parent that was killed cannot end its pool, and nobody else would."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _work(batch: Batch) -> Any:
    assert _worker is not None
    return _worker(batch)

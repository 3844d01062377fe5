"""What a person sees while a command works: progress on stderr, as bars on a terminal and as plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_EVERY_S = 15.0  # without a terminal: one line in so many seconds


class Screen:
    """The command's stderr (progress, remarks) and stdout (results)."""

    def __init__(self) -> None:
        self.progress_console = Console(stderr=True, highlight=False)
        self.result_console = Console(highlight=False)

    def say(self, text: str) -> None:
        """A remark on stderr."""
        self.progress_console.print(text, markup=False, soft_wrap=True)

    def show(self, what: RenderableType) -> None:
        """A result on stdout."""
        self.result_console.print(what)

    @contextmanager
    def stage(self, title: str, total: float | None = None) -> Iterator[Callable[[float, str], None]]:
        """A bar for one stage. The yielded function takes what is done of `total` and a few words."""
        if self.progress_console.is_terminal:
            yield from self._bar(title, total)
        else:
            yield from self._lines(title, total)

    def _bar(self, title: str, total: float | None) -> Iterator[Callable[[float, str], None]]:
        columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=28)]
        if total is not None:
            columns.append(TextColumn("{task.percentage:>3.0f}%"))
        columns += [TextColumn("{task.fields[words]}"), TimeElapsedColumn()]
        if total is not None:
            columns += [TextColumn("ETA"), TimeRemainingColumn(compact=True)]
        with Progress(*columns, console=self.progress_console) as progress:
            task = progress.add_task(f"{title:<22}", total=total, words="")
            yield lambda done, words: progress.update(task, completed=done, words=words)
            progress.update(task, total=total or 1, completed=total or 1)

    def _lines(self, title: str, total: float | None) -> Iterator[Callable[[float, str], None]]:
        start = last = time.monotonic()
        self.say(f"{title} …")

        def update(done: float, words: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PLAIN_EVERY_S:
                last = now
                share = f" {100 * done / total:.0f} %" if total else ""
                self.say(f"{title}{share} {words}".rstrip())

        yield update
        self.say(f"{title}: done in {time.monotonic() - start:.0f} s")

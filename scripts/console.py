"""What a person sees while a command works: progress on stderr, as bars on a terminal and as plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

PLAIN_EVERY_S = 15.0  # without a terminal: one line in so many seconds
SPEED_OVER_S = 600.0  # rich forgets what is older, and has no speed where updates are further apart
_BESIDE_THE_BAR = 74  # columns of a terminal
_BAR = (6, 28)


class Update(Protocol):
    """How a stage says where it is."""

    def __call__(self, done: float, words: str, left_s: float | None = None) -> None:
        """What is `done` of the total, a few words, and how long the rest takes, where the stage knows."""


class _TimeLeft(ProgressColumn):
    """`ETA 0:12:30`: by what the stage said last, or else by the speed of its updates."""

    def render(self, task: Task) -> Text:
        ends = task.fields["ends"]
        left_s = task.time_remaining if ends is None else max(0.0, ends - time.monotonic())
        return Text(f"ETA {'-:--:--' if left_s is None else _duration(left_s)}", style="progress.remaining")


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


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
    def stage(self, title: str, total: float | None = None) -> Iterator[Update]:
        """A bar for one stage; the yielded function moves it."""
        if self.progress_console.is_terminal:
            yield from self._bar(title, total)
        else:
            yield from self._lines(title, total)

    def _bar(self, title: str, total: float | None) -> Iterator[Update]:
        width = min(max(self.progress_console.width - _BESIDE_THE_BAR, _BAR[0]), _BAR[1])
        columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=width)]
        if total is not None:
            columns.append(TextColumn("{task.percentage:>3.0f}%"))
        columns.append(TimeElapsedColumn(Column(no_wrap=True)))
        if total is not None:
            columns.append(_TimeLeft(Column(no_wrap=True)))
        # Last: where there is no room, the bar gives way, then the end of the words.
        columns.append(TextColumn("{task.fields[words]}", table_column=Column(no_wrap=True, ratio=1)))
        with Progress(*columns, console=self.progress_console, speed_estimate_period=SPEED_OVER_S) as progress:
            task = progress.add_task(f"{title:<22}", total=total, words="", ends=None)

            def update(done: float, words: str, left_s: float | None = None) -> None:
                ends = None if left_s is None else time.monotonic() + left_s
                progress.update(task, completed=done, words=words, ends=ends)

            yield update
            progress.update(task, total=total or 1, completed=total or 1, ends=time.monotonic())

    def _lines(self, title: str, total: float | None) -> Iterator[Update]:
        start = last = time.monotonic()
        self.say(f"{title} …")

        def update(done: float, words: str, left_s: float | None = None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PLAIN_EVERY_S:
                last = now
                share = f" {100 * done / total:.0f} %" if total else ""
                left = "" if left_s is None else f", {_duration(left_s)} left"
                self.say(f"{title}{share} {words}{left}".rstrip())

        yield update
        self.say(f"{title}: done in {time.monotonic() - start:.0f} s")

"""What is shown while a command works: a bar with the time left on a terminal, plain lines elsewhere."""

import io
import re
import time

import pytest
from rich.console import Console

from scripts import console
from scripts.console import Screen


def screen(*, terminal: bool, width: int = 80) -> tuple[Screen, io.StringIO]:
    """A screen whose progress is kept."""
    shown, stream = Screen(), io.StringIO()
    shown.progress_console = Console(file=stream, force_terminal=terminal, width=width, highlight=False)
    return shown, stream


def last_frame(stream: io.StringIO) -> str:
    """What the bar looked like in the end."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    return [frame for frame in re.split(r"[\r\n]+", plain) if frame.strip()][-1]


@pytest.mark.parametrize("width", [80, 160])
def test_a_bar_has_time_and_time_left_in_full_however_narrow(width: int) -> None:
    at, stream = screen(terminal=True, width=width)
    with pytest.raises(KeyboardInterrupt), at.stage("training 3,000 steps", 3000) as update:
        update(1500, "loss 2.345, 1,234,567 tok/s", 5025.4)  # one update is enough
        raise KeyboardInterrupt
    frame = last_frame(stream)
    assert re.search(r"training 3,000 steps .* 50% 0:00:0\d ETA 1:23:4[45] loss 2\.345, 1,234,567 tok/s", frame)
    assert len(frame) <= width


def test_without_a_terminal_there_are_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now: list[float] = [0.0]
    monkeypatch.setattr(console, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    at, stream = screen(terminal=False)
    with at.stage("training 300 steps", 300) as update:
        for step in range(10, 301, 10):
            now[0] += 3
            update(step, f"loss {step / 100:.3f}", 300.0 - step)
    assert stream.getvalue().splitlines() == [
        "training 300 steps …",
        *(f"training 300 steps {share} % loss {loss}, {left} left" for share, loss, left in (
            (17, "0.500", "0:04:10"), (33, "1.000", "0:03:20"), (50, "1.500", "0:02:30"),
            (67, "2.000", "0:01:40"), (83, "2.500", "0:00:50"), (100, "3.000", "0:00:00"),
        )),
        "training 300 steps: done in 90 s",
    ]  # fmt: skip


def test_a_stage_that_does_not_know_gets_the_speed_of_its_updates() -> None:
    at, stream = screen(terminal=True, width=120)
    with pytest.raises(KeyboardInterrupt), at.stage("evaluating", 1.0) as update:
        for share in (0.1, 0.2, 0.3):
            update(share, "")
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert re.search(r" 30% 0:00:00 ETA 0:00:0\d", last_frame(stream))

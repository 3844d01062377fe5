"""What happened in a run beside its steps: `events.jsonl`, one line an event, in the order in which they happened.

The workers write, the command shows each new line on the screen, the report keeps them. Plain files, no torch.
"""

import json
import os
import time
from pathlib import Path
from typing import Literal

from configs.files import Record

FILE = "events.jsonl"
Kind = Literal[
    "resumed",  # training goes on from a checkpoint
    "converted",  # a checkpoint of another layout was converted
    "damaged_checkpoint",  # a checkpoint is not what was written, and is not used
    "skipped_step",  # no weight was changed: a loss or gradient was not finite
    "loss_scale",  # fp16: gradients overflowed, the step is skipped and the loss scale lowered
    "loss_spike",  # a loss far above those before it
    "tracker_failed",  # TensorBoard or W&B gets no more lines
    "stop_requested",  # a signal: a checkpoint is written and the run ends
]


class Event(Record):
    """One line of events.jsonl; `step` is the number of steps done when it happened."""

    time: float
    step: int
    kind: Kind
    message: str


def note(run_dir: Path, step: int, kind: Kind, message: str) -> None:
    """Append one event: one write of one line, so that ranks and kills cannot mix two."""
    line = Event(time=time.time(), step=step, kind=kind, message=message).model_dump_json() + "\n"
    descriptor = os.open(run_dir / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def read(run_dir: Path) -> list[Event]:
    """All events of a run; a line that a kill cut short is left out."""
    path = run_dir / FILE
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            events.append(Event.model_validate(json.loads(line)))
        except ValueError:
            continue
    return events

"""`heartbeat.json`: where training stands now, for whoever looks from outside, on any machine that sees the run."""

import os
import time
from pathlib import Path
from typing import Literal

from pydantic import Field

from configs.files import Record
from train.failures import node_name
from train.place import ATTEMPT

FILE = "heartbeat.json"
EVERY_S = 2.0  # a shared file system is spared the rest


class Beat(Record):
    """heartbeat.json, replaced in one piece."""

    schema_: Literal["replibench.heartbeat/1"] = Field("replibench.heartbeat/1", alias="schema")
    time: float = Field(description="seconds since the epoch")
    step: int
    steps: int
    attempt: str = Field(description="empty: the command itself, without a scheduler")
    node: str


class Heart:
    """Beats at the end of a step, at most every EVERY_S."""

    def __init__(self, run_dir: Path, steps: int) -> None:
        self._path, self._steps = run_dir / FILE, steps
        self._next = 0.0

    def beat(self, step: int) -> None:
        """`step` is done. No fsync: the next beat is near."""
        if time.monotonic() < self._next and step < self._steps:
            return
        self._next = time.monotonic() + EVERY_S
        attempt = os.environ.get(ATTEMPT, "")
        beat = Beat(time=time.time(), step=step, steps=self._steps, attempt=attempt, node=node_name())
        new = self._path.with_suffix(".new")
        new.write_text(beat.model_dump_json(by_alias=True) + "\n", encoding="utf-8")
        new.rename(self._path)

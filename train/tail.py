"""Following a file of JSON lines that another process writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Tail:
    """Passes each new whole line of `path` to `on_line`. With `from_end`, what is there already is not new."""

    def __init__(self, path: Path, on_line: Callable[[dict[str, Any]], None], *, from_end: bool = False) -> None:
        self._path, self._on_line = path, on_line
        self._position = path.stat().st_size if from_end and path.is_file() else 0

    def pass_on(self) -> None:
        """Read what is new; a file that became shorter (a resume cut it) is read from its start."""
        if not self._path.is_file():
            return
        if self._path.stat().st_size < self._position:
            self._position = 0
        with self._path.open("rb") as stream:
            stream.seek(self._position)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._position += len(line)
                self._on_line(json.loads(line))

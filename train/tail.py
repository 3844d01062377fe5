"""Following a file of JSON lines that another process writes, and finding what a rank said."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from train.place import ATTEMPT


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


def name_logs(run_dir: Path) -> None:
    """Give this rank's output, which torchrun put in a file of its node's, a name by rank and attempt in logs/.

    A symbolic link: logs/rank-RANK-ATTEMPT.stderr, and .stdout. Where the output is no file of the run's, nothing.
    """
    logs, attempt = (run_dir / "logs").resolve(), os.environ.get(ATTEMPT) or "here"
    for number, stream in ((1, "stdout"), (2, "stderr")):
        target = Path(f"/proc/self/fd/{number}")
        with contextlib.suppress(OSError):
            file = target.resolve()
            if file.is_relative_to(logs):
                link = logs / f"rank-{os.environ.get('RANK', '0')}-{attempt}.{stream}"
                link.unlink(missing_ok=True)
                link.symlink_to(os.path.relpath(file, logs))

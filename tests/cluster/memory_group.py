"""A control group with a memory limit, in which the kernel kills for real. For tests alone; needs root."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

MOUNT = Path("/sys/fs/cgroup")
HOG = "import sys; held = bytearray(int(sys.argv[1]))"


class MemoryGroup:
    """Below this process's own, while entered."""

    def __init__(self) -> None:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        of_memory = next((group for _, names, group in groups if "memory" in names.split(",")), None)
        of_all = next((group for _, names, group in groups if not names), "/")
        base = MOUNT / "memory" / of_memory.lstrip("/") if of_memory is not None else MOUNT / of_all.lstrip("/")
        self.path = base / f"replibench-test-{os.getpid()}"
        self._limit = "memory.limit_in_bytes" if of_memory is not None else "memory.max"
        self._used = "memory.usage_in_bytes" if of_memory is not None else "memory.current"

    def __enter__(self) -> "MemoryGroup":
        """Raises OSError where there can be none."""
        self.path.mkdir()
        try:
            (self.path / self._used).read_text()
        except OSError:
            self.path.rmdir()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        for pid in (self.path / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # until the last one is gone
                self.path.rmdir()
                return
            time.sleep(0.05)

    def inside(self, *command: str) -> list[str]:
        """The command that runs `command` in here."""
        return ["bash", "-c", f'echo $$ > {self.path / "cgroup.procs"}; exec "$@"', "bash", *command]

    def run_out(self, victim: psutil.Process) -> None:
        """Leave no room for a process that wants some, so that the kernel ends `victim`."""
        Path(f"/proc/{victim.pid}/oom_score_adj").write_text("1000")
        room = 50_000_000
        (self.path / self._limit).write_text(str(int((self.path / self._used).read_text()) + room))
        subprocess.run(self.inside(sys.executable, "-c", HOG, str(2 * room)), check=False, timeout=60)

"""Did the kernel kill for want of memory? It leaves no word with the process, only a count."""

from pathlib import Path


def oom_kills(root: Path = Path("/")) -> int:
    """How often the kernel killed for memory: in this process's control group, or else on this machine; 0: not known.

    The group's count (`oom_kill` of memory.events, cgroup v2; of memory.oom_control, v1) is of this job alone.
    """
    for path in (*_of_group(root), root / "proc" / "vmstat"):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def _of_group(root: Path) -> list[Path]:
    """Where the counts of this process's control group would be."""
    try:
        lines = (root / "proc" / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    found, mount = [], root / "sys" / "fs" / "cgroup"
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            found.append(mount / group.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(mount / "memory" / group.lstrip("/") / "memory.oom_control")
    return found

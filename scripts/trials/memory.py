"""What a process and its children hold in memory, as Linux tells it."""

import re
from contextlib import suppress
from pathlib import Path


def memory_mb(pid: int) -> float:
    """What a process and its children hold, in MB; 0 where the system does not tell."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    with suppress(OSError):
        family = [pid, *map(int, children.read_text().split())]
        return sum(map(_resident_mb, family))
    return 0.0


def _resident_mb(pid: int) -> float:
    with suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0

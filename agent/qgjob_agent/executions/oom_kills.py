"""How often the kernel has killed a process for want of memory, on all of this host since it was booted."""

from __future__ import annotations

from pathlib import Path

VMSTAT = Path("/proc/vmstat")
_NAME = b"oom_kill"


def oom_kills() -> int | None:
    """None where the system does not count them: other systems than Linux, and Linux before 4.13."""
    try:
        lines = VMSTAT.read_bytes().splitlines()
    except OSError:
        return None
    values = (line.split() for line in lines)
    return next((int(each[1]) for each in values if len(each) == 2 and each[0] == _NAME and each[1].isdigit()), None)

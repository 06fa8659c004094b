"""What a run was measured on; figures without it mean nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from bench.figures import Figure
from bench.store import PrivateStore

_CPU_INFO = Path("/proc/cpuinfo")
_BYTES_PER_GIB = 1024**3


def facts() -> dict[str, Figure]:
    """Cores, operating system, versions, and how busy the machine was before the run."""
    with PrivateStore() as store:
        store_version = store.version()
    return {
        "cores": os.cpu_count() or 0,
        "cpu": _cpu_model(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _BYTES_PER_GIB, 1),
        "os": platform.platform(),
        "python": platform.python_version(),
        "store": store_version,
        "node": _node_version(),
        "load_average_before": load_average(),
    }


def load_average() -> float:
    """Runnable processes over the last minute. Above 0 before a run, somebody else computes too."""
    return round(os.getloadavg()[0], 2)


def _cpu_model() -> str:
    if not _CPU_INFO.exists():
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in _CPU_INFO.read_text().splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


def _node_version() -> str | None:
    if shutil.which("node") is None:
        return None
    return subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()

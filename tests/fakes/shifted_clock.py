"""A coordinator on a machine whose wall clock is wrong by as many seconds as a file says, read at each look at it.

python -m tests.fakes.shifted_clock FILE
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path


def install(file: Path) -> None:
    """Wrong from here on: time.time and time.time_ns. Clocks that nobody sets stay right."""
    seconds, nanoseconds = time.time, time.time_ns

    def shift() -> int:
        return int(file.read_text())

    time.time = lambda: seconds() + shift()
    time.time_ns = lambda: nanoseconds() + shift() * 1_000_000_000


if __name__ == "__main__":
    install(Path(sys.argv[1]))
    sys.argv[1:] = []
    sys.exit(importlib.import_module("qgjob_coordinator.__main__").main())

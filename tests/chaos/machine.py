"""Whether the machine gives the lab its time: what it does not can't be asked of the product."""

from __future__ import annotations

import threading
import time

from tests.chaos import clock
from tests.chaos.history import MACHINE, Outage, Span

WORK_SECONDS = 0.005
"""Of processor time, that are measured with a clock."""
PAUSE_SECONDS = 0.25
SLOW = 12.0
"""So many times longer than it should take, and the machine counts as away: others have it."""


class Machine:
    """Measures in a thread of its own, from `start` to `stop`; `outages` is the list of slow times."""

    def __init__(self, outages: list[Outage]) -> None:
        self._outages = outages
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="machine", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        last = clock.now()
        while not self._ended.wait(PAUSE_SECONDS):
            begin = clock.now()
            until = time.thread_time() + WORK_SECONDS
            while time.thread_time() < until:
                pass
            end = clock.now()
            late = begin - last - PAUSE_SECONDS
            if (end - begin + max(0.0, late)) / WORK_SECONDS > SLOW:
                self._outages.append(Outage(MACHINE, Span(last, end)))
            last = end

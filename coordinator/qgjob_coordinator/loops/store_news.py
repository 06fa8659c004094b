"""What the log is told of a store that can't be used: each reason once, and again at growing pauses."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from qgjob_coordinator.policy.diagnosis.store import to_do

FIRST_PAUSE_SECONDS = 60.0
LONGEST_PAUSE_SECONDS = 3600.0
MOST_REASONS = 50

log = structlog.get_logger(__name__)


class StoreNews:
    """Remembers what was said since the store could last be used, MOST_REASONS of it. `url` is without secrets."""

    def __init__(self, url: str, now: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._now = now
        self._said: dict[str, tuple[float, float]] = {}  # reason -> when it is news again, the pause after that

    def away(self, fault: str) -> None:
        """A try found the store away."""
        error, what_to_do = to_do(fault)
        due, pause = self._said.get(error, (0.0, FIRST_PAUSE_SECONDS))
        now = self._now()
        if error in self._said and now < due:
            return
        if error not in self._said and len(self._said) >= MOST_REASONS:
            del self._said[min(self._said, key=lambda known: self._said[known][0])]
        self._said[error] = (now + pause, min(2 * pause, LONGEST_PAUSE_SECONDS))
        log.warning("store_away", url=self._url, error=error, what_to_do=what_to_do)

    def back(self) -> None:
        """The store can be used: what comes next is news."""
        self._said.clear()

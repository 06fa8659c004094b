"""What the log is told of a loop that can't reach the store: when that begins, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qgjob_coordinator.errors import BlobsUnavailableError, StoreUnavailableError

AGAIN = "sees_again"
"""The event of a loop that reaches the store again; `was` is the one of its beginning."""

_ALL = frozenset({""})


class Sight:
    """One of a loop. `event` is said of it once, whatever tries fail; of single orgs once of each."""

    def __init__(self, event: str, log: Any, now: Callable[[], float] = time.monotonic, **fields: object) -> None:
        self._event = event
        self._log = log
        self._now = now
        self._fields = fields
        self._told: frozenset[str] = frozenset()
        self._since = 0.0

    @property
    def blind(self) -> bool:
        """Whether the last try did not reach all of it."""
        return bool(self._told)

    def lost(self, error: StoreUnavailableError | BlobsUnavailableError) -> None:
        """A try did not reach the store, or some orgs of it."""
        what = error.orgs or _ALL
        if what <= self._told:
            return
        if not self._told:
            self._since = self._now()
        self._told |= what
        self._log.warning(self._event, error=error.message, **self._fields)

    def seen(self) -> None:
        """A try reached all of it."""
        if self._told:
            self._told = frozenset()
            self._log.info(AGAIN, was=self._event, blind_seconds=round(self._now() - self._since, 1), **self._fields)

"""The moment between an attempt's limit and the end of its tree, in which the daemon may look at what hangs.

A supervisor says in a file that it waits. It goes on when the daemon has taken the file away, after so many seconds in
any case, and at once when anything else is to end the tree. The standard library only: supervisors import this.
"""
# pathlib would cost each supervisor 5 ms of its start.
# ruff: noqa: PTH108, PTH110

from __future__ import annotations

import contextlib
import json
import os

from qgjob_agent.host.plain_file import put_text

_POLL_SECONDS = 0.05


class LastLook:
    """The supervisor's side. `path` is where the file lies; seconds are those of any one clock."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._until: float | None = None

    @property
    def waits(self) -> bool:
        """Whether the tree lives on for the daemon's sake."""
        return self._until is not None

    def ask(self, attempt: int | None, seconds: float, now: float) -> bool:
        """Waits from now on. False where nobody is to look, or the disk refuses to say so."""
        if attempt is None or seconds <= 0:
            return False
        try:
            put_text(self._path, json.dumps({"attempt": attempt}))
        except OSError:
            return False
        self._until = now + seconds
        return True

    def deadline(self, now: float) -> float:
        """When `over` may have something to say."""
        return float("inf") if self._until is None else min(self._until, now + _POLL_SECONDS)

    def over(self, now: float) -> bool:
        """Whether the daemon has looked, or has had its time."""
        return self._until is not None and (now >= self._until or not os.path.exists(self._path))

    def end(self) -> None:
        """Waits no more."""
        if self._until is not None:
            self._until = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)

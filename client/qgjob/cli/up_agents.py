"""The agents of `qgjob up`: one that dies is started again, as an init system does that on a device host."""

from __future__ import annotations

import time
from collections.abc import Callable

from qgjob.cli.children import Child
from qgjob.cli.runner import tell
from qgjob.cli.up_store import StackError

FIRST_PAUSE_SECONDS = 1.0
QUICK_SECONDS = 60.0
MOST_QUICK = 5

Starting = Callable[[str], Child]
"""Starts the agent of that name, whose log goes on."""


class Deaths:
    """Those of one agent that came soon after its start, one after the other."""

    def __init__(self) -> None:
        self.quick = 0

    def pause(self, lived_seconds: float) -> float | None:
        """How long to wait after one more; it doubles with each quick one, and None gives the agent up."""
        self.quick = self.quick + 1 if lived_seconds < QUICK_SECONDS else 1
        return None if self.quick >= MOST_QUICK else FIRST_PAUSE_SECONDS * 2 ** (self.quick - 1)


class Agents:
    """Looks after those that were started once."""

    def __init__(self, start: Starting, now: Callable[[], float] = time.monotonic) -> None:
        self._start = start
        self._now = now
        self._deaths: dict[str, Deaths] = {}
        self._due: dict[str, float] = {}

    def revive(self, agent: Child) -> Child | None:
        """The next life of one that has ended; None while it is not due. Raises StackError for one too many."""
        now = self._now()
        due = self._due.get(agent.name)
        if due is None:
            deaths = self._deaths.setdefault(agent.name, Deaths())
            pause = deaths.pause(now - agent.started_at)
            if pause is None:
                raise StackError(
                    f"{agent.name} died {deaths.quick} times in a row, soon after its start; {agent.obituary()}"
                )
            self._due[agent.name] = now + pause
            tell(f"{agent.name} {agent.how_it_ended}; it is started again in {pause:g} s (its log: {agent.log})")
            return None
        if now < due:
            return None
        del self._due[agent.name]
        return self._start(agent.name)

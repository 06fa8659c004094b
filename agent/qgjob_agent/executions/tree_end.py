"""The end of a supervisor's tree: who belongs to it, how it is killed, and what of it will not die.

The standard library only: supervisors import this.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

from qgjob_agent.executions.kill_pace import KillPace
from qgjob_agent.host.plain_file import put_text
from qgjob_agent.host.process_tree import Precedence, descendants, kill_descendants, signal_all, state_of

if TYPE_CHECKING:
    from qgjob_agent.host.process_tree import Cgroup

_MOST_TOLD = 20


class TreeEnd:
    """Ends the tree below this process. `living_path` is where it says what of it SIGKILL does not end."""

    def __init__(self, cgroup: Cgroup | None, living_path: str) -> None:
        self._cgroup = cgroup
        self._living_path = living_path
        self._pace = KillPace()
        self._precedence = Precedence()
        self._since_ms = 0
        self._told: tuple[int, ...] = ()

    def members(self) -> list[int]:
        """What of it lives."""
        found = set(descendants(os.getpid()))
        if self._cgroup is not None:
            found.update(self._cgroup.members())
        return list(found)

    def term(self) -> None:
        """Asks it to end."""
        self._precedence.take()
        signal_all(self.members(), signal.SIGTERM)

    def kill(self) -> float:
        """Kills what lives. Gives after how many seconds that is to be done again: something may be left."""
        self._since_ms = self._since_ms or time.time_ns() // 1_000_000
        step = self._pace.look(time.monotonic(), self.members())
        if step.urgent:
            self._precedence.take()
        else:
            self._precedence.give_back()
        if self._cgroup is not None:
            self._cgroup.kill()
        kill_descendants(os.getpid())
        if step.stuck != self._told and self._tell(step.stuck):
            self._told = step.stuck
        return step.pause_seconds

    def over(self) -> None:
        """Nothing of it lives."""
        self._precedence.give_back()
        if self._cgroup is not None:
            self._cgroup.remove()

    def _tell(self, stuck: tuple[int, ...]) -> bool:
        """Writes down what will not die; False where the disk refuses that: it is tried again."""
        told = [[pid, *state] for pid in stuck[:_MOST_TOLD] if (state := state_of(pid)) is not None]
        try:
            put_text(self._living_path, json.dumps({"since_ms": self._since_ms, "processes": told}))
        except OSError:
            return False
        return True

"""Trees that SIGKILL does not end, as the daemon hears of them: from a supervisor, or by its hunt after a lost one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import monotonic_seconds, wall_ms
from qgjob_agent.core.events import TreeStuck
from qgjob_agent.core.values import LivingProcess, LivingTree
from qgjob_agent.executions import names
from qgjob_agent.executions.kill_pace import KillPace
from qgjob_agent.host.process_tree import hunt, state_of

if TYPE_CHECKING:
    from qgjob_agent.executions.execution import Execution
    from qgjob_agent.runners.base import Sink

LOOK_SECONDS = 1.0


class LivingWatch:
    """Tells of one execution what of its tree will not die, each time that it changes."""

    def __init__(self, execution: Execution, sink: Sink, log: Any) -> None:
        self._execution = execution
        self._sink = sink
        self._log = log
        self._told: LivingTree | None = None
        self._next_at = monotonic_seconds() + LOOK_SECONDS

    def look(self) -> None:
        """What the supervisor says. May be called as often as one likes."""
        now = monotonic_seconds()
        if now >= self._next_at:
            self._next_at = now + LOOK_SECONDS
            self._tell(self._execution.living())

    async def hunt(self) -> None:
        """Kills what a dead supervisor left behind, until nothing of it lives; the device is not free before."""
        pace, since_ms = KillPace(), wall_ms()
        where = (names.MARKER, self._execution.path.name, self._execution.cgroup)
        while living := await asyncio.to_thread(hunt, *where, 0.0):
            step = pace.look(monotonic_seconds(), living)
            if step.stuck != tuple(each.pid for each in (self._told.processes if self._told else ())):
                self._tell(await asyncio.to_thread(_described, since_ms, step.stuck))
            await asyncio.sleep(step.pause_seconds)

    def over(self) -> None:
        """Nothing of the tree lives."""
        self._tell(None)

    def _tell(self, found: LivingTree | None) -> None:
        if found != self._told:
            self._told = found
            what = self._execution.assignment
            self._sink.report([TreeStuck(what.token, what.job_id, what.device_id, found)])


def _described(since_ms: int, stuck: tuple[int, ...]) -> LivingTree | None:
    found = [LivingProcess(pid, *state) for pid in stuck if (state := state_of(pid)) is not None]
    return LivingTree(since_ms, tuple(found)) if found else None

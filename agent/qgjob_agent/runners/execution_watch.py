"""Follows one execution in the event loop, up to the end of its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import monotonic_seconds, wall_ms
from qgjob_agent.executions import names
from qgjob_agent.executions.records import ExecutionResult
from qgjob_agent.executions.stopped_supervisor import Overdue, StoppedWatch
from qgjob_agent.host.process_tree import kill_descendants

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.executions.execution import Execution
    from qgjob_agent.runners.living_trees import LivingWatch
    from qgjob_agent.runners.work import Work

_POLL_SECONDS = 0.1  # where there is no pidfd: each look asks for the process too


class ExecutionWatch:
    """`look` is called again and again, `ended` once: the supervisor is not there any more, and nothing is followed.

    An error of either is a fault of the program, and is told by `work`. Where a supervisor is kept stopped that should
    have ended its tree, both are ended here.
    """

    def __init__(
        self,
        execution: Execution,
        work: Work,
        living: LivingWatch,
        pause_seconds: float,
        look: Callable[[], None],
        ended: Callable[[], None],
        log: Any,
    ) -> None:
        self.living = living
        self._log = log
        self._stopped = StoppedWatch(execution.limits(now := monotonic_seconds()), now)
        self._overdue: Overdue | None = None
        self._printed_at = 0
        self._execution = execution
        self._work = work
        self._pause_seconds = pause_seconds
        self._look = look
        self._ended = ended
        self._ready = -1
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def wait_for_ready(self, ready: int, then: Callable[[], None] = lambda: None) -> None:
        """Takes the pipe of a launch, and does that when it says that the command runs or could not be started."""
        self._ready = ready
        self._loop.add_reader(ready, self._work.do, self._on_ready, then)

    def _on_ready(self, then: Callable[[], None]) -> None:
        self._close_ready()
        then()

    def _close_ready(self) -> None:
        if self._ready >= 0:
            self._loop.remove_reader(self._ready)
            os.close(self._ready)
            self._ready = -1

    def follow(self) -> None:
        """Begins."""
        if self._execution.pidfd >= 0:
            self._loop.add_reader(self._execution.pidfd, self._work.do, self.end)
        self._tick_later()

    def _tick_later(self) -> None:
        pause = self._pause_seconds if self._execution.pidfd >= 0 else _POLL_SECONDS
        self._timer = self._loop.call_later(pause, self._work.do, self._tick)

    def take(self, event: dict[str, Any]) -> None:
        """What the command says in its file of events."""
        self._stopped.take(event, monotonic_seconds())

    def _hear(self) -> None:
        """What its supervisor has heard, be it kept or not, is seen by the time of its output."""
        with contextlib.suppress(OSError):  # nothing printed yet
            printed_at = (self._execution.path / names.OUTPUT).lstat().st_mtime_ns
            if printed_at != self._printed_at:
                self._printed_at = printed_at
                self._stopped.heard(monotonic_seconds())

    def _tick(self) -> None:
        self._hear()
        self._wake()
        self._look()
        self.living.look()
        if self._execution.pidfd < 0 and self._is_over():
            self.end()
        else:
            self._tick_later()

    def _wake(self) -> None:
        """Has the supervisor go on, if it is stopped; ends it where it is kept from what it was to do by now."""
        execution = self._execution
        if self._overdue is not None:
            return
        self._overdue = self._stopped.look(monotonic_seconds(), execution.asked, execution.supervisor_stopped)
        if self._overdue is not None:
            self._work.spawn(self._end_both(self._overdue), "supervisor-stopped")
            return
        with contextlib.suppress(OSError):  # the disk does not say whether it lives: the next look wakes it
            execution.wake_supervisor()

    async def _end_both(self, overdue: Overdue) -> None:
        """Ends the tree as long as its supervisor has it below it, and then that: what is left is hunted as ever."""
        execution = self._execution
        own = overdue.attempt is not None and 0 <= overdue.attempt < len(execution.attempts)
        what = execution.attempts[overdue.attempt or 0] if own else execution.assignment
        self._log.warning("supervisor_kept_stopped", job_id=what.job_id, token=what.token, ended_by=overdue.ended_by)
        execution.leave_rest()
        try:
            if execution.stop_supervisor():
                await asyncio.to_thread(kill_descendants, execution.supervisor_pid)
                execution.kill_supervisor()
        except OSError:  # the disk does not say whether it lives: it is looked at again
            self._overdue = None

    async def without_result(self) -> ExecutionResult | None:
        """The supervisor has ended and told none: kills what it left. Gives how it ended if this was by us."""
        what, overdue = self._execution.assignment, self._overdue
        if overdue is None:
            self._log.warning("supervisor_lost", job_id=what.job_id, token=what.token)
        await self.living.hunt()
        if overdue is None:
            return None
        duration_ms, ended_at_ms = round((monotonic_seconds() - self._stopped.began_at) * 1000), wall_ms()
        return ExecutionResult(
            ended_by=overdue.ended_by,
            exit_code=None,
            signal=signal.SIGKILL,
            cause=overdue.cause,
            error=None,
            started_at_ms=self._execution.started_at_ms or ended_at_ms - duration_ms,
            ended_at_ms=ended_at_ms,
            duration_ms=duration_ms,
            attempt=overdue.attempt,
            kept_stopped=True,
        )

    def _is_over(self) -> bool:
        try:
            return not self._execution.supervised
        except OSError:  # the disk does not say: it is asked again
            return False

    def end(self) -> None:
        """The supervisor has ended: its tree is dead, unless it was killed itself."""
        self.stop()
        self._ended()

    def stop(self) -> None:
        """Follows no more. The supervisor goes on."""
        if self._timer is not None:
            self._timer.cancel()
        self._close_ready()
        if self._execution.pidfd >= 0:
            self._loop.remove_reader(self._execution.pidfd)
        self._execution.close()

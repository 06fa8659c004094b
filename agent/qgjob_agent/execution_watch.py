"""Follows one execution in the event loop, up to the end of its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.executions import Execution
    from qgjob_agent.living_trees import LivingWatch
    from qgjob_agent.work import Work

_POLL_SECONDS = 0.1  # where there is no pidfd: each look asks for the process too


class ExecutionWatch:
    """`look` is called again and again, `ended` once: the supervisor is not there any more, and nothing is followed.

    An error of either is a fault of the program, and is told by `work`.
    """

    def __init__(
        self,
        execution: Execution,
        work: Work,
        living: LivingWatch,
        pause_seconds: float,
        look: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        self.living = living
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

    def _tick(self) -> None:
        with contextlib.suppress(OSError):  # the disk does not say whether it lives: the next look wakes it
            self._execution.wake_supervisor()
        self._look()
        self.living.look()
        if self._execution.pidfd < 0 and self._is_over():
            self.end()
        else:
            self._tick_later()

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

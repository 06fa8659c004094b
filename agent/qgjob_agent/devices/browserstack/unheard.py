"""Sessions that may have begun though nobody was told: each has a name of its own, by which it is found and ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qgjob_agent.devices.browserstack.errors import CloudError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from qgjob_agent.devices.browserstack.rest import Rest

UNHEARD_COUNT_SECONDS = 30.0
"""That one which does not show counts as one that was begun. Longer than a session takes to show in the plan, and well
below what others wait for room (browserstack.wait_seconds): most of these never began, and theirs would be in vain."""
_LONGEST_PAUSE_SECONDS = 30.0


class Unheard:
    """Looks in the background. `end` ends sessions, and raises nothing; `seconds` is how long one may take to begin."""

    def __init__(
        self,
        rest: Rest,
        end: Callable[[list[str]], Awaitable[None]],
        pause_seconds: float,
        seconds: float,
        log: Any,
    ) -> None:
        self._rest = rest
        self._end = end
        self._pause = pause_seconds
        self._seconds = seconds
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()

    def seek(self, build: str, name: str, over: Callable[[], None]) -> None:
        """Has what begins under this name ended, as soon as it shows.

        Calls `over` when it counts no more: then, when that is given up, and after UNHEARD_COUNT_SECONDS. Maybe twice.
        """
        task = asyncio.create_task(self._seek(build, name), name="browserstack_unheard")
        self._tasks.add(task)
        late = asyncio.get_running_loop().call_later(UNHEARD_COUNT_SECONDS, over)
        task.add_done_callback(lambda _: self._done(task, late, over))

    def _done(self, task: asyncio.Task[None], late: asyncio.TimerHandle, over: Callable[[], None]) -> None:
        self._tasks.discard(task)
        late.cancel()
        over()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("browserstack_task_failed", task=task.get_name(), exc_info=error)

    async def _seek(self, build: str, name: str) -> None:
        found: list[str] = []
        error, pause = "", self._pause
        try:
            async with asyncio.timeout(self._seconds):
                while not found:
                    try:
                        found = await self._rest.running_sessions(build, name)
                        error = ""
                    except CloudError as failed:
                        error = str(failed)
                    if not found:
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        except TimeoutError:
            error = error or f"none showed in {self._seconds:g} s"
        await self._end(found)
        self._log.info("browserstack_session_unheard", session=name, session_ids=found, error=error)

    async def close(self) -> None:
        """Looks no more: what runs then is BrowserStack's to end, when it was silent for long enough."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

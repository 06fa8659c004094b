"""What a part of the agent does beside the core, in tasks and in steps that the loop begins."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qgjob_agent.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Work:
    """`failed` is told of faults of the program, which end the agent.

    The loop would only log them, and what they were to do would never be done, for as long as the agent lives.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Begins a task."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._failed(error)

    def do(self, step: Callable[..., None], *values: Any) -> None:
        """Does a step that the loop begins."""
        try:
            step(*values)
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the agent
            self._failed(error)

    async def close(self) -> None:
        """Cancels what is under way, and waits for its end."""
        await end_tasks(list(self._tasks))

"""Ends tasks, and waits for what must have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

AGAIN_SECONDS = 0.1


async def end_all(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancels tasks until all have ended. What they raised is not told.

    gRPC takes the cancel of a task that waits for the first word of a call for one of that call, which may just have
    ended by itself: the task goes on then, and is told once more.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=AGAIN_SECONDS)


async def wait_out(work: asyncio.Future[Any]) -> None:
    """Waits until it is over, however often this is cancelled meanwhile; raises what cancelled it then.

    What the work raised is not told here.
    """
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if not work.cancelled():
        work.exception()  # who was cancelled has something else to do than to hear of it
    if cancelled is not None:
        raise cancelled

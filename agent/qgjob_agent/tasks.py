"""Ends tasks, and waits for what must have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

AGAIN_SECONDS = 0.1


async def end_tasks(tasks: Collection[asyncio.Task[Any]], again_seconds: float = AGAIN_SECONDS) -> None:
    """Cancels until all are over: a call under way may take a cancel for itself, and its loop would go on for ever.

    `asyncio.wait_for` of Python 3.11 does so when its call has just ended, and redis-py sends commands through it; gRPC
    does where the first word of a call is waited for. What the tasks raised is not told.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again_seconds)
    await asyncio.gather(*tasks, return_exceptions=True)


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

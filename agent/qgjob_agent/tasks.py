"""Ends tasks."""

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

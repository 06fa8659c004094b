"""The end of tasks that go on until they are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

AGAIN_SECONDS = 1.0


async def end_tasks(tasks: Collection[asyncio.Task[Any]], again_seconds: float = AGAIN_SECONDS) -> None:
    """Cancels until all are over: a call under way may take a cancel for itself, and its loop would go on for ever.

    `asyncio.wait_for` of Python 3.11 does so when its call has just ended, and redis-py sends commands through it.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=again_seconds)
    await asyncio.gather(*tasks, return_exceptions=True)

"""What asyncio leaves out of tasks: an end that comes for sure, and several at once that cost one nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

AGAIN_SECONDS = 1.0

T = TypeVar("T")


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


async def together(work: list[Coroutine[Any, Any, T]]) -> list[T]:
    """All at once; a lone one without a task of its own, which a lone job would wait for."""
    if len(work) == 1:
        return [await work[0]]
    return list(await asyncio.gather(*work))

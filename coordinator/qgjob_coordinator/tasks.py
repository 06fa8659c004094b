"""What asyncio leaves out of tasks: an end that comes for sure, and several at once that cost one nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

AGAIN_SECONDS = 1.0

T = TypeVar("T")


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


async def together(work: list[Coroutine[Any, Any, T]]) -> list[T]:
    """All at once, and none goes on when it returns; a lone one without a task of its own, which a lone job waits for.

    Raises the first error, when all are over: who waits for the end of the work waits for the last of it.
    """
    if len(work) == 1:
        return [await work[0]]
    results = await asyncio.gather(*work, return_exceptions=True)
    done = [result for result in results if not isinstance(result, BaseException)]
    if len(done) < len(results):
        raise next(result for result in results if isinstance(result, BaseException))
    return done

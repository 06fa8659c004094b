"""The end of a coordinator's loops, whatever takes a cancel for itself."""

from __future__ import annotations

import asyncio
import contextlib

from qgjob_coordinator.tasks import end_tasks


async def test_a_loop_whose_cancel_was_taken_by_a_call_under_way_is_cancelled_again() -> None:
    """`asyncio.wait_for` of Python 3.11, which a driver may use, does so when its call has just ended."""
    begun = asyncio.Event()

    async def loop() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                begun.set()
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    async def failed() -> None:
        raise ValueError

    tasks = [asyncio.create_task(loop()), asyncio.create_task(failed())]
    await begun.wait()
    async with asyncio.timeout(10):
        await end_tasks(tasks, again_seconds=0.01)
    assert tasks[0].cancelled()
    assert await end_tasks([]) is None

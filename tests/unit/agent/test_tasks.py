"""Tasks end, whatever takes the first cancel for its own."""

from __future__ import annotations

import asyncio

from qgjob_agent.tasks import end_all


async def takes_cancels(times: int) -> None:
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def fails() -> None:
    raise ValueError("ended before")


async def test_all_have_ended_also_those_that_took_a_cancel_for_another_one() -> None:
    tasks = [asyncio.create_task(work) for work in (takes_cancels(1), takes_cancels(3), asyncio.sleep(0), fails())]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await end_all(tasks)
    assert all(task.done() for task in tasks)
    assert isinstance(tasks[3].exception(), ValueError)

"""Tasks end, whatever takes the first cancel for its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from qgjob_agent.tasks import end_tasks, wait_out


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
        await end_tasks(tasks, again_seconds=0.01)
    assert all(task.done() for task in tasks)
    assert isinstance(tasks[3].exception(), ValueError)


async def test_what_must_have_ended_is_waited_for_however_often_one_is_cancelled() -> None:
    for work in (takes_cancels(0), fails()):
        go = asyncio.Event()

        async def later(work: Coroutine[Any, Any, None] = work, go: asyncio.Event = go) -> None:
            await go.wait()
            await work

        ending = asyncio.create_task(later())
        waiting = asyncio.create_task(wait_out(ending))
        for _ in range(3):
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ending.done()

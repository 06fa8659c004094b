"""Every caller of a batch is answered, whatever becomes of the write."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from qgjob_coordinator.service.calls.flusher import Flusher

DEADLINE_SECONDS = 5.0


async def test_what_comes_while_it_is_busy_is_one_write() -> None:
    batches: list[list[int]] = []

    async def write(items: list[int]) -> Sequence[int | BaseException]:
        batches.append(items)
        await asyncio.sleep(0)
        return [item * 2 for item in items]

    flusher = Flusher(write, most=3)
    first = flusher.put(1)
    await asyncio.sleep(0)
    later = [flusher.put(n) for n in range(2, 7)]
    assert await asyncio.gather(first, *later) == [2, 4, 6, 8, 10, 12]
    assert batches == [[1], [2, 3, 4], [5, 6]]


async def test_an_error_of_one_item_is_its_own() -> None:
    async def write(items: list[int]) -> Sequence[int | BaseException]:
        return [KeyError(item) if item == 1 else item for item in items]

    flusher = Flusher(write, most=10)
    one, two = flusher.put(1), flusher.put(2)
    assert await two == 2
    with pytest.raises(KeyError):
        await one


@pytest.mark.parametrize("answers", [0, 3])
async def test_a_fault_of_ours_reaches_every_caller_and_the_next_write_works(answers: int) -> None:
    async def write(items: list[int]) -> Sequence[int | BaseException]:
        return items if len(items) == 1 else [0] * answers

    flusher = Flusher(write, most=10)
    futures = [flusher.put(1), flusher.put(2)]
    async with asyncio.timeout(DEADLINE_SECONDS):
        results = await asyncio.gather(*futures, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError]
    assert await flusher.put(7) == 7

"""What many ask for at once runs once."""

from __future__ import annotations

import asyncio

import pytest

from qgjob_coordinator.service.shared import Shared


class Run:
    """Ends when it is let; counts how often it began, and how many ran beside each other."""

    def __init__(self) -> None:
        self.begun = self.running = self.most = 0
        self.error: Exception | None = None
        self._ends = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        self.running += 1
        self.most = max(self.most, self.running)
        number = self.begun
        try:
            await self._ends.wait()
        finally:
            self.running -= 1
        if self.error is not None:
            raise self.error
        return number

    def end(self) -> None:
        """The run under way ends, and those after it at once."""
        self._ends.set()


async def asked(shared: Shared[int], *ages: float) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(shared.get(age)) for age in ages]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_all_who_come_meanwhile_and_soon_after_share_one_run() -> None:
    run = Run()
    shared = Shared(run, "test")
    tasks = await asked(shared, *[60.0] * 50)
    run.end()
    assert set(await asyncio.gather(*tasks)) == {1}
    assert await shared.get(60.0) == 1


async def test_who_wants_it_as_of_now_gets_none_that_began_before_and_shares_the_next() -> None:
    run = Run()
    shared = Shared(run, "test")
    (early,) = await asked(shared, 60.0)
    late = await asked(shared, *[0.0] * 20)
    run.end()
    assert await early == 1
    assert set(await asyncio.gather(*late)) == {2}
    assert (run.begun, run.most) == (2, 1)
    assert await shared.get(0) == 3


async def test_one_that_goes_away_takes_nothing_from_the_others() -> None:
    run = Run()
    shared = Shared(run, "test")
    gone, stays = await asked(shared, 1.0, 1.0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    run.end()
    assert await stays == 1


async def test_an_error_is_of_those_who_waited_and_the_next_one_asks_anew() -> None:
    run = Run()
    shared = Shared(run, "test")
    run.error = ConnectionError("away")
    tasks = await asked(shared, 60.0, 60.0)
    run.end()
    for task in tasks:
        with pytest.raises(ConnectionError):
            await task
    run.error = None
    assert await shared.get(60.0) == 2

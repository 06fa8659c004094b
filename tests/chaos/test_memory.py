"""The growth of a process is the most that was ever seen of it, also of one that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psutil
import pytest

from tests.chaos.memory import Growth

MIB = 1024 * 1024


def looks(*mib: int) -> Callable[[], int]:
    """A process that has so many MiB each time, and is gone then."""
    left = iter(mib)

    def look() -> int:
        for each in left:
            return each * MIB
        raise psutil.NoSuchProcess(1)

    return look


def test_what_was_given_back_counts() -> None:
    growth = Growth(looks(100, 130, 170, 101))
    for _ in range(3):
        growth.look()
    assert (growth.mib, growth.ended) == (70.0, False)


def test_one_that_shrinks_did_not_grow() -> None:
    growth = Growth(looks(100, 90))
    growth.look()
    assert growth.mib == 0.0


@pytest.mark.asyncio
async def test_of_one_that_ends_the_looks_before_count_and_nobody_waits_on() -> None:
    growth = Growth(looks(100, 160))
    async with asyncio.timeout(30.0):
        await growth.watch(3600.0)
    assert (growth.mib, growth.ended) == (60.0, True)


def test_of_one_that_is_gone_nothing_is_known() -> None:
    with pytest.raises(psutil.NoSuchProcess):
        Growth(looks())

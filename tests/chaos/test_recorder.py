"""A recorder ends when it is told to, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.chaos.recorder import Recorder


class _Redis:
    async def xrange(self, *_: object) -> list[object]:
        return []


class _Lab:
    """One whose first look takes a cancel for a timeout of its own, as clients of stores do now and then."""

    store = None
    redis = _Redis()

    def __init__(self) -> None:
        self.looking = asyncio.Event()

    async def records(self) -> None:
        if not self.looking.is_set():
            self.looking.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async def look_for_ended(self) -> None:
        """Nothing did."""

    async def look_for_switch(self) -> None:
        """There was none."""


@pytest.mark.asyncio
async def test_a_cancel_that_a_look_into_the_store_took_for_its_own_ends_the_recorder() -> None:
    lab: Any = _Lab()
    following = asyncio.create_task(Recorder(lab).follow())
    await lab.looking.wait()
    following.cancel()
    async with asyncio.timeout(5.0):
        await asyncio.wait([following])
    assert following.cancelled()

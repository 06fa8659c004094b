"""A store of an older schema that turns up while a coordinator serves."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.errors import ConfigError, SchemaOlderError
from qgjob_coordinator.loops.store_watch import StoreWatch


class OlderStore:
    """Can't be brought along with `fault`, or not in any time."""

    def __init__(self, fault: Exception | None) -> None:
        self.fault = fault
        self.ended = False

    async def check(self) -> None:
        raise SchemaOlderError("4")

    async def migrate(self, _found: str) -> int:
        try:
            if self.fault is not None:
                raise self.fault
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        finally:
            self.ended = True


def watch_of(store: OlderStore) -> StoreWatch:
    return StoreWatch(cast(Any, store), cast(Any, None), "redis://127.0.0.1", "everysec", asyncio.Event())


async def test_one_that_can_not_be_brought_along_is_unfit_and_ends_nothing() -> None:
    watch = watch_of(OlderStore(ConfigError("REDIS_URL: the store has schema 2; do this")))
    with capture_logs() as lines:
        told = await watch.look(None)
        assert await watch.look(told) == told == "REDIS_URL: the store has schema 2; do this"
    assert [line["event"] for line in lines].count("store_unfit") == 1


async def test_a_stop_does_not_wait_for_it() -> None:
    store = OlderStore(None)
    watch = watch_of(store)
    asyncio.get_running_loop().call_later(0.01, watch._stop.set)
    async with asyncio.timeout(2):
        assert await watch.look(None) is not None
    assert store.ended


@pytest.mark.parametrize("fault", [ValueError("a bug")])
async def test_a_bug_in_it_is_not_hidden(fault: Exception) -> None:
    with pytest.raises(ValueError, match="a bug"):
        await watch_of(OlderStore(fault)).look(None)

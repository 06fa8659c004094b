"""A store of an older schema that turns up while a coordinator serves."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.app import Coordinator
from qgjob_coordinator.config import Settings
from qgjob_coordinator.errors import ConfigError, SchemaOlderError


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


def coordinator(store: OlderStore) -> Coordinator:
    app = Coordinator.__new__(Coordinator)
    app._settings = Settings()
    app._stop = asyncio.Event()
    app.store = store  # type: ignore[assignment]
    return app


async def test_one_that_can_not_be_brought_along_is_unfit_and_ends_nothing() -> None:
    app = coordinator(OlderStore(ConfigError("REDIS_URL: the store has schema 2; do this")))
    with capture_logs() as lines:
        told = await app._store_fault(None)
        assert await app._store_fault(told) == told == "REDIS_URL: the store has schema 2; do this"
    assert [line["event"] for line in lines].count("store_unfit") == 1


async def test_a_stop_does_not_wait_for_it() -> None:
    store = OlderStore(None)
    app = coordinator(store)
    asyncio.get_running_loop().call_later(0.01, app._stop.set)
    async with asyncio.timeout(2):
        assert await app._store_fault(None) is not None
    assert store.ended


@pytest.mark.parametrize("fault", [ValueError("a bug")])
async def test_a_bug_in_it_is_not_hidden(fault: Exception) -> None:
    with pytest.raises(ValueError, match="a bug"):
        await coordinator(OlderStore(fault))._store_fault(None)

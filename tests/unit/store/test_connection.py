"""What making a connection costs the loop that makes it."""

from __future__ import annotations

from importlib import metadata

import pytest
from redis.asyncio import Redis

from qgjob_coordinator.store.connection import connect, connect_raw, exchange
from qgjob_coordinator.store.exchange import Exchange
from qgjob_coordinator.store.topology.sentinel import _sentinel

URL = "redis://127.0.0.1:1"


@pytest.mark.parametrize(
    "way",
    [connect(URL, 1), connect_raw(URL), exchange(URL, 1), _sentinel(URL)],
    ids=["text", "raw", "scripts", "asked"],
)
def test_a_connection_reads_no_file_of_the_installed_package(
    way: Redis | Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As redis-py does for each one: that is most of what one costs, and those of a pool are made in a burst."""
    asked: list[str] = []
    monkeypatch.setattr(metadata, "version", asked.append)
    pool = way._pool if isinstance(way, Exchange) else way.connection_pool
    pool.make_connection()
    assert asked == []

"""What a connection is made of, and what making it costs the loop."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

import pytest
from redis.asyncio import ConnectionPool, Redis

from qgjob_coordinator.store.connection import connect, connect_raw, exchange
from qgjob_coordinator.store.exchange import Exchange
from qgjob_coordinator.store.sockets import ServerConnection, TcpConnection, TlsConnection, UnixConnection
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


@pytest.mark.parametrize(
    ("url", "kind"), [(URL, TcpConnection), ("rediss://h", TlsConnection), ("unix:///x", UnixConnection)]
)
@pytest.mark.parametrize("way", [lambda url: connect(url, 1), connect_raw, lambda url: exchange(url, 1)._pool])
def test_each_way_of_connecting_makes_connections_of_ours(
    url: str, kind: type[ServerConnection], way: Callable[[str], Redis | ConnectionPool]
) -> None:
    """redis-py puts its own classes in their place where a URL is encrypted or of a socket."""
    made = way(url)
    pool = made.connection_pool if isinstance(made, Redis) else made
    assert type(pool.make_connection()) is kind


def test_what_the_url_says_goes_before_what_is_ours() -> None:
    pool = connect(f"{URL}?max_connections=3&socket_timeout=9", 1).connection_pool
    assert (pool.max_connections, pool.connection_kwargs["socket_timeout"]) == (3, 9.0)

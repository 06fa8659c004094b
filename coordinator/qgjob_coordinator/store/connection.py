"""The connection to the store: pool, retry policy, and whether the store can acknowledge."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import hiredis
from redis.asyncio import (
    BlockingConnectionPool,
    Connection,
    ConnectionPool,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import AskError, RedisError, ResponseError
from redis.maint_notifications import MaintNotificationsConfig

from qgjob_coordinator.errors import ConfigError
from qgjob_coordinator.policy.diagnosis.keeping_data import TIERS
from qgjob_coordinator.store.address import FORMS, parse
from qgjob_coordinator.store.exchange import Exchange
from qgjob_coordinator.store.scripts import unavailable

CONNECT_TIMEOUT_SECONDS = 2.0
REPLY_TIMEOUT_SECONDS = 5.0
POOL_TIMEOUT_SECONDS = 5.0
RAW_POOL_SIZE = 4
MIN_VERSION = (6, 2)
COMMON: dict[str, Any] = {
    # How a connection names itself. One for all: each would read it anew from the files of the installed package.
    "driver_info": DriverInfo(),
    # With it on, even where no server knows it, redis-py's pools hand out connections that the store has ended.
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
}
"""What all connections have, whatever they are for."""


class _Packing:
    """Packs commands in C: in Python, as redis-py's asyncio connections do it, it is most of a large call."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """The command on the wire."""
        if " " in args[0]:  # "CONFIG GET" is two words on the wire
            args = (*args[0].split(), *args[1:])
        return [hiredis.pack_command(args)]


class TcpConnection(_Packing, Connection):
    """redis://"""


class TlsConnection(_Packing, SSLConnection):
    """rediss://"""


class UnixConnection(_Packing, UnixDomainSocketConnection):
    """unix://"""


_CLASSES = {"redis": TcpConnection, "rediss": TlsConnection, "unix": UnixConnection}


def connect(url: str, pool_size: int) -> Redis:
    """A client whose calls fail after seconds, never retry by themselves, and wait for a connection when all are busy.

    Retries are the script runner's: it knows what may be repeated.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=pool_size,
        timeout=POOL_TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_timeout=REPLY_TIMEOUT_SECONDS,
        decode_responses=True,
        connection_class=_CLASSES[url.partition(":")[0]],
        retry=Retry(NoBackoff(), 0),
        **COMMON,
    )
    return Redis(connection_pool=pool)


def exchange(url: str, size: int) -> Exchange:
    """The way of scripts; its connections have no timeouts of their own, since each exchange has one."""
    pool = ConnectionPool.from_url(
        url,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        decode_responses=True,
        connection_class=_CLASSES[url.partition(":")[0]],
        retry=Retry(NoBackoff(), 0),
        **COMMON,
    )
    return Exchange(pool, size, REPLY_TIMEOUT_SECONDS)


def connect_raw(url: str) -> Redis:
    """A client like that of `connect` for what is no text: it decodes nothing."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=RAW_POOL_SIZE,
        timeout=POOL_TIMEOUT_SECONDS,
        socket_connect_timeout=CONNECT_TIMEOUT_SECONDS,
        socket_timeout=REPLY_TIMEOUT_SECONDS,
        connection_class=_CLASSES[url.partition(":")[0]],
        retry=Retry(NoBackoff(), 0),
        **COMMON,
    )
    return Redis(connection_pool=pool)


def check_url(url: str) -> None:
    """Raises ValueError, with what to do, for a URL that no connection can be made from. Connects to nothing."""
    address = parse(url)
    one, example = url, "redis://localhost:6379"
    if address.hosts:
        one, example = address.url_of(address.hosts[0]), FORMS
    try:
        for pool in (connect(one, 1).connection_pool, ConnectionPool.from_url(one)):
            pool.connection_class(**pool.connection_kwargs)
        port = urlsplit(one).port
    except (ValueError, TypeError, RedisError) as e:
        why = re.sub(r"^.*got an unexpected", "unexpected", str(e))  # the rest is of the library's insides
        raise ValueError(f"is not a URL that can be used ({why}); write it as in {example}") from None
    if port == 0:
        raise ValueError(f"is not a URL that can be used (port 0); write it as in {example}")


def version_of(info: dict[str, Any]) -> tuple[int, ...]:
    """The Redis version that a store answers to: Valkey states the one it is compatible with."""
    return tuple(int(x) for x in str(info["redis_version"]).split(".")[:2])


async def inspect(redis: Redis) -> dict[str, Any]:
    """INFO of the store, after checking what qgjob relies on.

    Raises StoreUnavailableError while it is away, ConfigError when it is too old or may evict keys.
    """
    try:
        info: dict[str, Any] = await redis.info()
        policy = str(info.get("maxmemory_policy", "noeviction"))
    except RedisError as e:
        raise unavailable(e) or e from e
    if version_of(info) < MIN_VERSION:
        raise ConfigError(f"REDIS_URL: the store is version {info['redis_version']}; qgjob needs 6.2 or newer")
    if policy != "noeviction":
        raise ConfigError(
            f"REDIS_URL: the store's maxmemory-policy is {policy}, which deletes jobs when memory is short; "
            "run CONFIG SET maxmemory-policy noeviction"
        )
    return info


async def tier(redis: Redis) -> str | None:
    """The store's tier, one of TIERS; None where it does not tell. Raises StoreUnavailableError."""
    try:
        if not (await redis.info("persistence")).get("aof_enabled"):
            return TIERS[0]
        config = await redis.config_get("appendfsync")
    except ResponseError:
        return None  # managed stores refuse CONFIG
    except RedisError as e:
        raise unavailable(e) or e from e
    return config.get("appendfsync")


async def time_ms(redis: Redis) -> float:
    """What the store's clock says, in ms since the Unix epoch. Raises StoreUnavailableError."""
    try:
        seconds, microseconds = await redis.time()
    except RedisError as e:
        raise unavailable(e) or e from e
    return float(seconds * 1000 + microseconds / 1000)


async def writable(redis: Redis, probe_key: str) -> None:
    """Raises StoreUnavailableError unless the store accepts a write now."""
    try:
        await redis.set(probe_key, "1", px=60_000)
    except AskError:
        return  # the slot moves to another node, which says nothing against this one
    except RedisError as e:
        raise unavailable(e) or e from e

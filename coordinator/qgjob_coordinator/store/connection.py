"""The connection to the store: pool, retry policy, and whether the store can acknowledge."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import parse_url
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
from qgjob_coordinator.store.sockets import Hearing, ServerPool, class_of, of_system

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


def connect(url: str, pool_size: int, hearing: Hearing | None = None) -> Redis:
    """A client whose calls fail after seconds, never retry by themselves, and wait for a connection when all are busy.

    Retries are the script runner's: it knows what may be repeated. All clients of one server share a `hearing`.
    """
    return _client(url, pool_size, hearing, decode_responses=True)


def connect_raw(url: str, hearing: Hearing | None = None) -> Redis:
    """A client like that of `connect` for what is no text: it decodes nothing."""
    return _client(url, RAW_POOL_SIZE, hearing, decode_responses=False)


def exchange(url: str, size: int, hearing: Hearing | None = None) -> Exchange:
    """The way of scripts; its connections have no timeouts of their own, since each exchange has one."""
    hearing = hearing or Hearing()
    pool = ConnectionPool(**_settings(url, hearing, decode_responses=True))
    return Exchange(pool, size, REPLY_TIMEOUT_SECONDS, hearing)


def _client(url: str, pool_size: int, hearing: Hearing | None, *, decode_responses: bool) -> Redis:
    pool = {"max_connections": pool_size, "timeout": POOL_TIMEOUT_SECONDS, "socket_timeout": REPLY_TIMEOUT_SECONDS}
    settings = _settings(url, hearing or Hearing(), decode_responses=decode_responses, **pool)
    return Redis(connection_pool=ServerPool(**settings))


def _settings(url: str, hearing: Hearing, **own: Any) -> dict[str, Any]:
    """Of a pool: what the URL says goes before what is ours."""
    every = {"socket_connect_timeout": CONNECT_TIMEOUT_SECONDS, "retry": Retry(NoBackoff(), 0), **COMMON}
    said = {**every, **own, **of_system(url, REPLY_TIMEOUT_SECONDS), **parse_url(url)}
    return {**said, "connection_class": class_of(url), "hearing": hearing}  # the URL's class would be redis-py's


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

"""What a diagnosis asks the store: plain commands, of which a managed store may refuse some."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Mapping
from functools import cache
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from qgjob_coordinator.policy.diagnosis.facts import Replica, SlowCall, StoreFacts
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.scripts import LUA, script

PINGS = 20
TIMES = 5
SLOW_CALLS = 32

T = TypeVar("T")


async def hearers(speaker: Redis) -> int | None:
    """How many coordinators hear hints, which go by the `speaker`; None where it does not tell. Raises RedisError."""
    heard = await _if_told(speaker.pubsub_numsub(keys.WAKE_CHANNEL))
    return None if heard is None else int(dict(heard).get(keys.WAKE_CHANNEL, 0))


async def look(redis: Redis) -> StoreFacts:
    """All that one server says of itself: not `coordinators`, nor whether it `fails_over`. Raises RedisError."""
    info: dict[str, Any] = await redis.info()
    ahead_ms, error_ms = await _clock(redis)
    fsync = await _if_told(redis.config_get("appendfsync"))
    wanted = await _if_told(redis.config_get("min-replicas-*"))
    slow = await _if_told(redis.slowlog_get(SLOW_CALLS))
    own = info.get("valkey_version")
    return StoreFacts(
        server="valkey" if own else str(info.get("server_name", "redis")),
        version=numbers(own or info["redis_version"]),
        compatible=numbers(info["redis_version"]),
        uptime_seconds=int(info.get("uptime_in_seconds", 0)),
        ping_ms=await _pings(redis),
        clock_ahead_ms=ahead_ms,
        clock_error_ms=error_ms,
        eviction=str(info.get("maxmemory_policy", "noeviction")),
        evicted_keys=int(info.get("evicted_keys", 0)),
        used_bytes=int(info.get("used_memory", 0)),
        max_bytes=int(info.get("maxmemory", 0)),
        machine_bytes=int(info.get("total_system_memory", 0)),
        clients=int(info.get("connected_clients", 0)),
        max_clients=int(info.get("maxclients", 0)),
        aof=bool(info.get("aof_enabled")),
        fsync=None if fsync is None else fsync.get("appendfsync"),
        aof_written=info.get("aof_last_write_status", "ok") == "ok",
        aof_rewritten=info.get("aof_last_bgrewrite_status", "ok") == "ok",
        aof_delayed=int(info.get("aof_delayed_fsync", 0)),
        snapshot_saved=info.get("rdb_last_bgsave_status", "ok") == "ok",
        primary=info.get("role", "master") == "master",
        replicas=_replicas(info),
        wanted_replicas=None if not wanted else _wanted(wanted),
        slow=None if slow is None else tuple(_slow(row) for row in slow),
        coordinators=None,
    )


async def _if_told(call: Awaitable[T]) -> T | None:
    """The answer to what managed stores refuse; None then."""
    try:
        return await call
    except ResponseError:
        return None


async def _pings(redis: Redis) -> tuple[float, ...]:
    """How long each of some PINGs took (ms), one after the other."""
    took = []
    for _ in range(PINGS):
        begun = time.perf_counter()
        await redis.ping()
        took.append((time.perf_counter() - begun) * 1000)
    return tuple(took)


async def _clock(redis: Redis) -> tuple[float, float]:
    """The store's clock less this machine's (ms), and how wrong that may be: by the quickest of some answers."""
    found = []
    for _ in range(TIMES):
        before = time.time()
        seconds, micros = await redis.time()
        after = time.time()
        found.append(((after - before) * 500, (seconds + micros / 1e6 - (before + after) / 2) * 1000))
    error_ms, ahead_ms = min(found, key=lambda pair: abs(pair[0]))
    return ahead_ms, abs(error_ms)


def numbers(version: object) -> tuple[int, ...]:
    """A version as numbers, as far as it is made of them."""
    return tuple(int(x) for x in re.findall(r"\d+", str(version))[:3])


def _replicas(info: dict[str, Any]) -> tuple[Replica, ...]:
    rows = (info.get(f"slave{i}") for i in range(int(info.get("connected_slaves", 0))))
    return tuple(Replica(r.get("state") == "online", int(r.get("lag", 0))) for r in rows if isinstance(r, dict))


def _wanted(told: Mapping[Any, Any]) -> int:
    """How many replicas have to keep up. Where they may be as late as they like there is no such rule."""
    return int(told.get("min-replicas-to-write", 0)) if int(told.get("min-replicas-max-lag", 0)) else 0


def _slow(row: dict[str, Any]) -> SlowCall:
    """An entry of the slow log without its arguments, which may be anybody's data."""
    raw = row["command"]
    words = (raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)).split()
    name = words[0].upper() if words else "a command"
    if name == "EVALSHA" and len(words) > 1:
        name = f"the script {_names().get(words[1], words[1])}"
    elif name == "EVAL":
        name = "a script"
    return SlowCall(name, row["duration"] / 1000, max(0.0, time.time() - row["start_time"]))


@cache
def _names() -> dict[str, str]:
    """The name of each script by its hash."""
    return {script(path.stem).sha: path.stem for path in LUA.glob("*.lua")}

"""All that a store has, to be compared."""

from __future__ import annotations

from typing import Any

from redis import Redis


def dump(raw: Redis, prefix: str = "") -> dict[str, Any]:
    """Every key that begins so, with its value; times to live run on."""
    readers = {
        "hash": raw.hgetall,
        "string": raw.get,
        "set": raw.smembers,
        "zset": lambda k: raw.zrange(k, 0, -1, withscores=True),
        "stream": raw.xrange,
        "list": lambda k: raw.lrange(k, 0, -1),
    }
    return {key: readers[str(raw.type(key))](key) for key in list(raw.keys(f"{prefix}*"))}

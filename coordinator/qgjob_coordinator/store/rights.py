"""What the user of REDIS_URL may do in the store: what a coordinator needs, and what a refusal means.

A user without rights can't ask for its own: ACL DRYRUN and ACL GETUSER are an administrator's. So what is needed is
tried, in a transaction that is discarded: the store looks at the rights for each command before it queues it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import (
    ConnectionError,  # noqa: A004 - redis's own
    NoPermissionError,
    RedisError,
    ResponseError,
)

from qgjob_coordinator.errors import StoreRightsError
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.exchange import Command, Reply

KEYS = "~qg:*"
CHANNELS = "&qg:*"
UNNAMED = "one for what a script runs"
HOLD_SECONDS = 5.0
"""So long nothing is asked for after a refusal that no try explains, as of the keys of one org alone."""

_COMMAND = re.compile(r"run the '([^']+)' command")
# Redis names no command where a script is refused one, and 7.0 has no word of its own in front of it.
_IN_SCRIPT = re.compile(r"The user executing the script can't|ACL failure in script")
MULTI, DISCARD = ("MULTI",), ("DISCARD",)
_NO_SCRIPT = "0" * 40

Send = Callable[[Sequence[Command]], Awaitable[list[Reply]]]


def missing(error: RedisError) -> str | None:
    """The rule of an ACL that would have allowed what was refused, as in `+hset`; None for an error of another kind."""
    text = str(error)
    within = _IN_SCRIPT.search(text) is not None
    if not isinstance(error, NoPermissionError) and not (within and isinstance(error, ResponseError)):
        return None
    command = _COMMAND.search(text)
    if command is not None:
        return f"+{command[1].lower()}"
    if "channel" in text:
        return CHANNELS
    return KEYS if "key" in text else UNNAMED


def tries(key: str) -> list[Command]:
    """All that a coordinator sends and its scripts run, once each, with as many arguments as each needs."""
    return [
        *((name, key) for name in ("DEL", "EXISTS", "GET", "MGET", "HGETALL", "HKEYS", "HLEN", "HRANDFIELD")),
        *((name, key) for name in ("LPOP", "SMEMBERS", "XLEN", "ZCARD")),
        *((name, key, "a") for name in ("HDEL", "HEXISTS", "HGET", "HMGET", "SADD", "SISMEMBER", "SREM", "RPUSH")),
        *((name, key, "a") for name in ("ZMSCORE", "ZREM", "ZSCORE")),
        *((name, key, "1") for name in ("SET", "MSET", "PEXPIRE", "HSCAN", "LINDEX")),
        *((name, key, "a", "1") for name in ("HSET", "HSETNX", "HINCRBY")),
        *(
            (name, key, "0", "1")
            for name in ("LRANGE", "ZADD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE")
        ),
        *((name, key, "-", "+") for name in ("XRANGE", "XREVRANGE")),
        ("XADD", key, "*", "a", "1"),
        ("EVAL", "return 1", 1, key),
        ("EVALSHA", _NO_SCRIPT, 1, key),
        ("INFO",),
        ("TIME",),
        ("PING",),
        # Where these are elsewhere a node of a Cluster says so, after it looked at the rights.
        *(("DEL", f"{prefix}none") for prefix in (keys.org("none"), keys.FLEET)),
    ]


async def lacking(send: Send, key: str) -> list[str]:
    """The rules of an ACL that the user lacks on one server, for what is tried there. Raises RedisError."""
    try:
        return await _lacking(send, key)
    except ConnectionError:
        return await _lacking(send, key)  # a connection that was idle may have ended with the store's life


async def _lacking(send: Send, key: str) -> list[str]:
    # Where there is no transaction all of it would be done.
    return _rules(await send([MULTI, DISCARD])) or _rules(await send([MULTI, *tries(key), DISCARD]))


def _rules(replies: Sequence[Reply]) -> list[str]:
    found = (missing(reply) for reply in replies if isinstance(reply, RedisError))
    return list(dict.fromkeys(rule for rule in found if rule is not None))


class Rights:
    """What is known of them: whether there is a doubt, and the last refusal that was met."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._met: tuple[float, StoreRightsError] | None = None
        self.doubted = True
        """Whether they have to be tried: at first, after a refusal, and in a new life of the store."""

    def refused(self, error: StoreRightsError) -> None:
        """A call met a refusal."""
        self._met = (self._now(), error)
        self.doubted = True

    def tried(self, found: Sequence[str]) -> None:
        """What a try of all found lacking. Raises StoreRightsError for that, or for a refusal of a moment ago."""
        if found:
            raise StoreRightsError(found)
        if self._met is not None and self._now() - self._met[0] < HOLD_SECONDS:
            raise self._met[1]
        self._met = None
        self.doubted = False

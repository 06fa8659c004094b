"""What the user of REDIS_URL may do in the store: what a coordinator needs, and what a refusal means.

A user without rights can't ask for its own: ACL DRYRUN and ACL GETUSER are an administrator's. So what is needed is
tried, on a key that is a string: the store looks at rights first, and then refuses what is not for strings.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import NoPermissionError, RedisError, ResponseError

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
    """All that a coordinator sends and its scripts run, once each. `key` ends as a string of 1 min, all else stays.

    The first write makes the key a string, and what is not for strings changes nothing.
    """
    none = f"{key}:none"
    return [
        ("SET", key, "1", "PX", 60_000),
        *((name, key) for name in ("GET", "EXISTS", "MGET")),
        *((name, key) for name in ("HGETALL", "HKEYS", "HLEN", "SMEMBERS", "ZCARD", "XLEN", "LPOP", "HRANDFIELD")),
        *((name, key, "a") for name in ("HDEL", "HEXISTS", "HGET", "HMGET", "SADD", "SREM", "ZREM", "ZSCORE")),
        ("ZMSCORE", key, "a"),
        ("RPUSH", key, "a"),
        ("HSET", key, "a", "1"),
        ("HINCRBY", key, "a", 1),
        ("HSCAN", key, 0),
        ("LINDEX", key, 0),
        ("LRANGE", key, 0, 0),
        ("ZRANGE", key, 0, 0),
        ("ZADD", key, 1, "a"),
        ("ZCOUNT", key, "-inf", "+inf"),
        ("ZRANGEBYSCORE", key, "-inf", "+inf"),
        ("ZREVRANGEBYSCORE", key, "+inf", "-inf"),
        ("XADD", key, "*", "a", "1"),
        ("XRANGE", key, "-", "+"),
        ("XREVRANGE", key, "+", "-"),
        ("SUNIONSTORE", none, key),
        ("EVAL", "return 1", 1, key),
        ("EVALSHA", _NO_SCRIPT, 1, key),
        ("INFO", "server"),
        ("TIME",),
        ("PING",),
        ("MSET", key, "1"),
        ("PEXPIRE", key, 60_000),
        # Where the keys of jobs and of the fleet are elsewhere a Cluster says so, after it looked at the rights.
        *(("DEL", f"{prefix}none") for prefix in (keys.org("none"), keys.FLEET)),
    ]


async def lacking(send: Send, key: str) -> list[str]:
    """The rules of an ACL that the user lacks on one server, for what is tried there. Raises RedisError."""
    replies = await send(tries(key))
    found = {rule: None for reply in replies if isinstance(reply, RedisError) and (rule := missing(reply)) is not None}
    return list(found)


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

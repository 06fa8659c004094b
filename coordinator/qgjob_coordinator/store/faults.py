"""Why the store can't be asked, in short words that callers and operators are told: no address, no secret."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator
from socket import gaierror

from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 - redis's own
    OutOfMemoryError,
    RedisError,
    TimeoutError,  # noqa: A004 - redis's own
)

# Redis 6.2 puts its own words before those of what a script ran into, later ones put them behind.
_SCRIPT_BEFORE = re.compile(r"^Error running script .*?: -(?=[A-Z]+ )")
_SCRIPT_BEHIND = re.compile(r"\.? script: [0-9a-f]+, on @\w+: ?\d+\.?$")
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH)


class NoServerError(ConnectionError):
    """The servers that were asked name none that serves. Nothing was sent; the text has no secret."""


def is_full(error: RedisError) -> bool:
    """Whether a server takes no more connections. It goes on answering on those that it has."""
    return isinstance(error, ConnectionError) and "max number of clients" in str(error)


def why_away(error: RedisError) -> str:
    """What keeps a connection from being made or from answering. What redis-py says of it names the host."""
    if isinstance(error, NoServerError):
        return str(error)
    if is_full(error):
        return "it takes no more connections, up to its maxclients"
    for cause in _causes(error):
        words = _words(cause)
        if words is not None:
            return words
    text = str(error)
    if isinstance(error, TimeoutError):
        return "no connection in time" if "connecting" in text else "no answer in time"
    return "connection closed" if "closed" in text else type(error).__name__


def why_refused(error: AuthenticationError) -> str:
    """What the store has against who asks. It says of a login that is missing what its protocol lacks."""
    text = str(error)
    if "Authentication required" in text or "already authenticated" in text:
        return "the store needs a password, and REDIS_URL has none"
    return f"the store refuses the credentials of REDIS_URL ({text})"


def own_words(error: RedisError) -> str:
    """What a server says, without what it adds of the script that ran into it."""
    return _SCRIPT_BEFORE.sub("", _SCRIPT_BEHIND.sub("", str(error)))


def why_it_refuses(error: RedisError) -> str:
    """Why a server that is there can't carry out what was sent."""
    text = own_words(error)
    if isinstance(error, OutOfMemoryError) or text.startswith("OOM "):
        return "its memory is full, up to its maxmemory"
    return text


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What led to an error, the nearest first."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _words(cause: BaseException) -> str | None:
    """What the system says, where it says what to look at."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "its certificate is not trusted"
    if isinstance(cause, ssl.SSLError):
        return "no TLS connection"
    if isinstance(cause, gaierror):
        return "name not known"
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, (ConnectionResetError, BrokenPipeError)):
        return "connection closed"
    if isinstance(cause, FileNotFoundError):
        return "no such socket"
    if isinstance(cause, PermissionError):
        return "its socket may not be used"
    if isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
        return "host unreachable"
    if isinstance(cause, OSError) and cause.errno == errno.ETIMEDOUT:
        return "no answer in time"  # the system gave the connection up
    return None

"""Why there is no server to send to, in words that callers and operators are told."""

from __future__ import annotations

from redis.exceptions import ConnectionError  # noqa: A004 - redis's own


class NoServerError(ConnectionError):
    """The servers that were asked name none that serves. Nothing was sent; the text has no secret."""

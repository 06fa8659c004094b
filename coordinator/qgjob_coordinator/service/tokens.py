"""Lease tokens: nonces, compared for equality only."""

from __future__ import annotations

import secrets


class Tokens:
    """Unique in the world: random for each process, then counted."""

    def __init__(self) -> None:
        self._prefix = secrets.token_urlsafe(9)
        self._count = 0

    def make(self) -> str:
        """A new token."""
        self._count += 1
        return f"{self._prefix}{self._count:x}"

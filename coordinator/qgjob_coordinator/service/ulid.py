"""ULIDs: 48 bits of time, 80 random bits, in Crockford's base 32 (the ULID specification)."""

from __future__ import annotations

import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def make(now: int) -> str:
    """A new ULID for `now` (ms)."""
    value = (now << 80) | secrets.randbits(80)
    return "".join(ALPHABET[(value >> shift) & 31] for shift in range(125, -5, -5))

"""ULIDs: 48 bits of time, 80 random bits, in Crockford's base 32 (the ULID specification)."""

from __future__ import annotations

import secrets
from base64 import b32encode
from functools import lru_cache

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CROCKFORD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ALPHABET)


def make(now: int) -> str:
    """A new ULID for `now` (ms)."""
    return _time_part(now) + b32encode(secrets.token_bytes(10)).decode().translate(_CROCKFORD)


@lru_cache(maxsize=16)
def _time_part(now: int) -> str:
    return "".join(ALPHABET[(now >> shift) & 31] for shift in range(45, -5, -5))

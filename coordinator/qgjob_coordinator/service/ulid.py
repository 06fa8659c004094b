"""ULIDs: 48 bits of time, 80 random bits, in Crockford's base 32 (the ULID specification, its monotonic form)."""

from __future__ import annotations

import secrets
from functools import lru_cache

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]
_SHIFTS = tuple(range(70, -10, -10))
_MASK = (1 << 80) - 1


class Ulids:
    """Makes ULIDs: random at first, then counted on within the process, so that ids made together sort together."""

    def __init__(self) -> None:
        self._random = secrets.randbits(80)
        self._now = 0

    def make(self, now: int) -> str:
        """A new ULID for `now` (ms)."""
        if now != self._now:
            self._now = now
            self._random = secrets.randbits(80)
        else:
            self._random = (self._random + 1) & _MASK
        value = self._random
        return _time_part(now) + "".join([_PAIRS[(value >> shift) & 1023] for shift in _SHIFTS])


@lru_cache(maxsize=16)
def _time_part(now: int) -> str:
    return "".join(ALPHABET[(now >> shift) & 31] for shift in range(45, -5, -5))


make = Ulids().make

"""ULIDs: 48 bits of time, 80 random bits, in Crockford's base 32 (the ULID specification, its monotonic form)."""

from __future__ import annotations

import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in ALPHABET for b in ALPHABET]


class Ulids:
    """Makes ULIDs: random at first, then counted on within the millisecond, so that ids made together sort together.

    The lower 40 random bits do the counting. Their highest is left 0 at first, so that they never run over.
    """

    def __init__(self) -> None:
        self._now = -1
        self._head = ""
        self._count = 0

    def make(self, now: int) -> str:
        """A new ULID for `now` (ms)."""
        if now != self._now:
            self._now = now
            high = now << 40 | secrets.randbits(40)
            self._head = "".join(ALPHABET[high >> shift & 31] for shift in range(85, -5, -5))
            self._count = secrets.randbits(39)
        else:
            self._count += 1
        n = self._count
        return f"{self._head}{_PAIRS[n >> 30]}{_PAIRS[n >> 20 & 1023]}{_PAIRS[n >> 10 & 1023]}{_PAIRS[n & 1023]}"


make = Ulids().make

"""Job ids made by the client, so that a repeated submission is the same job."""

from __future__ import annotations

import re
import secrets
import threading
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}~[0-7][0-9A-HJKMNP-TV-Z]{25}")
_RANDOM_BITS = 80
_COUNTING_BITS = 40
_PAIR_BITS = 10
_ULID_PAIRS = range(120, -1, -_PAIR_BITS)  # 130 bits in 26 characters, the two highest of which are 0


def encode_ulid(milliseconds: int, randomness: int) -> str:
    """26 characters of Crockford's base 32: 48 bits of time, 80 of randomness."""
    number = milliseconds << _RANDOM_BITS | randomness
    return "".join([_PAIRS[number >> shift & 1023] for shift in _ULID_PAIRS])


class UlidMaker:
    """ULIDs that grow within the process, so that a submitter's order is also the order of its ids."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._milliseconds = 0
        self._head = ""
        self._count = 0

    def __call__(self) -> str:
        """The next ULID. Within a millisecond, or when the clock went back, its last 40 bits are counted up."""
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._milliseconds:
                self._milliseconds = now
                # The highest of the bits that count stays free, so that they never run over.
                randomness = secrets.randbits(_RANDOM_BITS) & ~(1 << _COUNTING_BITS - 1)
                self._head = encode_ulid(now, randomness)[: -_COUNTING_BITS // 5]
                self._count = randomness & (1 << _COUNTING_BITS) - 1
            else:
                self._count += 1
            n = self._count
            return f"{self._head}{_PAIRS[n >> 30]}{_PAIRS[n >> 20 & 1023]}{_PAIRS[n >> 10 & 1023]}{_PAIRS[n & 1023]}"


make_ulid = UlidMaker()


def new_job_id(org_id: str) -> str:
    """A new id `<org_id>~<ULID>`."""
    return f"{org_id}~{make_ulid()}"


def is_job_id(text: str) -> bool:
    """Whether a coordinator would look for such a job; it refuses all others as invalid."""
    return _JOB_ID.fullmatch(text) is not None


def org_of(job_id: str) -> str:
    """The org of a job id. A malformed id is given back whole, for the coordinator to refuse."""
    return job_id.partition("~")[0]


def new_operation_id() -> str:
    """A new id by which a repeated call is known."""
    return secrets.token_hex(16)


def new_run_id() -> str:
    """A new id for a run that its submitter did not name."""
    return f"run-{make_ulid()}"

"""The small file by which a daemon tells its supervisors until when their trees may live.

One line: the time at which the last confirmed message was sent, the window and the grace in seconds, and a checksum.
It is written in place, so that a full disk can't keep it from being renewed; a torn read fails the checksum and is
read again. The standard library only: supervisors import this.
"""
# pathlib would cost each supervisor 5 ms of its start.
# ruff: noqa: PTH123

from __future__ import annotations

import os
import time
import zlib
from typing import NamedTuple

_WIDTH = 120
_TRIES = 3
_PAUSE_SECONDS = 0.002
"""The writing of a line takes microseconds. One that a reader takes for the last word of a daemon ends a test."""


class LeaseTime(NamedTuple):
    """Seconds of clock.py's clock. Trees are ended `window` after `confirmed_at`, with `grace` from TERM to KILL."""

    confirmed_at: float
    window: float
    grace: float

    @property
    def ends_at(self) -> float:
        """When the trees are to be ended."""
        return self.confirmed_at + self.window


class LeaseFile:
    """The writer's side. Errors: OSError where the file can't be made or written."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, lease: LeaseTime) -> None:
        """Replaces the content."""
        body = f"{lease.confirmed_at:.6f} {lease.window:.6f} {lease.grace:.6f}"
        line = f"{body} {zlib.crc32(body.encode()):08x}".ljust(_WIDTH - 1) + "\n"
        os.pwrite(self._fd, line.encode(), 0)

    def forget_later_than(self, now: float) -> None:
        """Takes away what an earlier boot left: its clock was another, and supervisors would wait for it for long."""
        found = read_lease(self._path)
        if found is not None and found.confirmed_at > now:
            self.write(LeaseTime(0.0, 0.0, 0.0))

    def close(self) -> None:
        """Ends the writing; the file stays for the supervisors."""
        os.close(self._fd)


def read_lease(path: str) -> LeaseTime | None:
    """What the daemon last wrote; None when there is nothing, or nothing whole."""
    for _ in range(_TRIES):
        try:
            with open(path, encoding="ascii") as file:
                parts = file.read(_WIDTH).split()
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            parts = []
        if len(parts) == 4 and f"{zlib.crc32(' '.join(parts[:3]).encode()):08x}" == parts[3]:
            return LeaseTime(float(parts[0]), float(parts[1]), float(parts[2]))
        time.sleep(_PAUSE_SECONDS)
    return None

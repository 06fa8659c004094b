"""By how much a process grew, at most: looked at all along, since what it gave back by the end would else not count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psutil

from tests.chaos import clock

LOOK_EVERY_SECONDS = 0.05
_MIB = 1024 * 1024


def resident(pid: int) -> int:
    """Bytes that the process has in memory. Raises psutil.NoSuchProcess."""
    return int(psutil.Process(pid).memory_info().rss)


def age(pid: int) -> float:
    """Seconds since the process was started. Raises psutil.NoSuchProcess."""
    return time.time() - float(psutil.Process(pid).create_time())


class Growth:
    """Since it was made. `ended`: the process is gone, and the looks before that are what is known of it.

    `look` gives the bytes, and raises psutil.NoSuchProcess; so does making it.
    """

    def __init__(self, look: Callable[[], int]) -> None:
        self._look = look
        self._before = self._most = look()
        self.ended = False

    @property
    def mib(self) -> float:
        """The most that any look saw, more than the first."""
        return (self._most - self._before) / _MIB

    def look(self) -> None:
        """Once more. Of a process that is gone it changes nothing but that."""
        try:
            self._most = max(self._most, self._look())
        except psutil.NoSuchProcess:
            self.ended = True

    async def watch(self, seconds: float) -> None:
        """Looks all along, for so long or until the process is gone."""
        until = clock.now() + seconds
        while not self.ended and (left := until - clock.now()) > 0:
            await asyncio.sleep(min(left, LOOK_EVERY_SECONDS))
            self.look()

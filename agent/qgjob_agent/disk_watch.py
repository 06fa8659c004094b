"""Looks at the agent's state directory and its disk every few seconds; the core decides what too little is."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.events import DiskMeasured, StateDirSeen

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.state_dir import StateDir

LOOK_SECONDS = 2.0

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})


def is_of_the_disk(error: OSError) -> bool:
    """Whether an error says that the disk takes no writes: it is full, over its quota, read-only or broken."""
    return error.errno in _OF_THE_DISK


_SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ESTALE})


def may_pass(error: OSError) -> bool:
    """Whether an error says nothing of the file itself: the disk, or what the host is short of, may be well again."""
    return is_of_the_disk(error) or error.errno in _SHORT


class DiskWatch:
    """Looks at one state directory."""

    def __init__(self, state_dir: StateDir, tell: Callable[[DiskMeasured | StateDirSeen], None], log: Any) -> None:
        self._state_dir = state_dir
        self._tell = tell
        self._log = log
        self._blind = False
        self._gone: str | None = None

    def look(self) -> None:
        """Tells whether the directory is gone, when that changes, and what is free where it is not.

        A disk that can't be measured is said once, and changes nothing.
        """
        gone, before = self._state_dir.gone(), self._gone
        if gone != before:
            self._gone = gone
            self._tell(StateDirSeen(gone))
        if gone is None:
            self._measure()

    def _measure(self) -> None:
        path = self._state_dir.path
        try:
            found = os.statvfs(path)
        except OSError as error:
            if not self._blind:
                self._log.warning("disk_not_measured", path=str(path), error=error.strerror)
            self._blind = True
            return
        self._blind = False
        inodes = found.f_favail if found.f_files else None
        self._tell(DiskMeasured(found.f_bavail * found.f_frsize, inodes))

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

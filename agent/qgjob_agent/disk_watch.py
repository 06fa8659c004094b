"""Looks at the disk of the agent's state every few seconds; the core decides what too little is."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.events import DiskMeasured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    """Looks at one folder's disk."""

    def __init__(self, path: Path, tell: Callable[[DiskMeasured], None], log: Any) -> None:
        self._path = path
        self._tell = tell
        self._log = log
        self._blind = False

    def look(self) -> None:
        """Tells what is free. A disk that can't be measured is said once, and changes nothing."""
        try:
            found = os.statvfs(self._path)
        except OSError as error:
            if not self._blind:
                self._log.warning("disk_not_measured", path=str(self._path), error=error.strerror)
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

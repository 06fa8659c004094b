"""A small file that appears at once and whole, also on a full disk. The standard library only.

Its blocks are taken before the start and filled at the end, and renaming needs no room.
"""

from __future__ import annotations

import os
import time

_BYTES = 4_096
_RETRY_SECONDS = 0.5


class ResultDraft:
    """The place kept for a result. Raises OSError where there is no room to begin with."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(self._fd, b" " * _BYTES, 0)
        except OSError:
            os.close(self._fd)
            raise

    def close(self) -> None:
        """Leaves the place to another process."""
        os.close(self._fd)

    def publish(self, path: str, content: str) -> None:
        """Fills the place and gives it its name. Tries for as long as the disk refuses: nobody else has the result."""
        whole = content.encode().ljust(_BYTES - 1) + b"\n"
        while True:
            try:
                os.pwrite(self._fd, whole, 0)
                os.fsync(self._fd)
                os.rename(self._path, path)  # noqa: PTH104 - pathlib would cost each supervisor 5 ms of its start
            except OSError:
                time.sleep(_RETRY_SECONDS)
            else:
                return

"""How a supervisor leaves its result: as a small file, or past a disk that takes none. The standard library only.

The file appears at once and whole, also on a full disk: its blocks are taken before the start and filled at the end,
and renaming needs no room. A disk that has turned read-only, or is broken, refuses even that. Then the result goes to
the daemon itself, by a named pipe that was made before the start: writing to one is no write to the disk. A daemon
holds its end of it from the start of an execution, or from when it finds one, until the supervisor has ended.
"""

from __future__ import annotations

import contextlib
import os

_BYTES = 4_096
_PIPE_BYTES = 65_536


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

    def publish(self, path: str, content: str) -> bool:
        """Fills the place and gives it its name. False where the disk refuses; it may be tried again."""
        whole = content.encode().ljust(_BYTES - 1) + b"\n"
        try:
            os.pwrite(self._fd, whole, 0)
            os.fsync(self._fd)
            os.rename(self._path, path)  # noqa: PTH104 - pathlib would cost each supervisor 5 ms of its start
        except OSError:
            return False
        return True


class ResultMouth:
    """The supervisor's end of the pipe, held from its begin on: a test may take away the folder that it is in."""

    def __init__(self, pipe: str) -> None:
        self._pipe = pipe
        self._fd = -1
        self._open()

    def _open(self) -> None:
        with contextlib.suppress(OSError):  # refused while nobody holds the other end
            self._fd = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def tell(self, content: str) -> bool:
        """Hands a result to the daemon. False where none listens; it may be tried again."""
        whole = content.encode()
        if self._fd < 0:
            self._open()
        try:
            return self._fd >= 0 and os.write(self._fd, whole) == len(whole)
        except OSError:  # whoever listened has ended, and another one has what is there of that name now
            os.close(self._fd)
            self._fd = -1
            return False


class ResultEar:
    """The daemon's end of the pipe. Without a pipe, which not every file system can have, it hears nothing."""

    def __init__(self, pipe: str) -> None:
        self._heard = b""
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def heard(self) -> str:
        """What was told so far; empty when nothing was."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # nothing new
                self._heard += os.read(self._fd, _PIPE_BYTES)
        return self._heard.decode(errors="replace")

    def close(self) -> None:
        """Listens no more; what was told until now stays."""
        if self._fd >= 0:
            self.heard()
            os.close(self._fd)
            self._fd = -1

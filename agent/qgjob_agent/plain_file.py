"""Reads files that lie within a test's reach: of a pipe or a device in place of one nobody waits for a word.

The standard library only: supervisors import this.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO


def opened(path: Path | str) -> BinaryIO:
    """A plain file, open to be read. Raises OSError for a link, a pipe, a device, and what can't be read."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is no plain file")
    return os.fdopen(fd, "rb")


def text_of(path: Path | str, most_bytes: int = 65_536) -> str:
    """What a plain file says, up to a bound. Raises OSError as `opened` does."""
    with opened(path) as file:
        return file.read(most_bytes).decode("utf-8", "replace")

"""Reads and writes files within a test's reach: no link is followed, and nobody waits for a pipe in place of one.

The standard library only: supervisors import this.
"""
# pathlib would cost each supervisor 5 ms of its start.
# ruff: noqa: PTH105

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO


class NoPlainFileError(OSError):
    """A link, a pipe, a device, a folder: no program of ours has put it there."""


def opened(path: Path | str) -> BinaryIO:
    """A plain file, open to be read. Raises NoPlainFileError for what is none, OSError for what can't be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise NoPlainFileError(error.errno, error.strerror, str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NoPlainFileError(f"{path} is no plain file")
    return os.fdopen(fd, "rb")


def is_withheld(error: OSError) -> bool:
    """Whether what can't be read may be there all the same: the disk, the rights or what the host is short of say no.

    That nothing of the name is there, or no plain file, is an answer.
    """
    return not isinstance(error, FileNotFoundError | NotADirectoryError | NoPlainFileError)


def text_of(path: Path | str, most_bytes: int = 65_536) -> str:
    """What a plain file says, up to a bound. Raises OSError as `opened` does."""
    with opened(path) as file:
        return file.read(most_bytes).decode("utf-8", "replace")


def created(path: Path | str) -> BinaryIO:
    """A new file, open to be written, in place of whatever had its name but a folder. Raises OSError."""
    return _created(path, None)


def _created(path: Path | str, folder: int | None) -> BinaryIO:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600, dir_fd=folder), "wb")


def put_text(path: Path | str, text: str) -> None:
    """Has a file that says this, whole or not at all. Raises OSError."""
    draft = f"{path}.draft"
    with created(draft) as file:
        file.write(text.encode())
    os.replace(draft, path)


def put_into(folder: Path, name: str, content: bytes) -> None:
    """Has a folder hold a file with this, whole or not at all. Raises OSError, for a link in the folder's place too."""
    draft = f".{name}.draft"
    there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with _created(draft, there) as file:
            file.write(content)
        os.replace(draft, name, src_dir_fd=there, dst_dir_fd=there)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=there)
        raise
    finally:
        os.close(there)

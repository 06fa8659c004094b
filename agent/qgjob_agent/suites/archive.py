"""The archive of a suite: tar (POSIX, uncompressed) of files alone, each once, in the order of their paths.

Nobody vouches for what was pushed or fetched. So it is read here, and not by a library that knows links, devices,
sparse files and a dozen extensions: what is not needed is refused, and nothing is larger unpacked than it came.
Coordinator and agent have each a copy of this module, since they share no code; a test holds them equal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_FILES = 50_000
MAX_FOLDERS = 50_000
"""Those that files lie in: a path of a thousand bytes may name hundreds."""
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
"""Of each name in a path: what Linux takes. A Mac counts characters, so its names may be longer."""
LEFT_OUT = frozenset({".git", "node_modules"})
"""Folders that are in no suite: what npm installs is installed where the suite is run."""

BLOCK = 512
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\]")
_FILE = (b"0", b"\0")
_PAX = b"x"
_MAX_PAX_BYTES = 4 * MAX_PATH_BYTES
_MAGIC = b"ustar\x0000"
_OTHERS = {
    b"1": "a link",
    b"2": "a link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder of its own",
    b"6": "a pipe",
    b"S": "a sparse file",
}


class ArchiveError(Exception):
    """It is no archive of a suite. The message goes on after its name."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file: its path with `/`, where its bytes are in the archive, and whether it is to be executable."""

    path: str
    offset: int
    size: int
    executable: bool


def members(file: BinaryIO, size: int) -> Iterator[Member]:
    """The files of an archive of `size` bytes, which stands at its beginning. Raises ArchiveError, OSError."""
    known = _Known()
    at, pax = 0, None
    while True:
        header = _read(file, at, BLOCK, size)
        if not any(header):
            if pax is not None or not known.files:
                raise ArchiveError("has no file in it")
            return
        _check(header)
        length, kind = _number(header[124:136]), header[156:157]
        body = at + BLOCK
        at = body + -(-length // BLOCK) * BLOCK
        if at > size:
            raise ArchiveError("ends in the middle of a file")
        if kind == _PAX and pax is None:
            if length > _MAX_PAX_BYTES:
                raise ArchiveError(f"has a path of more than {MAX_PATH_BYTES} bytes")
            pax = _path_of_pax(_read(file, body, length, size))
        elif kind in _FILE:
            path = pax or _path_of_header(header)
            pax = None
            known.take(path)
            yield Member(path, body, length, bool(_number(header[100:108]) & 0o100))
        else:
            raise ArchiveError(f"holds {_OTHERS.get(kind, 'something')} which is no file: a suite has files alone")


class _Known:
    """The paths that came."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self._folders: set[str] = set()

    def take(self, path: str) -> None:
        shown = ascii(path) if len(path) <= 200 else ascii(path[:200]) + "..."
        parts = path.split("/")
        if _UNFIT.search(path) or len(path.encode()) > MAX_PATH_BYTES:
            raise ArchiveError(f"has a file {shown}, whose path is no path of a suite")
        if any(part in {"", ".", ".."} for part in parts):
            raise ArchiveError(f"has a file {shown}, which would lie outside of the suite's folder")
        long = next((part for part in parts if len(part.encode()) > MAX_NAME_BYTES), None)
        if long is not None:
            raise ArchiveError(f"has a file {shown}, with a name of more than {MAX_NAME_BYTES} bytes; shorten it")
        if not LEFT_OUT.isdisjoint(parts):
            raise ArchiveError(f"has a file {shown}; leave {' and '.join(sorted(LEFT_OUT))} out")
        if path in self.files or path in self._folders or not self._lies(path):
            raise ArchiveError(f"has {shown} twice")
        self.files.add(path)
        for count, most, what in ((len(self.files), MAX_FILES, "files"), (len(self._folders), MAX_FOLDERS, "folders")):
            if count > most:
                raise ArchiveError(f"has more than {most} {what}; name the tests' folder, or have git ignore the rest")

    def _lies(self, path: str) -> bool:
        """Notes the folders of a path; False where one of them is a file. Those above a known one are known."""
        folder = path.rpartition("/")[0]
        while folder and folder not in self._folders:
            if folder in self.files:
                return False
            self._folders.add(folder)
            folder = folder.rpartition("/")[0]
        return True


def _read(file: BinaryIO, at: int, length: int, size: int) -> bytes:
    if at + length > size:
        raise ArchiveError("ends without an end: it was cut, or is no tar archive")
    file.seek(at)
    found = file.read(length)
    if len(found) != length:
        raise ArchiveError("ends without an end: it was cut, or is no tar archive")
    return found


def _check(header: bytes) -> None:
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if header[257:265] != _MAGIC or _number(header[148:156]) != total:
        raise ArchiveError("is no tar archive of the kind that `qgjob suites push` makes")


def _number(field: bytes) -> int:
    digits = field.rstrip(b"\0 ")
    if not digits or not all(digit in b"01234567" for digit in digits):
        raise ArchiveError("is no tar archive of the kind that `qgjob suites push` makes")
    return int(digits, 8)


def _path_of_header(header: bytes) -> str:
    name, prefix = header[:100].rstrip(b"\0"), header[345:500].rstrip(b"\0")
    return _text(prefix + b"/" + name if prefix else name)


def _path_of_pax(records: bytes) -> str | None:
    """The path in `<length> path=<value>\\n`; None where there is no such record."""
    found = None
    while records:
        digits, _, _ = records.partition(b" ")
        if not digits.isdigit() or not len(digits) + 2 <= int(digits) <= len(records):
            raise ArchiveError("has a damaged header")
        record, records = records[len(digits) + 1 : int(digits)], records[int(digits) :]
        key, _, value = record.rstrip(b"\n").partition(b"=")
        if key != b"path":
            raise ArchiveError(f"has a header {_text(key)[:40]!a}; a suite's has paths alone")
        found = _text(value)
    return found


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ArchiveError(f"has a file {data[:200]!r}, whose name is no UTF-8") from None

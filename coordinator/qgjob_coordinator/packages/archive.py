"""Reads single members of zip archives, with bounds on all that a file may claim.

`zipfile` makes an object for every member before it is asked for any, and reads a directory of any size at once: a file
of a few MB can so take hundreds of MB. Here only what is looked for is kept.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from qgjob_coordinator.packages.errors import PackageError

MAX_MEMBERS = 500_000
MAX_DIRECTORY_BYTES = 64 * 1024 * 1024
MAX_FOUND = 16
"""Of what is looked for there is one; a few more are kept for the message."""

_PIECE = 64 * 1024
_END = struct.Struct("<4s4H2LH")
_END_MARK = b"PK\x05\x06"
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_MARK = b"PK\x06\x06"
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_MARK = b"PK\x06\x07"
_MEMBER = struct.Struct("<4s6H3L5H2L")
_MEMBER_MARK = b"PK\x01\x02"
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_MARK = b"PK\x03\x04"
_MAX_COMMENT = 0xFFFF
_IN_ZIP64 = 0xFFFFFFFF
_MANY_IN_ZIP64 = 0xFFFF
_ENCRYPTED = 0x1
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive, as the archive's directory has it. `mode` is that of Unix, 0 where it says none."""

    name: str
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    offset: int
    mode: int

    @property
    def shown(self) -> str:
        """Its name as it can be told: nobody vouches for what is in it."""
        return ascii(self.name)[1:-1][:100]


class Archive:
    """A zip archive in `file`, which can seek, with `count` members by its own word.

    Every method raises PackageError for what is broken or beyond bounds.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        self._begin, self._length, self.count = self._directory()

    def find(self, wanted: Callable[[str], bool]) -> list[Member]:
        """Members whose name is wanted, the first few of them. Reads the whole directory, in pieces."""
        found: list[Member] = []
        for member in self.members():
            if wanted(member.name):
                found.append(member)
                if len(found) >= MAX_FOUND:
                    break
        return found

    def read(self, member: Member, most: int) -> bytes:
        """The content of a member of at most so many bytes."""
        if member.flags & _ENCRYPTED:
            raise PackageError(f"has {member.shown} encrypted")
        if member.size_bytes > most:
            raise PackageError(f"has a {member.shown} of {member.size_bytes} bytes; at most {most} are read")
        head = self._at(member.offset, _LOCAL.size, member.shown)
        mark, *_, name_bytes, extra_bytes = _LOCAL.unpack(head)
        if mark != _LOCAL_MARK:
            raise PackageError(f"is broken: {member.shown} does not begin where the directory says")
        begin = member.offset + _LOCAL.size + name_bytes + extra_bytes
        if member.method == _STORED:
            if member.packed_bytes != member.size_bytes:
                raise PackageError(f"is broken: {member.shown} has two sizes")
            content = self._at(begin, member.size_bytes, member.shown)
        elif member.method == _DEFLATED:
            content = self._inflate(begin, member)
        else:
            raise PackageError(f"has {member.shown} packed by a method that is not known here ({member.method})")
        if zlib.crc32(content) != member.crc:
            raise PackageError(f"is broken: the check sum of {member.shown} is wrong")
        return content

    def _inflate(self, begin: int, member: Member) -> bytes:
        unpack, content = zlib.decompressobj(-zlib.MAX_WBITS), bytearray()
        left = member.packed_bytes
        try:
            while left > 0 and not unpack.eof:
                piece = self._at(begin, min(left, _PIECE), member.shown)
                begin, left = begin + len(piece), left - len(piece)
                while piece and len(content) <= member.size_bytes:
                    content += unpack.decompress(piece, member.size_bytes + 1 - len(content))
                    piece = unpack.unconsumed_tail
                if len(content) > member.size_bytes:
                    break
        except zlib.error as e:
            raise PackageError(f"is broken: {member.shown} can't be unpacked ({e})") from None
        if len(content) != member.size_bytes:
            raise PackageError(f"is broken: {member.shown} is not as large as the directory says")
        return bytes(content)

    def members(self) -> Iterator[Member]:
        """All of them, in the order of the directory, which is read in pieces. Others may be read meanwhile."""
        buffer, at, begin, left = b"", 0, self._begin, self._length
        for _ in range(self.count):
            while len(buffer) - at < _MEMBER.size + 3 * _MAX_COMMENT and left > 0:
                piece = self._at(begin, min(left, 4 * _PIECE), "its directory")
                buffer, at = buffer[at:] + piece, 0
                begin, left = begin + len(piece), left - len(piece)
            member, at = _member(buffer, at)
            yield member

    def _directory(self) -> tuple[int, int, int]:
        """Where the directory begins, its length, and how many members it has."""
        tail_bytes = min(self._size, _END.size + _MAX_COMMENT)
        tail = self._at(self._size - tail_bytes, tail_bytes, "its end")
        place = tail.rfind(_END_MARK)
        if place < 0 or len(tail) - place < _END.size:
            raise PackageError("is no zip archive, or is cut off: its directory is missing")
        _, _, _, _, count, length, begin, _ = _END.unpack_from(tail, place)
        if _IN_ZIP64 in (length, begin) or count == _MANY_IN_ZIP64:
            begin, length, count = self._directory64(self._size - tail_bytes + place) or (begin, length, count)
        if count > MAX_MEMBERS:
            raise PackageError(f"has {count} members; at most {MAX_MEMBERS} are read")
        if length > MAX_DIRECTORY_BYTES:
            raise PackageError(f"has a directory of {length} bytes; at most {MAX_DIRECTORY_BYTES} are read")
        return begin, length, count

    def _directory64(self, end: int) -> tuple[int, int, int] | None:
        if end < _LOCATOR.size:
            return None
        mark, _, place, _ = _LOCATOR.unpack(self._at(end - _LOCATOR.size, _LOCATOR.size, "its end"))
        if mark != _LOCATOR_MARK:
            return None
        mark, _, _, _, _, _, _, count, length, begin = _END64.unpack(self._at(place, _END64.size, "its end"))
        if mark != _END64_MARK:
            raise PackageError("is broken: the directory is not where its end says")
        return begin, length, count

    def _at(self, offset: int, count: int, what: str) -> bytes:
        """Exactly so many bytes."""
        if offset < 0 or offset + count > self._size:
            raise PackageError(f"is broken or cut off: {what} lies beyond its end")
        self._file.seek(offset)
        data = self._file.read(count)
        if len(data) != count:
            raise PackageError(f"is broken or cut off: {what} lies beyond its end")
        return data


def _member(buffer: bytes, at: int) -> tuple[Member, int]:
    """The member whose entry begins at `at`, and where the next one does."""
    if len(buffer) - at < _MEMBER.size:
        raise PackageError("is broken: its directory ends too early")
    (
        mark, _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes, comment_bytes, _, _, attrs, offset,
    ) = _MEMBER.unpack_from(buffer, at)  # fmt: skip
    end = at + _MEMBER.size + name_bytes + extra_bytes + comment_bytes
    if mark != _MEMBER_MARK or end > len(buffer):
        raise PackageError("is broken: an entry of its directory is damaged")
    name = buffer[at + _MEMBER.size : at + _MEMBER.size + name_bytes].decode("utf-8", "replace")
    return Member(name.removeprefix("./"), flags, method, crc, packed, size, offset, attrs >> 16), end

"""The package that an .apk says it is: in the root element of the compiled manifest in its archive.

A manifest is a sequence of chunks: a pool with all texts, then elements that name texts by their place in the pool.
Nobody vouches for the file, so all that is read of it has bounds.
"""

from __future__ import annotations

import struct
import zipfile
from typing import TYPE_CHECKING

from qgjob_agent.devices.archives import UNREADABLE

if TYPE_CHECKING:
    from pathlib import Path

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_NAME = "AndroidManifest.xml"
_XML, _STRINGS, _ELEMENT = 0x0003, 0x0001, 0x0102
_UTF8 = 0x100
_TEXT = 0x03
_NONE = 0xFFFFFFFF
_CHUNK = struct.Struct("<HHL")
_POOL = struct.Struct("<HHL5L")
_NUMBER = struct.Struct("<L")
_START = struct.Struct("<LL6H")  # of an element, behind line number and comment
_ATTRIBUTE = struct.Struct("<LLLHBBL")
_MAX_ATTRIBUTES = 1000
_MAX_CHUNKS = 1000


class ApkError(Exception):
    """The file does not tell its package. Says what is wrong with it."""


def package_of(path: Path) -> str:
    """The package of an .apk, as it says itself: any text. Errors: ApkError, OSError."""
    try:
        with zipfile.ZipFile(path) as archive:
            found = [each for each in archive.infolist() if each.filename == _NAME]
            if len(found) != 1:
                raise ApkError(f"has {len(found)} files {_NAME}, and one was expected")
            with archive.open(found[0]) as file:
                data = file.read(MAX_MANIFEST_BYTES + 1)
    except UNREADABLE as error:
        raise ApkError(f"is no .apk that can be read: {error}") from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise ApkError(f"has an {_NAME} of more than {MAX_MANIFEST_BYTES} bytes")
    try:
        return _package_in(data)
    except (struct.error, IndexError) as error:
        raise ApkError(f"has a broken {_NAME}: it is cut off, or points beyond its end") from error


def _package_in(data: bytes) -> str:
    kind, at, size = _CHUNK.unpack_from(data, 0)
    if kind != _XML or size > len(data):
        raise ApkError(f"has an {_NAME} that is no compiled XML")
    texts = None
    for _ in range(_MAX_CHUNKS):
        kind, head, size = _CHUNK.unpack_from(data, at)
        if size < _CHUNK.size or head > size or at + size > len(data):
            raise ApkError(f"has a broken {_NAME}: a part of it is larger than the whole")
        chunk = data[at : at + size]
        if kind == _STRINGS:
            texts = _Texts(chunk)
        elif kind == _ELEMENT and texts is not None:
            return _package_of_root(chunk[head:], texts)
        at += size
    raise ApkError(f"has a broken {_NAME}: it has no element")


def _package_of_root(body: bytes, texts: _Texts) -> str:
    _, name, first, size, count, *_ = _START.unpack_from(body, 0)
    if texts[name] != "manifest" or count > _MAX_ATTRIBUTES or size < _ATTRIBUTE.size:
        raise ApkError(f"has an {_NAME} whose first element is no manifest")
    for number in range(count):
        namespace, key, raw, _, _, kind, value = _ATTRIBUTE.unpack_from(body, first + number * size)
        if namespace == _NONE and texts[key] == "package":
            return texts[value if kind == _TEXT else raw]
    raise ApkError(f"does not say what it is: its {_NAME} has no package")


class _Texts:
    """The pool of texts, each decoded when it is asked for."""

    def __init__(self, chunk: bytes) -> None:
        _, self._head, _, self._count, _, flags, self._begin, _ = _POOL.unpack_from(chunk, 0)
        self._utf8 = bool(flags & _UTF8)
        self._chunk = chunk

    def __getitem__(self, index: int) -> str:
        if index >= self._count:
            raise IndexError(index)
        (offset,) = _NUMBER.unpack_from(self._chunk, self._head + index * _NUMBER.size)
        at = self._begin + offset
        if self._utf8:
            _, at = self._length(at, 1)  # in UTF-16 units, which nobody needs
            length, at = self._length(at, 1)
            return self._bytes(at, length).decode("utf-8", "replace")
        length, at = self._length(at, 2)
        return self._bytes(at, 2 * length).decode("utf-16-le", "replace")

    def _length(self, at: int, width: int) -> tuple[int, int]:
        """A length in one unit of `width` bytes, or in two where the highest bit of the first is set."""
        high = 1 << (8 * width - 1)
        value = int.from_bytes(self._bytes(at, width), "little")
        if not value & high:
            return value, at + width
        low = int.from_bytes(self._bytes(at + width, width), "little")
        return ((value & (high - 1)) << (8 * width)) | low, at + 2 * width

    def _bytes(self, at: int, count: int) -> bytes:
        found = self._chunk[at : at + count]
        if len(found) != count:
            raise IndexError(at)
        return found

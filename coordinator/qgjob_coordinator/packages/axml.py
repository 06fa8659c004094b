"""The root element of a compiled Android manifest, as it lies in an .apk.

The file is a sequence of chunks: a pool with all texts, a map from the names of attributes to resource numbers, then
elements that name texts by their place in the pool. Only the root element is read.
"""

from __future__ import annotations

import struct

from qgjob_coordinator.packages.errors import PackageError

VERSION_CODE = 0x0101021B
VERSION_NAME = 0x0101021C
"""Resource numbers of the attributes: a shrinker may take the names away, and Android goes by the numbers."""

_XML, _STRINGS, _RESOURCES, _ELEMENT = 0x0003, 0x0001, 0x0180, 0x0102
_UTF8 = 0x100
_TEXT, _DECIMAL, _HEXADECIMAL = 0x03, 0x10, 0x11
_NONE = 0xFFFFFFFF
_CHUNK = struct.Struct("<HHL")
_POOL = struct.Struct("<HHL5L")
_NUMBER = struct.Struct("<L")
_START = struct.Struct("<LL6H")  # of an element, behind line number and comment
_ATTRIBUTE = struct.Struct("<LLLHBBL")
_MAX_ATTRIBUTES = 1000
_MAX_CHUNKS = 1000


def root_attributes(data: bytes) -> dict[str | int, str]:
    """Attributes of the `manifest` element, by name and, where they have one, by resource number too.

    A value that is neither a text nor a whole number, such as a reference, is left out. Raises PackageError.
    """
    try:
        return _root(data)
    except (struct.error, IndexError) as e:
        raise PackageError("has a broken AndroidManifest.xml: it is cut off, or points beyond its end") from e


def _root(data: bytes) -> dict[str | int, str]:
    kind, head, size = _CHUNK.unpack_from(data, 0)
    if kind != _XML or size > len(data):
        raise PackageError("has an AndroidManifest.xml that is no compiled XML")
    at, texts, resources = head, None, b""
    for _ in range(_MAX_CHUNKS):
        kind, head, size = _CHUNK.unpack_from(data, at)
        if size < _CHUNK.size or head > size or at + size > len(data):
            raise PackageError("has a broken AndroidManifest.xml: a part of it is larger than the whole")
        chunk = data[at : at + size]
        if kind == _STRINGS:
            texts = _Texts(chunk)
        elif kind == _RESOURCES:
            resources = chunk[head:]
        elif kind == _ELEMENT:
            if texts is None:
                break
            return _attributes(chunk[head:], texts, resources)
        at += size
    raise PackageError("has a broken AndroidManifest.xml: it has no element")


def _attributes(body: bytes, texts: _Texts, resources: bytes) -> dict[str | int, str]:
    _, name, first, size, count, *_ = _START.unpack_from(body, 0)
    if texts[name] != "manifest":
        raise PackageError("has an AndroidManifest.xml whose first element is not manifest")
    if count > _MAX_ATTRIBUTES or size < _ATTRIBUTE.size:
        raise PackageError("has a broken AndroidManifest.xml: its first element has impossible attributes")
    found: dict[str | int, str] = {}
    for i in range(count):
        _, key, raw, _, _, kind, number = _ATTRIBUTE.unpack_from(body, first + i * size)
        if kind == _TEXT:
            value = texts[number]
        elif kind in (_DECIMAL, _HEXADECIMAL):
            value = str(number)
        elif raw != _NONE and kind == 0:
            value = texts[raw]
        else:
            continue
        if (key + 1) * _NUMBER.size <= len(resources):
            found.setdefault(_NUMBER.unpack_from(resources, key * _NUMBER.size)[0], value)
        else:
            found.setdefault(texts[key], value)
    return found


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

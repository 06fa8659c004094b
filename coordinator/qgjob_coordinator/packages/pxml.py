"""The root element of an Android manifest as it lies in an .aab: a protobuf message that aapt2 defines.

Of its fields these are read. XmlNode: element 1. XmlElement: name 3, attribute 4. XmlAttribute: name 2, value 3,
resource number 5, compiled value 6. Item: text 2, primitive 7. Primitive: decimal 6, hexadecimal 7.
"""

from __future__ import annotations

from collections.abc import Iterator

from qgjob_coordinator.packages.errors import PackageError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_MAX_ATTRIBUTES = 1000

Value = int | bytes


def root_attributes(data: bytes) -> dict[str | int, str]:
    """Attributes of the `manifest` element, by name and, where they have one, by resource number too.

    A value that is neither a text nor a whole number, such as a reference, is left out. Raises PackageError.
    """
    element = _first(data, 1)
    if not isinstance(element, bytes) or _text(_first(element, 3)) != "manifest":
        raise PackageError("has an AndroidManifest.xml whose first element is not manifest")
    found: dict[str | int, str] = {}
    attributes = (value for number, value in _fields(element) if number == 4 and isinstance(value, bytes))
    for i, attribute in enumerate(attributes):
        if i == _MAX_ATTRIBUTES:
            raise PackageError("has a broken AndroidManifest.xml: its first element has impossible attributes")
        fields = dict(_fields(attribute))
        value = _text(fields.get(3)) or _compiled(fields.get(6))
        if value is None:
            continue
        number = fields.get(5)
        found.setdefault(number if isinstance(number, int) and number else _text(fields.get(2)) or "", value)
    return found


def _compiled(item: Value | None) -> str | None:
    if not isinstance(item, bytes):
        return None
    text, primitive = _first(item, 2), _first(item, 7)
    if isinstance(text, bytes):
        return _text(_first(text, 1))
    if isinstance(primitive, bytes):
        numbers = [value for number, value in _fields(primitive) if number in (6, 7) and isinstance(value, int)]
        return str(numbers[0] & 0xFFFFFFFF) if numbers else None
    return None


def _text(value: Value | None) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None


def _first(message: bytes, wanted: int) -> Value | None:
    return next((value for number, value in _fields(message) if number == wanted), None)


def _fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field: a number, or the bytes of a text or a message. Others are passed over."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
        elif kind == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise _broken()
            yield number, message[at : at + length]
            at += length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise _broken()


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(_MAX_VARINT_BYTES):
        if at + i >= len(message):
            break
        byte = message[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise _broken()


def _broken() -> PackageError:
    return PackageError("has a broken AndroidManifest.xml: it is no message of aapt2")

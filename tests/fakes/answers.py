"""Whether a call over gRPC was answered, by the bytes that its server sent."""

from __future__ import annotations

_HEAD = 9
_HEADERS = 1
_END_STREAM = 1


def answered(sent: bytes) -> bool:
    """Whether a call came to its end in these frames of HTTP/2, of which the first is whole.

    What else a server sends meanwhile, such as pings, is no answer; a call ends with headers that end its stream.
    """
    at = 0
    while at + _HEAD <= len(sent):
        length, kind, flags = int.from_bytes(sent[at : at + 3]), sent[at + 3], sent[at + 4]
        at += _HEAD + length
        if kind == _HEADERS and flags & _END_STREAM and at <= len(sent):
            return True
    return False

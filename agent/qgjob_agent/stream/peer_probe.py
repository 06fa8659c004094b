"""Whether what listens at an address could be a coordinator. gRPC's own words do not tell a wrong port from no one."""

from __future__ import annotations

import asyncio
import contextlib

PROBE_SECONDS = 1.0
# How a connection of HTTP/2 begins (RFC 9113, 3.4): the preface, and a SETTINGS frame, here one that sets nothing.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_FRAME_HEADER_BYTES = 9
_TYPE = 3
_SETTINGS = 4


async def speaks_http2(address: str) -> bool | None:
    """Whether the peer at host:port answers as HTTP/2 does, on which gRPC rests; None if it says nothing."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                heard = await hear(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, ValueError):
        return None
    return is_http2(heard) if heard else None


async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Begins to speak HTTP/2: the first bytes of the answer, fewer than a frame's header if it ends. Raises OSError."""
    writer.write(_PREFACE)
    heard = b""
    try:
        while len(heard) < _FRAME_HEADER_BYTES and (more := await reader.read(_FRAME_HEADER_BYTES - len(heard))):
            heard += more
    except ConnectionError:
        if not heard:  # who does not understand may hang up with an error after its answer
            raise
    return heard


def is_http2(heard: bytes) -> bool:
    """Whether the first bytes of a peer are the frame with which HTTP/2 begins."""
    return len(heard) == _FRAME_HEADER_BYTES and heard[_TYPE] == _SETTINGS

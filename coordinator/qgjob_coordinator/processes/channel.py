"""What parent and child say to each other: one JSON object a line, over a socket pair that only they have.

| who | says | when |
|---|---|---|
| child | `beat`, with `ready` and `counts` | its event loop runs; also at once when it serves, or was told to |
| child | `ask`, with `id` and `counts` | somebody wants to know what all have counted |
| parent | `tell` | a child asked: the others answer with a `beat` |
| parent | `sum`, with `id` and `counts` | the answer to `ask` |

The end of the stream means that the other side is gone.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

MESSAGE_MOST = 4 * 1024 * 1024
UNREAD_MOST = 1024 * 1024
"""Bytes that may wait for a side that does not read: what comes then is left out, since later messages say it again."""


class Channel:
    """One side of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def of(cls, sock: socket.socket) -> Channel:
        """Takes the socket over."""
        return cls(*await asyncio.open_connection(sock=sock, limit=MESSAGE_MOST))

    def send(self, say: str, **values: object) -> None:
        """Sends soon, and never waits."""
        if not self._writer.is_closing() and self._writer.transport.get_write_buffer_size() < UNREAD_MOST:
            self._writer.write(json.dumps({"say": say} | values, separators=(",", ":")).encode() + b"\n")

    async def messages(self) -> AsyncIterator[Mapping[str, Any]]:
        """What comes in, until the other side is gone; a last line that was cut off with it is none."""
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield json.loads(line)

    async def close(self, seconds: float) -> None:
        """Sends what waits, for so long, and closes."""
        self._writer.close()
        try:
            async with asyncio.timeout(seconds):
                await self._writer.wait_closed()
        except (TimeoutError, ConnectionError):
            self._writer.transport.abort()

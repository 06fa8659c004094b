"""A way to a store that forgets connections, as a firewall does it: it says nothing of that."""

from __future__ import annotations

import asyncio
from contextlib import suppress

PIECE = 1 << 16


class ForgetfulWay:
    """Passes on what comes at `port`. After `forget` nothing passes on the connections there were; new ones work."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.port = 0
        self.made = 0

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def forget(self) -> None:
        """Nobody hears of it: connections stay open, and what is sent on them is read by nobody."""
        passing, self._passing = self._passing, set()
        for task in passing:
            task.cancel()

    async def stop(self) -> None:
        """Ends all connections."""
        assert self._server is not None
        self._server.close()
        self.forget()
        for writer in self._writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
        self._writers += (writer, back)
        for source, sink in ((reader, back), (there, writer)):
            self._passing.add(asyncio.create_task(_pass(source, sink)))


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(PIECE):
            sink.write(piece)
            await sink.drain()
    sink.close()

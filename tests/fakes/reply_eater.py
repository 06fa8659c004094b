"""A TCP proxy between a client and a server that can lose replies: a call has its effect, and nobody hears so."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from tests.fakes.answers import answered

_CHUNK = 65_536


class ReplyEater:
    """`async with ReplyEater(port) as proxy:` listens on `proxy.port`. `eaten` is what did not come back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._eating = False
        self._let_by = 0
        self._passed = b""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.eaten = b""
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def eat(self, *, but_for: int = 0) -> None:
        """From now on nothing comes back, but for what comes until so many calls of gRPC are answered."""
        self._eating = True
        self._let_by, self._passed = but_for, b""

    def cut(self) -> None:
        """Breaks all connections; new ones are whole again."""
        self._eating = False
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers |= {writer, there_writer}
            await asyncio.gather(self._pump(reader, there_writer), self._pump(there_reader, writer, reply=True))
        finally:
            self._tasks.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, reply: bool = False) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_CHUNK):
                if reply and self._eats(data):
                    continue
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        sink.close()

    def _eats(self, data: bytes) -> bool:
        if not self._eating:
            return False
        if self._let_by:
            self._passed += data
            if answered(self._passed):
                self._let_by, self._passed = self._let_by - 1, b""
            return False
        self.eaten += data
        return True

"""A TCP link that can be made bad: what goes through it waits, is late, is lost, or comes twice.

TCP hides most of what a network does wrong: what a partition holds back is sent again and arrives when the partition is
over, late but whole. So a link *holds* a direction (everything in it comes afterwards), *delays* it, or *eats* it; what
was eaten can't come back, so the connections that lost something break when the eating ends. A link to a store can also
send each script twice (see repeats.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol, Self

_CHUNK = 65_536


class Repeats(Protocol):
    """What a link of a protocol that it understands does to the bytes of one connection."""

    def up(self, data: bytes, *, twice: bool) -> bytes:
        """What goes on to the server."""

    def down(self, data: bytes) -> bytes:
        """What goes on to the client."""


class Way:
    """One direction. `open` is set while bytes may pass."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.delay_seconds = 0.0
        self.eating = False
        self.eaten = 0


class Link:
    """`async with Link() as link: link.to(port)` listens on `link.port`, on the loopback interface."""

    def __init__(self, repeats: type[Repeats] | None = None, host: str = "127.0.0.1") -> None:
        self.up, self.down = Way(), Way()
        self.port = 0
        self.twice = False
        self._host = host
        self._target = 0
        self._repeats = repeats
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        self._lossy: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.heal()
        self.cut()
        tasks = [*self._pairs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    def to(self, port: int) -> None:
        """Where it leads, on this host."""
        self._target = port

    # What is made bad.

    def hold(self, *, up: bool = False, down: bool = False) -> None:
        """What comes from now on waits for `heal`."""
        for way, meant in ((self.up, up), (self.down, down)):
            if meant:
                way.open.clear()

    def delay(self, seconds: float) -> None:
        """Every piece is late by so much, both ways."""
        self.up.delay_seconds = self.down.delay_seconds = seconds

    def eat(self) -> None:
        """From now on no answer comes back, though what was asked has its effect."""
        self.down.eating = True

    def cut(self) -> None:
        """Breaks all connections; new ones can be made."""
        for writers in self._pairs.values():
            for writer in writers:
                writer.transport.abort()

    def heal(self) -> None:
        """As it was; connections that lost something are broken."""
        for way in (self.up, self.down):
            way.open.set()
            way.delay_seconds, way.eating = 0.0, False
        self.twice = False
        for task in self._lossy & self._pairs.keys():
            for writer in self._pairs[task]:
                writer.transport.abort()
        self._lossy.clear()

    # Passing on.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pairs[task] = (writer,)
        try:
            there, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._pairs[task] = (writer, there_writer)
            repeats = self._repeats() if self._repeats is not None else None
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(self.up, reader, there_writer, task, repeats))
                both.create_task(self._pump(self.down, there, writer, task, repeats))
        except* OSError:
            pass  # one of the two ends is gone, which is what links are for
        finally:
            for each in self._pairs.pop(task):
                each.transport.abort()
            self._lossy.discard(task)

    async def _pump(
        self,
        way: Way,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        task: asyncio.Task[None],
        repeats: Repeats | None,
    ) -> None:
        while data := await source.read(_CHUNK):
            if not way.open.is_set():
                await way.open.wait()
            if way.delay_seconds:
                await asyncio.sleep(way.delay_seconds)
            if repeats is not None:
                data = repeats.up(data, twice=self.twice) if way is self.up else repeats.down(data)
            if way.eating:
                way.eaten += len(data)
                self._lossy.add(task)
                continue
            sink.write(data)
            await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()

"""A stand-in for the adbd of a device on the network: a real adb server connects to it, and has it as a device."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from enum import Enum

_VERSION, _MOST_BYTES = 0x01000001, 1 << 20
_BANNER = "device::ro.product.name=fake;ro.product.model=Fake;ro.product.device=fake;features="
_TOKEN, _SIGNATURE, _TOKEN_BYTES = 1, 2, 20
FEATURES = ("shell_v2", "cmd")


class Greets(Enum):
    """What a device does with a server that greets it."""

    BACK = "back"
    BY_QUESTION = "by question"  # it has allowed none of the server's keys, and asks somebody in front of it
    NEVER = "never"


def _number(command: bytes) -> int:
    return int.from_bytes(command, "little")


def _message(command: bytes, first: int, second: int, data: bytes = b"") -> bytes:
    number = _number(command)
    return struct.pack("<6I", number, first, second, len(data), sum(data), number ^ 0xFFFFFFFF) + data


class FakeAdbd:
    """Greets whoever connects. `start` and `stop` may follow each other, on one port.

    `services`: what it prints for each service that it has, and then closes; None: nothing, for ever. It refuses all
    others.
    """

    def __init__(self, services: Mapping[str, bytes | None] | None = None, greets: Greets = Greets.BACK) -> None:
        self.port = 0
        self.greeted = 0
        self.greets = greets
        self._services = services or {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        """As `adb connect` takes it."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> FakeAdbd:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()

    async def start(self) -> None:
        """Listens, at first on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Nothing listens any more, and every connection is cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._open:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        talk = _Talk(writer.write, self._services)
        try:
            while True:
                number, first, second, size, _, _ = struct.unpack("<6I", await reader.readexactly(24))
                data = await reader.readexactly(size)
                if number == _number(b"CNXN") or (number == _number(b"AUTH") and first == _SIGNATURE):
                    self._greet(writer)
                else:
                    talk.take(number, first, second, data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it hung up, or was cut
        finally:
            self._open.discard(writer)
            writer.close()

    def _greet(self, writer: asyncio.StreamWriter) -> None:
        if self.greets is Greets.BACK:
            self.greeted += 1
            writer.write(_message(b"CNXN", _VERSION, _MOST_BYTES, (_BANNER + ",".join(FEATURES)).encode()))
        elif self.greets is Greets.BY_QUESTION:
            writer.write(_message(b"AUTH", _TOKEN, 0, bytes(_TOKEN_BYTES)))


class _Talk:
    """The services that one connection has open, by the number that this side gives them; a piece is in flight each."""

    def __init__(self, write: Callable[[bytes], None], services: Mapping[str, bytes | None]) -> None:
        self._write = write
        self._services = services
        self._theirs: dict[int, int] = {}

    def take(self, number: int, first: int, second: int, data: bytes) -> None:
        if number == _number(b"OPEN"):
            self._open(first, data.rstrip(b"\0").decode())
        elif number == _number(b"WRTE"):  # what the other side says is no matter
            self._write(_message(b"OKAY", second, first))
        elif number == _number(b"OKAY") and self._theirs.pop(second, None) is not None:
            self._write(_message(b"CLSE", second, first))  # it has what there is

    def _open(self, theirs: int, service: str) -> None:
        if service not in self._services:
            self._write(_message(b"CLSE", 0, theirs))
            return
        self._write(_message(b"OKAY", theirs, theirs))
        said = self._services[service]
        if said is not None:
            self._theirs[theirs] = theirs
            self._write(_message(b"WRTE", theirs, theirs, said))

"""A stand-in for the adbd of a device on the network: a real adb server connects to it, and has it as a device."""

from __future__ import annotations

import asyncio
import struct

_VERSION, _MOST_BYTES = 0x01000001, 1 << 20
_BANNER = b"device::ro.product.name=fake;ro.product.model=Fake;ro.product.device=fake;features=shell_v2,cmd"


def _message(command: bytes, first: int, second: int, data: bytes = b"") -> bytes:
    number = int.from_bytes(command, "little")
    return struct.pack("<6I", number, first, second, len(data), sum(data), number ^ 0xFFFFFFFF) + data


class FakeAdbd:
    """Greets whoever connects, and refuses every service. `start` and `stop` may follow each other, on one port."""

    def __init__(self) -> None:
        self.port = 0
        self.greeted = 0
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
        try:
            while True:
                number, first, _, size, _, _ = struct.unpack("<6I", await reader.readexactly(24))
                await reader.readexactly(size)
                if number == int.from_bytes(b"CNXN", "little"):
                    self.greeted += 1
                    writer.write(_message(b"CNXN", _VERSION, _MOST_BYTES, _BANNER))
                elif number == int.from_bytes(b"OPEN", "little"):
                    writer.write(_message(b"CLSE", 0, first))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it hung up, or was cut
        finally:
            self._open.discard(writer)
            writer.close()

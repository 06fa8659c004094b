"""Asks adb's server, over a connection for each question, and each within a bound."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.devices.adb.protocol import (
    AdbProtocolError,
    Answer,
    Listed,
    ShellFrames,
    Stream,
    Texts,
    parse_devices,
    request,
)
from qgjob_agent.devices.refusals import DeviceSilentError
from qgjob_agent.host.program import HostError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

ANSWER_SECONDS = 5.0
"""The server answers for itself at once; what is asked of a device gets a bound of its own."""
CONNECT_SECONDS = 30.0
"""The server waits ten seconds for a device on the network, and as long for its greeting."""
MAX_OUTPUT_BYTES = 16 * 1024 * 1024
_PIECE = 64 * 1024
_MARK = "qgjob-exit:"


class AdbServerAwayError(DeviceSilentError):
    """No answer: the server, or the device behind it, hung up or took too long. The message says which."""


class AdbServerGoneError(AdbServerAwayError, HostError):
    """Nothing listens where the server is to be, or it died: that is no device's fault."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command on a device printed, errors included, and its exit code."""

    code: int
    output: str


class AdbClient:
    """Asks the server at an address. Errors of all: AdbServerAwayError, AdbRefusedError, AdbProtocolError."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port

    async def version(self) -> int:
        """The server's version."""
        text = await self._text("host:version")
        try:
            return int(text, 16)
        except ValueError as error:
            raise AdbProtocolError(f"the server's version is {text!r}, and no number") from error

    async def connect(self, address: str) -> str:
        """Has the server connect to a device on the network; gives what it says. See says.unconnected_why."""
        return await self._text(f"host:connect:{address}", CONNECT_SECONDS)

    async def shell(self, serial: str, command: str, seconds: float, last_bytes: int | None = None) -> Said:
        """Runs a command on a device, within so many seconds. Of what it prints only the last bytes count, if told."""
        features = await self._text(f"host-serial:{serial}:features")
        framed = "shell_v2" in features.split(",")
        service = f"shell,v2,raw:{command}" if framed else f"shell:{command}; echo {_MARK}$?"
        with self._named(f"{command!r} on {serial}"):
            async with asyncio.timeout(seconds), self._connection() as connection:
                await connection.ask(f"host:transport:{serial}")
                await connection.ask(service)
                output = _Output(last_bytes)
                return await (_framed(connection, output) if framed else _plain(connection, output))

    async def raw(self, serial: str, command: str, seconds: float) -> bytes:
        """What a command on a device prints, to the byte, within so many seconds: as `adb exec-out` does.

        Its errors are among it, and its exit code is not told.
        """
        with self._named(f"{command!r} on {serial}"):
            async with asyncio.timeout(seconds), self._connection() as connection:
                await connection.ask(f"host:transport:{serial}")
                await connection.ask(f"exec:{command}")
                output = _Output(None)
                while data := await connection.read():
                    output.add(data)
                return output.data()

    async def follow(self) -> AsyncGenerator[list[Listed], None]:
        """The list of devices now, and at each change; it ends when the server does. Only its beginning is bounded."""
        service = "host:track-devices"
        async with AsyncExitStack() as stack:
            with self._named(service):
                async with asyncio.timeout(ANSWER_SECONDS):
                    connection = await stack.enter_async_context(self._connection())
                    await connection.ask(service)
                texts = Texts()
                while data := await connection.read():
                    for text in texts.feed(data):
                        yield parse_devices(text)

    async def _text(self, service: str, seconds: float | None = None) -> str:
        with self._named(service):
            async with (
                asyncio.timeout(ANSWER_SECONDS if seconds is None else seconds),
                self._connection() as connection,
            ):
                await connection.ask(service)
                texts = Texts()
                while True:
                    for text in texts.feed(await connection.must_read()):
                        return text

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Connection]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            yield _Connection(reader, writer)
        finally:
            writer.close()

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Says in the words of this module what went wrong, and with what."""
        address = f"{self.host}:{self.port}"
        try:
            yield
        except TimeoutError as error:
            raise AdbServerAwayError(f"the adb server at {address} did not answer in time: {what}") from error
        except EOFError as error:
            raise AdbServerAwayError(f"the adb server at {address} hung up: {what}") from error
        except (OSError, UnicodeError) as error:  # the last of a host that no name can be
            why = getattr(error, "strerror", None) or str(error)
            raise AdbServerGoneError(f"the adb server at {address} can't be reached ({why}): {what}") from error


class _Connection:
    """One connection; what came with an answer is read first."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._came = b""

    async def ask(self, service: str) -> None:
        """Asks for a service; returns when it is granted."""
        self._writer.write(request(service))
        await self._writer.drain()
        answer = Answer()
        while not answer.done:
            answer.feed(await self.must_read())
        self._came = answer.rest

    async def read(self) -> bytes:
        """What comes next; empty at the end."""
        came, self._came = self._came, b""
        return came or await self._reader.read(_PIECE)

    async def must_read(self) -> bytes:
        """What comes next. Errors: EOFError at the end."""
        data = await self.read()
        if not data:
            raise EOFError
        return data


async def _framed(connection: _Connection, output: _Output) -> Said:
    frames = ShellFrames()
    while True:
        for stream, data in frames.feed(await connection.must_read()):
            if stream is Stream.EXIT:
                return Said(data[0] if data else 0, output.text())
            if stream in (Stream.STDOUT, Stream.STDERR):
                output.add(data)


async def _plain(connection: _Connection, output: _Output) -> Said:
    """Of devices before Android 7: their shell tells no exit code, so the command's line prints it."""
    while data := await connection.read():
        output.add(data)
    text, mark, code = output.text().replace("\r\n", "\n").rpartition(_MARK)
    if not mark or not code.strip().isdigit():
        raise EOFError
    return Said(int(code), text)


class _Output:
    """What a command printed: all of it, within a bound, or its end."""

    def __init__(self, last_bytes: int | None) -> None:
        self._last_bytes = last_bytes
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        """Takes a piece. Errors: AdbProtocolError, where all is wanted and it is too much."""
        if self._last_bytes is None and len(self._data) + len(data) > MAX_OUTPUT_BYTES:
            raise AdbProtocolError(f"a command printed more than {MAX_OUTPUT_BYTES} bytes")
        self._data += data
        if self._last_bytes is not None:
            del self._data[: -self._last_bytes]

    def data(self) -> bytes:
        """What was taken."""
        return bytes(self._data)

    def text(self) -> str:
        """What was taken; the first character may be a part of one."""
        return self._data.decode(errors="replace")

"""What gRPC's C core logs by itself stays out of the logs of the programs, unless somebody asks for it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.processes import free_port
from tests.fakes.program import Program
from tests.fakes.waiting import until

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CORE = "chttp2_transport.cc"


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 for the whole connection."""
    return len(payload).to_bytes(3, "big") + bytes([kind, 0, 0, 0, 0, 0]) + payload


SETTINGS = frame(4, b"")
GOAWAY = frame(7, bytes(4) + (11).to_bytes(4, "big") + b"ping_timeout")
PAYLOAD = b"qgjob-ok"
PING = frame(6, PAYLOAD)
"""Its answer says that all before it was read."""


class Rude:
    """A server of HTTP/2 that ends each connection with an error. `told`: somebody has read one to its end."""

    def __init__(self) -> None:
        self.port = 0
        self.told = asyncio.Event()
        self._met: list[asyncio.StreamWriter] = []

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Says that it goes away."""
        self._met.append(writer)
        writer.write(SETTINGS + GOAWAY)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()  # until the other one has met the end
        self.told.set()

    async def close(self) -> None:
        """Of all connections."""
        for writer in self._met:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@pytest.fixture
async def rude() -> AsyncIterator[Rude]:
    """It serves until the test ends."""
    found = Rude()
    server = await asyncio.start_server(found.meet, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()
    await found.close()


def program(
    folder: Path, module: str, wanted: str | None, arguments: tuple[str, ...] = (), **settings: object
) -> Program:
    verbosity: dict[str, Any] = {} if wanted is None else {"GRPC_VERBOSITY": wanted}
    found = Program(module, module, folder, {"ENVIRONMENT": "production"} | settings | verbosity, arguments)
    found.prefix = ("env",)  # not forked from a process that has imported gRPC already
    return found


def judge(said: str, wanted: str | None) -> None:
    """All of it is lines of JSON, unless gRPC's log is wanted: then that is there."""
    if wanted == "INFO":
        assert CORE in said
    else:
        for line in said.splitlines():
            json.loads(line)


asked_for = pytest.mark.parametrize("wanted", [None, "INFO"])


@asked_for
async def test_of_a_coordinator(tmp_path: Path, wanted: str | None) -> None:
    port = free_port()
    away = f"redis://127.0.0.1:{free_port()}"
    coordinator = program(tmp_path, "qgjob_coordinator", wanted, REDIS_URL=away, PORT=0, GRPC_PORT=port)
    coordinator.start()
    try:
        await coordinator.says("store_away")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREFACE + SETTINGS + GOAWAY + PING)
        try:
            async with asyncio.timeout(10):
                await reader.readuntil(PAYLOAD)
        finally:
            writer.close()
            await writer.wait_closed()
    finally:
        await coordinator.end()
    judge(coordinator.said(), wanted)


@asked_for
async def test_of_an_agent(tmp_path: Path, wanted: str | None, rude: Rude) -> None:
    where = {"AGENT_ID": "agent-1", "STATE_DIR": tmp_path / "state", "QGJOB_COORDINATOR": f"127.0.0.1:{rude.port}"}
    agent = program(tmp_path, "qgjob_agent", wanted, **where)
    agent.start()
    try:
        await agent.says("agent_started")
        async with asyncio.timeout(20):
            await rude.told.wait()
    finally:
        await agent.end()
    judge(agent.said(), wanted)


@asked_for
async def test_of_the_command(tmp_path: Path, wanted: str | None, rude: Rude) -> None:
    cli = program(tmp_path, "qgjob", wanted, ("health", f"--coordinator=127.0.0.1:{rude.port}"))
    cli.start()
    try:
        await until(lambda: "no coordinator answers" in cli.said(), "it says nothing")
        assert rude.told.is_set()
    finally:
        await cli.end()
    assert (CORE in cli.said()) == (wanted == "INFO")

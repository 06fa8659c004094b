"""The list of devices is followed whatever becomes of the adb server: of a real one, and of the stand-in."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from qgjob_agent.devices.adb import client as client_module
from qgjob_agent.devices.adb import tracker as tracker_module
from qgjob_agent.devices.adb.client import AdbClient
from qgjob_agent.devices.adb.protocol import Listed
from qgjob_agent.devices.adb.settings import AdbSettings
from qgjob_agent.devices.adb.tracker import Tracker
from tests.fakes.adb_provider import NEEDS_ADB, NO_ADB
from tests.fakes.adb_server import FakeAdbServer, FakeDevice
from tests.fakes.waiting import until

needs_adb = pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)


class Followed:
    """What a tracker told, and its log."""

    def __init__(self) -> None:
        self.told: list[list[Listed] | None] = []
        self.log = LogCapture()

    def lines(self, event: str) -> list[Mapping[str, Any]]:
        return [line for line in self.log.entries if line["event"] == event]

    async def says(self, event: str, times: int) -> Mapping[str, Any]:
        await until(lambda: len(self.lines(event)) >= times, lambda: f"{event}: {self.log.entries}", seconds=20)
        return self.lines(event)[times - 1]


@asynccontextmanager
async def following(port: int, folder: Path, adb: str = "adb", host: str = "127.0.0.1") -> AsyncIterator[Followed]:
    followed = Followed()
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    settings = AdbSettings("a1", folder / "installed", environ, host=host, port=port, adb=adb)
    log = structlog.wrap_logger(None, processors=[structlog.processors.add_log_level, followed.log])
    tracker = Tracker(AdbClient(host, port), settings, followed.told.append, log)
    task = asyncio.create_task(tracker.run())
    try:
        yield followed
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs is found out soon."""
    monkeypatch.setattr(tracker_module, "ALIVE_SECONDS", 0.2)
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.3)


@pytest.fixture
def real_port(tmp_path: Path) -> Iterator[int]:
    """A port on which adb may start its server, which is ended with the test."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    yield port
    kill_server(port, tmp_path)


def kill_server(port: int, home: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": str(home)}
    command = ["adb", "-H", "127.0.0.1", "-P", str(port), "kill-server"]
    subprocess.run(command, env=environ, capture_output=True, check=False, timeout=30)


async def test_a_host_that_no_name_can_be_is_told_and_ends_nothing(tmp_path: Path) -> None:
    async with following(5037, tmp_path, host="10.0.0..7") as followed:
        said = await followed.says("adb_blind", 1)
    assert "the adb server at 10.0.0..7:5037 can't be reached" in said["error"]


@needs_adb
async def test_a_real_server_is_started_where_there_is_none_and_again_when_it_is_killed(
    real_port: int, tmp_path: Path
) -> None:
    async with following(real_port, tmp_path) as followed:
        await followed.says("adb_sees", 1)
        assert followed.lines("adb_blind") == []
        await asyncio.to_thread(kill_server, real_port, tmp_path)
        await followed.says("adb_sees", 2)
        assert followed.told == [[], None, []]
        assert len(followed.lines("adb_blind")) == 1


async def test_a_server_that_hangs_is_noticed(tmp_path: Path, quick: None) -> None:
    fake = FakeAdbServer(FakeDevice("emulator-5554"))
    async with fake, following(fake.port, tmp_path, adb="false") as followed:
        await followed.says("adb_sees", 1)
        fake.silent = True
        said = await followed.says("adb_blind", 1)
        assert "did not answer in time" in said["error"]
        fake.silent = False
        await followed.says("adb_sees", 2)
        shown = [Listed("emulator-5554", "device")]
        assert followed.told == [shown, None, shown]
        assert len(followed.lines("adb_blind")) == 1


@pytest.mark.parametrize(
    ("adb", "why"), [("/nowhere/adb", "install Android's platform tools"), ("false", "start-server` ended with 1")]
)
async def test_the_log_has_one_line_for_as_long_as_nothing_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adb: str, why: str
) -> None:
    monkeypatch.setattr(tracker_module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(tracker_module, "LONGEST_PAUSE_SECONDS", 0.02)
    async with FakeAdbServer() as fake:
        await fake.stop()
        async with following(fake.port, tmp_path, adb) as followed:
            assert why in (await followed.says("adb_blind", 1))["error"]
            await fake.start()
            await followed.says("adb_sees", 1)
            await fake.stop()
            await followed.says("adb_blind", 2)
            await fake.start()
            await followed.says("adb_sees", 2)
            assert [line["event"] for line in followed.log.entries] == ["adb_blind", "adb_sees"] * 2
            assert followed.told == [[], None, []]


async def test_another_program_on_the_port_is_told(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, following(server.sockets[0].getsockname()[1], tmp_path) as followed:
        said = await followed.says("adb_blind", 1)
        assert "is no adb server" in said["error"]
        assert followed.told == []

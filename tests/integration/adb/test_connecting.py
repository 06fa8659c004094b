"""Devices on the network are connected, and again when they or the adb server went: a real one, and the stand-in."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from bench.processes import free_port
from qgjob_agent.core.events import DeviceLost
from qgjob_agent.core.values import Health
from qgjob_agent.devices.adb import connecting
from qgjob_agent.devices.adb.client import AdbClient
from qgjob_agent.devices.adb.connecting import Connector
from qgjob_agent.devices.adb.protocol import Listed
from qgjob_agent.devices.adb.settings import AdbSettings
from qgjob_agent.devices.adb.tracker import Tracker
from tests.fakes.adb_provider import EMULATOR, EMULATOR_ID, NEEDS_ADB, NO_ADB, Host, host
from tests.fakes.adb_server import FakeDevice
from tests.fakes.adbd import FakeAdbd
from tests.fakes.provided import Provided
from tests.fakes.waiting import until

PIXEL, GALAXY = "10.0.0.5:5555", "tab.lab.example:40001"
PIXEL_ID = "a1.10.0.0.5-5555"
EVENTS = ("adb_connected", "adb_unconnected")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again soon."""
    monkeypatch.setattr(connecting, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(connecting, "LONGEST_PAUSE_SECONDS", 0.05)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Host]:
    """A server that knows no device yet; one answers on the network."""
    async with host(tmp_path) as opened:
        opened.fake.network[PIXEL] = FakeDevice(PIXEL, emulator=False)
        yield opened


def told(log: LogCapture) -> list[tuple[str, str]]:
    return [(line["event"], line["address"]) for line in log.entries if line["event"] in EVENTS]


async def tells(agent: Provided, *lines: tuple[str, str]) -> None:
    await until(lambda: told(agent.said) == list(lines), lambda: f"{agent.said.entries}", seconds=20)


async def test_it_is_connected_at_the_start_and_when_the_server_comes_back_without_it(lab: Host) -> None:
    async with lab.provider(connect=(PIXEL,)) as agent:
        await agent.seen(PIXEL_ID)
        device = lab.fake.devices[PIXEL]
        device.commands.clear()
        await lab.fake.restart()
        await until(lambda: PIXEL in lab.fake.devices, "it is not connected again")
        await until(lambda: device.commands, "it is not asked what is on it")
        assert told(agent.said) == [("adb_connected", PIXEL)]
        assert agent.of(DeviceLost) == []


async def test_one_that_stays_away_after_a_restart_is_lost_as_with_a_server_that_does(lab: Host) -> None:
    lab.fake.plug(FakeDevice(EMULATOR))
    async with lab.provider(connect=(PIXEL,), blind_seconds=0.5) as agent:
        await agent.seen(PIXEL_ID)
        await agent.seen(EMULATOR_ID)
        await lab.fake.stop()
        del lab.fake.network[PIXEL]
        await lab.fake.start()
        await agent.lost(PIXEL_ID)
        assert [each.device_id for each in agent.of(DeviceLost)] == [PIXEL_ID]


async def test_what_can_not_be_connected_is_told_once_and_tried_until_it_can(lab: Host, quick: None) -> None:
    pixel = lab.fake.network.pop(PIXEL)
    async with lab.provider(connect=(PIXEL, GALAXY)) as agent:
        await until(lambda: lab.fake.asked["host"] > 20, "it is not tried again")
        assert sorted(told(agent.said)) == [("adb_unconnected", PIXEL), ("adb_unconnected", GALAXY)]
        assert all("Connection refused" in line["error"] for line in agent.lines("adb_unconnected"))
        agent.said.entries.clear()
        lab.fake.network[PIXEL] = pixel
        await agent.seen(PIXEL_ID)
        await tells(agent, ("adb_connected", PIXEL))
        del lab.fake.network[PIXEL]
        lab.fake.unplug(PIXEL)
        await tells(agent, ("adb_connected", PIXEL), ("adb_unconnected", PIXEL))


async def test_one_that_somebody_else_connected_is_left_as_it_is(lab: Host) -> None:
    lab.fake.plug(lab.fake.network[PIXEL])
    lab.fake.set_state(PIXEL, "unauthorized")
    async with lab.provider(connect=(PIXEL,)) as agent:
        shown = await agent.seen(PIXEL_ID)
        assert "unlock it" in (shown.facts.reason or "")
        assert told(agent.said) == [("adb_connected", PIXEL)]


async def test_a_device_that_comes_and_goes_at_once_is_tried_more_and_more_rarely(
    lab: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "FIRST_PAUSE_SECONDS", 0.05)
    asked = lab.fake.connects
    async with lab.provider(connect=(PIXEL,)):
        for count in (1, 2, 3):
            await until(lambda: len(asked) >= count, "it is not connected")  # noqa: B023 - awaited
            lab.fake.unplug(PIXEL)
        await until(lambda: len(asked) >= 4, "it is not connected again")
    gaps = [later - before for before, later in pairwise(asked)]
    assert all(gap >= least for gap, least in zip(gaps, (0.05, 0.1, 0.2), strict=False)), gaps


async def test_one_that_goes_is_found_to_be_away_though_nobody_is_told(lab: Host) -> None:
    async with lab.provider(connect=(PIXEL,)) as agent:
        await agent.seen(PIXEL_ID, health=Health.GOOD)
        device = lab.fake.devices[PIXEL]
        lab.fake.drop(PIXEL)
        shown = await agent.seen(PIXEL_ID, health=Health.BAD)
        assert "device offline" in (shown.facts.reason or "")
        device.state = "device"
        await agent.seen(PIXEL_ID, health=Health.GOOD)
        assert agent.of(DeviceLost) == []


@pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
async def test_a_real_server_has_it_again_after_it_was_killed(tmp_path: Path, quick: None) -> None:
    log = LogCapture()
    logger = structlog.wrap_logger(None, processors=[structlog.processors.add_log_level, log])
    port, environ = free_port(), {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    client = AdbClient("127.0.0.1", port)
    lists: list[list[Listed] | None] = []
    async with FakeAdbd() as adbd:
        connector = Connector(client, (adbd.address,), logger)

        def heard(listed: list[Listed] | None) -> None:
            lists.append(listed)
            connector.listed(None if listed is None else {each.serial for each in listed})

        settings = AdbSettings("a1", tmp_path / "installed", environ, port=port)
        tasks = [asyncio.create_task(each.run()) for each in (Tracker(client, settings, heard, logger), connector)]
        kill = ["adb", "-H", "127.0.0.1", "-P", str(port), "kill-server"]
        try:
            adbd.stop()
            await until(lambda: ("adb_unconnected", adbd.address) in told(log), lambda: f"{log.entries}")
            assert "Connection refused" in log.entries[-1]["error"]
            await adbd.start()
            await until(lambda: adbd.greeted == 1 and told(log)[-1][0] == "adb_connected", lambda: f"{log.entries}")
            await asyncio.to_thread(subprocess.run, kill, env=environ, capture_output=True, check=True, timeout=30)
            await until(lambda: adbd.greeted == 2, lambda: f"{log.entries}")
            await until(lambda: lists[-1] == [Listed(adbd.address, "device")], lambda: f"{lists}")
            assert len(told(log)) == 2
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(subprocess.run, kill, env=environ, capture_output=True, check=False, timeout=30)

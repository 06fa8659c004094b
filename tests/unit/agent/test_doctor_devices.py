"""The doctor judges an Android device as the agent does, and changes nothing: neither on it, nor of what is kept."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from bench.processes import free_port
from qgjob_agent.config import AgentConfig, load_config
from qgjob_agent.core.values import Health, Outcome
from qgjob_agent.devices.adb.settings import AdbSettings
from qgjob_agent.doctor.android_devices import devices
from qgjob_agent.doctor.findings import Finding, Level
from qgjob_agent.doctor.host import Host
from qgjob_agent.state_dir import StateDir
from tests.fakes.adb_provider import EMULATOR, MB, NEEDS_ADB, NO_ADB, PHONE, PHONE_ID, SHOP, host, phone
from tests.fakes.adb_server import FakeAdbServer, FakeDevice

OK, NOTE, WARNING, PROBLEM = Level


def settings(folder: Path, port: int, more: str = "") -> AgentConfig:
    file = folder / "agent.toml"
    file.write_text(f'agent_id = "a1"\nstate_dir = "{folder}"\n[adb]\nenabled = true\nport = {port}\n{more}')
    return load_config(file, {"PATH": os.environ["PATH"]}, folder)


async def examined(folder: Path, port: int, more: str = "") -> list[Finding]:
    found = await devices(Host(settings(folder, port, more), "linux"))
    assert {each.check for each in found} == {"android.devices"}
    assert all(each.advice for each in found if each.level in (WARNING, PROBLEM))
    return found


def told(found: list[Finding]) -> list[tuple[Level, str | None]]:
    return [(each.level, each.subject) for each in found]


@pytest.mark.parametrize(
    "sick",
    [
        {"state": "unauthorized"},
        {"state": "offline"},
        {"booted": False},
        {"package_manager": False},
        {"battery": 4, "powered": False},
        {"free_bytes": 100 * MB},
    ],
)
async def test_a_device_that_an_agent_finds_bad_is_a_problem_in_the_same_words(
    tmp_path: Path, sick: dict[str, Any]
) -> None:
    device = phone(**sick)
    async with host(tmp_path, device) as lab, lab.provider() as agent:
        await agent.seen(PHONE_ID)
        probed = await agent.probed(PHONE_ID)
        (finding,) = await examined(tmp_path, lab.fake.port)
    assert (probed.health, finding.level, finding.subject) == (Health.BAD, PROBLEM, PHONE)
    assert (probed.reason or "").startswith(f"the device {finding.found}")


async def test_a_device_that_hangs_is_a_problem_and_keeps_nobody_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = AdbSettings.of

    def impatient(*given: Any) -> AdbSettings:
        found = made(*given)
        object.__setattr__(found, "probe_seconds", 0.3)
        return found

    monkeypatch.setattr(AdbSettings, "of", impatient)
    async with FakeAdbServer(phone(answers_seconds=60), FakeDevice(EMULATOR)) as fake:
        silent, well = await examined(tmp_path, fake.port)
    assert (silent.level, silent.found) == (PROBLEM, "does not answer: not within 0.3 s")
    assert (well.level, well.found) == (OK, "takes work as a1.emulator-5554: Pixel 7, Android 14, arm64-v8a")


@pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
async def test_ours_on_a_full_device_could_make_room_and_the_doctor_forgets_none_of_it(tmp_path: Path) -> None:
    async with host(tmp_path, phone()) as lab:
        lab.builds.add("v1")
        async with lab.provider() as agent:
            await agent.seen(PHONE_ID)
            assert (await agent.install(PHONE_ID, "v1")).outcome is Outcome.PASSED
        device = lab.fake.devices[PHONE]
        device.free_bytes = 100 * MB
        assert told(await examined(tmp_path, lab.fake.port)) == [(OK, PHONE)]
        kept = {each: each.read_bytes() for each in (tmp_path / "installed").iterdir()}
        assert kept
        device.uninstall(SHOP)
        device.free_bytes = 100 * MB
        assert told(await examined(tmp_path, lab.fake.port)) == [(PROBLEM, PHONE)]
        assert {each: each.read_bytes() for each in (tmp_path / "installed").iterdir()} == kept
        device.free_bytes = 8_000 * MB
        next(iter(kept)).write_text("{")
        (unread,) = await examined(tmp_path, lab.fake.port)
        assert (unread.level, str(next(iter(kept))) in unread.found) == (WARNING, True)


async def test_of_two_devices_with_one_name_the_agent_shows_one(tmp_path: Path) -> None:
    twins = FakeDevice("10.0.0.5:5555"), FakeDevice("10.0.0.5-5555")
    async with FakeAdbServer(*twins) as fake:
        found = await examined(tmp_path, fake.port)
        assert told(found) == [(OK, "10.0.0.5:5555"), (OK, "10.0.0.5-5555"), (PROBLEM, "10.0.0.5-5555")]
        assert "a1.10.0.0.5-5555" in found[-1].found
        named = '[[devices]]\nudid = "10.0.0.5:5555"\ntarget = "device"\ndevice_id = "left"\n'
        assert [level for level, _ in told(await examined(tmp_path, fake.port, named))] == [OK, OK]


async def test_devices_of_others_are_left_to_them_and_missing_ones_told(tmp_path: Path) -> None:
    async with FakeAdbServer(FakeDevice("A"), FakeDevice("B", state="offline")) as fake:
        missing = '[[devices]]\nudid = "Z"\ntarget = "device"\ndevice_id = "pixel"\n'
        found = await examined(tmp_path, fake.port, f'serials = ["A", "Y"]\n{missing}')
        assert told(found) == [(OK, "A"), (WARNING, "Y"), (WARNING, "Z"), (OK, None)]
        assert "B" in found[-1].found
        fake.unplug("A")
        fake.unplug("B")
        assert told(await examined(tmp_path, fake.port)) == [(WARNING, None)]


@pytest.mark.parametrize("udid", ["00008110-000A1B2C3D4E5F60", "6A7C0B1E-9F0D-4B5C-8D7E-1F2A3B4C5D6E"])
async def test_an_iphone_of_the_same_agent_is_no_missing_android_device(tmp_path: Path, udid: str) -> None:
    table = f'[[devices]]\nudid = "{udid}"\ntarget = "device"\n'
    async with FakeAdbServer(FakeDevice("A")) as fake:
        assert told(await examined(tmp_path, fake.port, table)) == [(OK, "A")]


async def test_devices_on_the_network_that_are_not_connected_are_told(tmp_path: Path) -> None:
    gone = f"127.0.0.1:{free_port()}"
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    there = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    connected = "127.0.0.1:9"
    more = f'connect = ["{gone}", "{there}", "{connected}"]\nserials = ["{gone}", "{there}", "{connected}"]\n'
    async with listening, FakeAdbServer(FakeDevice(connected)) as fake:
        found = await examined(tmp_path, fake.port, more)
        assert told(found) == [(OK, connected), (PROBLEM, gone), (NOTE, there)]
        assert found[1].found == "is in adb.connect and not connected: from this host, Connection refused"
        await fake.stop()
        assert told(await examined(tmp_path, fake.port, more)) == [
            (NOTE, None),
            (PROBLEM, gone),
            (NOTE, there),
            (PROBLEM, connected),
        ]
        await fake.start()
        held = StateDir.open(tmp_path)
        assert told(await examined(tmp_path, fake.port, more))[1:] == [(PROBLEM, gone), (WARNING, there)]
        held.close()

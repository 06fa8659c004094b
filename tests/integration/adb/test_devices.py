"""Android devices by the real `adb` program and the stand-in of its server: found, and looked at."""

from __future__ import annotations

import pytest

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import DeviceLost, DeviceSeen
from qgjob_agent.core.values import DeviceFacts, Health, Outcome, Target
from qgjob_agent.devices.adb.logs import clock_of
from tests.fakes.adb_provider import EMULATOR, EMULATOR_ID, MB, NEEDS_ADB, NO_ADB, PHONE, PHONE_ID, Host
from tests.fakes.adb_server import FakeDevice
from tests.fakes.waiting import until

pytestmark = pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)


async def test_devices_are_found_with_what_they_say_of_themselves(lab: Host) -> None:
    named = {PHONE: DeviceFacts("galaxy", PHONE, Target.DEVICE, model="S22 of Ann", labels={"rack": "2"})}
    async with lab.provider(named=named) as told:
        emulator, galaxy = await told.seen(EMULATOR_ID), await told.seen("galaxy")
        labels = {"abi": "arm64-v8a", "sdk": "34", "manufacturer": "Google"}
        assert emulator.facts == DeviceFacts(
            EMULATOR_ID, EMULATOR, Target.EMULATOR, "android", "14", "Pixel 7", labels | {"avd": "Pixel_7_API_34"}
        )
        assert galaxy.facts == DeviceFacts(
            "galaxy", PHONE, Target.DEVICE, "android", "13", "S22 of Ann", labels | {"rack": "2"}
        )
        assert {facts.device_id for facts in told.provider.devices()} == {EMULATOR_ID, "galaxy"}
        assert len(told.lines("adb_sees")) == 1
        assert told.lines("adb_blind") == []


async def test_two_serials_that_would_have_one_id_are_not_mixed_up(lab: Host) -> None:
    async with lab.provider() as told:
        lab.fake.plug(FakeDevice("10.0.0.1:5555", model="first"))
        await told.seen("a1.10.0.0.1-5555", model="first")
        lab.fake.plug(FakeDevice("10.0.0.1-5555", model="second"))
        await until(lambda: told.lines("device_left_out"), "nothing is said", seconds=10)
        lab.fake.unplug("10.0.0.1:5555")
        await told.seen("a1.10.0.0.1-5555", model="second")
        lab.fake.plug(FakeDevice("10.0.0.1:5555", model="first"))
        await until(lambda: len(told.lines("device_left_out")) == 2, "nothing is said", seconds=10)
        assert (await told.probed("a1.10.0.0.1-5555")).health is Health.GOOD
        assert [facts.model for facts in told.provider.devices()].count("first") == 0


async def test_only_the_devices_of_the_allow_list_are_shown(lab: Host) -> None:
    async with lab.provider(serials=frozenset({PHONE})) as told:
        await told.seen(PHONE_ID)
        lab.fake.plug(FakeDevice("emulator-5556"))
        assert (await told.probed(PHONE_ID)).health is Health.GOOD
        assert {event.facts.device_id for event in told.of(DeviceSeen)} == {PHONE_ID}
        assert (await told.probed(EMULATOR_ID)).reason == "the device is not connected"


async def test_devices_come_and_go(lab: Host) -> None:
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        gone = lab.fake.unplug(PHONE)
        await told.lost(PHONE_ID)
        assert {facts.device_id for facts in told.provider.devices()} == {EMULATOR_ID}
        lab.fake.plug(gone)
        await told.seen(PHONE_ID, health=Health.GOOD)
        lab.fake.plug(FakeDevice("192.168.1.5:5555", emulator=False))
        await told.seen("a1.192.168.1.5-5555", udid="192.168.1.5:5555", target=Target.DEVICE)


@pytest.mark.parametrize(
    ("state", "words"), [("unauthorized", "accept the question for USB debugging"), ("offline", "offline for adb")]
)
async def test_a_device_that_is_not_ready_is_shown_bad_and_becomes_good(lab: Host, state: str, words: str) -> None:
    lab.fake.set_state(PHONE, state)
    async with lab.provider() as told:
        event = await told.seen(PHONE_ID, health=Health.BAD)
        assert words in (event.facts.reason or "")
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, words in (ended.error or "")) == (Outcome.DEVICE_ERROR, True)
        assert lab.builds.asked == []
        lab.fake.set_state(PHONE, "device")
        event = await told.seen(PHONE_ID, health=Health.GOOD, reason=None)
        assert event.facts.model == "Galaxy S22"
        lab.fake.set_state(PHONE, state)
        event = await told.seen(PHONE_ID, health=Health.BAD)
        assert event.facts.model == "Galaxy S22"  # as it said when it could
        assert told.of(DeviceLost) == []


async def test_what_is_the_matter_with_a_device_is_seen_by_itself_and_when_it_is_over(lab: Host) -> None:
    device = lab.fake.devices[PHONE]
    device.booted = False
    async with lab.provider() as told:
        await told.seen(PHONE_ID, reason="the device has not started up yet")
        device.booted, device.package_manager = True, False
        await told.seen(PHONE_ID, reason="the device has a package manager that does not answer: restart it")
        device.package_manager, device.battery, device.powered = True, 4, False
        await told.seen(PHONE_ID, reason="the device has 4% of its battery left and is not charged: plug it into power")
        assert (await told.probed(PHONE_ID)).health is Health.BAD
        device.powered, device.free_bytes = True, 100 * 1024 * 1024
        await told.seen(PHONE_ID, reason="the device has 104 MB free and needs 500: remove from it what is not needed")
        device.free_bytes = 4000 * MB
        await told.seen(PHONE_ID, health=Health.GOOD)
        assert (await told.probed(PHONE_ID)).health is Health.GOOD


async def test_a_device_that_does_not_answer_is_bad_within_its_bound(lab: Host) -> None:
    async with lab.provider(answer_seconds=0.2) as told:
        await told.seen(PHONE_ID, health=Health.GOOD)
        lab.fake.devices[PHONE].answers_seconds = 60
        event = await told.seen(PHONE_ID, health=Health.BAD)
        assert "does not answer" in (event.facts.reason or "")
        probed = await told.probed(PHONE_ID)
        assert (probed.health, "does not answer" in (probed.reason or "")) == (Health.BAD, True)
        lab.fake.devices[PHONE].answers_seconds = 0
        await told.seen(PHONE_ID, health=Health.GOOD)


async def test_a_probe_is_answered_in_time_whatever_the_device_does(lab: Host) -> None:
    async with lab.provider(probe_seconds=0.2) as told:
        await told.seen(PHONE_ID, health=Health.GOOD)
        lab.fake.devices[PHONE].answers_seconds = 60
        probed = await told.probed(PHONE_ID)
        assert (probed.health, probed.reason) == (Health.BAD, "the device does not answer: not within 0.2 s")


async def test_a_shell_without_exit_codes_is_understood(lab: Host) -> None:
    lab.fake.devices[PHONE].features = ("cmd",)
    async with lab.provider() as told:
        await told.seen(PHONE_ID, health=Health.GOOD, os_version="13")


async def test_what_a_device_logged_meanwhile_is_told_by_its_own_clock(lab: Host) -> None:
    device = lab.fake.devices[EMULATOR]
    device.clock_ahead_seconds, device.zone = 3600, "+0530"
    now = wall_ms()
    clock = clock_of(f"{now // 1000 + 3600} +0530", now)
    for text, at in (("before", now - 60_000), ("inside", now), ("after", now + 60_000)):
        device.logged.append(f"{clock.shown(at)}  1  1 I app: {text}")
    async with lab.provider() as told:
        await told.seen(EMULATOR_ID)
        found = await told.provider.logged(EMULATOR_ID, now - 5_000, now + 5_000)
        assert found is not None
        assert found.decode().endswith("I app: inside\n")
        assert found.count(b"\n") == 1
        with pytest.raises(OSError, match="is not connected"):
            await told.provider.logged("a1.none", now, now)


async def test_what_a_device_shows_is_taken_to_the_byte_or_said_to_be_missing(lab: Host) -> None:
    device = lab.fake.devices[EMULATOR]
    device.picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) + b"\r\n\n"
    async with lab.provider() as told:
        await told.seen(EMULATOR_ID)
        assert await told.provider.screen(EMULATOR_ID) == device.picture
        picture, device.picture = device.picture, b"[Warning] several displays\n" + device.picture
        assert await told.provider.screen(EMULATOR_ID) == picture
        device.picture = b"/system/bin/sh: screencap: not found\n"
        with pytest.raises(OSError, match="gave no picture: /system/bin/sh: screencap: not found"):
            await told.provider.screen(EMULATOR_ID)
        device.picture = b""
        with pytest.raises(OSError, match="it printed nothing"):
            await told.provider.screen(EMULATOR_ID)
        with pytest.raises(OSError, match="is not connected"):
            await told.provider.screen("a1.none")

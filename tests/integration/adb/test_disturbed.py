"""Devices that go in the middle and an adb server that dies: what that costs, and what not."""

from __future__ import annotations

import asyncio

import pytest

from qgjob_agent.core.events import DeviceLost, DeviceSeen
from qgjob_agent.core.values import Health, Outcome
from tests.fakes.adb_provider import EMULATOR_ID, NEEDS_ADB, NO_ADB, PHONE, PHONE_ID, Host, phone
from tests.fakes.adb_server import Fault
from tests.fakes.waiting import until

pytestmark = pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)


async def test_a_device_that_is_unplugged_and_plugged_in_again_keeps_its_build(lab: Host) -> None:
    lab.builds.add("v1")
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v1")
        gone = lab.fake.unplug(PHONE)
        await told.lost(PHONE_ID)
        lab.fake.plug(gone)
        assert (await told.seen(PHONE_ID)).installed == ("acme", "v1", lab.digest_of("v1"))
        await told.install(PHONE_ID, "v1")
        assert lab.installs() == {(PHONE, "v1"): 1}


async def test_a_device_that_goes_offline_in_the_middle_is_not_waited_for(lab: Host) -> None:
    lab.builds.add("v1")
    device = lab.fake.devices[PHONE]
    device.faults.append(Fault(hang=True))
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        token = told.begin(PHONE_ID, "v1")
        await asyncio.wait_for(device.installing.wait(), 10)
        device.state = "offline"  # and its connections hang
        lab.fake.changed()
        ended = await told.ended(token)
        assert (ended.outcome, ended.cancelled) == (Outcome.DEVICE_ERROR, False)
        assert "offline for adb" in (ended.error or "")
        assert lab.installing_processes() == {}
        await told.seen(PHONE_ID, health=Health.BAD)


@pytest.mark.parametrize("asked", [True, False])
async def test_a_device_that_is_unplugged_in_the_middle_costs_one_installation(lab: Host, asked: bool) -> None:
    lab.builds.add("v1")
    lab.fake.devices[PHONE].install_seconds = 60
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        token = told.begin(PHONE_ID, "v1")
        await asyncio.wait_for(lab.fake.devices[PHONE].installing.wait(), 10)
        gone = lab.fake.unplug(PHONE)
        await told.lost(PHONE_ID)
        if asked:  # as the core does
            told.provider.cancel_install(token)
        ended = await told.ended(token)
        assert (ended.outcome, ended.unresolvable) == (Outcome.DEVICE_ERROR, False)
        if not ended.cancelled:
            assert "unplugged" in (ended.error or "") or "not found" in (ended.error or "")
        assert lab.installing_processes() == {}
        gone.install_seconds = 0
        lab.fake.plug(gone)
        await told.seen(PHONE_ID, installed=None)
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED
        assert lab.installs() == {(PHONE, "v1"): 1}
        assert len(gone.tries) == 2


async def test_a_restart_of_the_adb_server_costs_no_device_and_no_installation(lab: Host) -> None:
    lab.builds.add("v1")
    async with lab.provider() as told:
        await told.seen(EMULATOR_ID)
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v1")
        for starts in (2, 3):
            await lab.fake.stop()  # the provider has adb start it
            await until(lambda: len(told.lines("adb_sees")) == starts, "it stays blind", seconds=10)  # noqa: B023
            assert (await told.probed(PHONE_ID)).health is Health.GOOD
            assert (lab.fake.starts, len(told.lines("adb_blind"))) == (starts, starts - 1)
        assert told.of(DeviceLost) == []
        assert told.now(PHONE_ID) is not None
        lab.fake.devices[PHONE].battery, lab.fake.devices[PHONE].powered = 1, False
        event = await told.seen(PHONE_ID, health=Health.BAD)  # it looks on
        assert event.installed == ("acme", "v1", lab.digest_of("v1"))
        await told.install(PHONE_ID, "v1")
        assert lab.installs() == {(PHONE, "v1"): 1}


async def test_a_server_that_came_back_in_time_costs_no_device_later(lab: Host) -> None:
    async with lab.provider(blind_seconds=3.0) as told:
        await told.seen(PHONE_ID)
        begun = asyncio.get_running_loop().time()
        await lab.fake.restart()
        await until(lambda: len(told.lines("adb_sees")) == 2, "it stays blind", seconds=10)
        await until(lambda: asyncio.get_running_loop().time() > begun + 3.5, "time stands still")
        assert told.of(DeviceLost) == []


async def test_an_adb_server_that_ends_in_the_middle_is_no_fault_of_the_device(lab: Host) -> None:
    lab.builds.add("v1")
    device = lab.fake.devices[PHONE]
    device.install_seconds = 60
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        token = told.begin(PHONE_ID, "v1")
        await asyncio.wait_for(device.installing.wait(), 10)
        await lab.fake.stop()
        ended = await told.ended(token)
        assert (ended.outcome, ended.unresolvable, ended.cancelled) == (Outcome.PROVIDER_ERROR, False, False)
        assert "adb server" in (ended.error or "")
        device.install_seconds = 0
        await until(lambda: len(told.lines("adb_sees")) == 2, "it stays blind", seconds=10)
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED


async def test_what_can_not_be_seen_is_not_judged(lab: Host) -> None:
    async with lab.provider(adb="/nowhere/adb") as told:
        await told.seen(PHONE_ID, health=Health.GOOD)
        await lab.fake.stop()
        await until(lambda: told.lines("adb_blind"), "it does not notice", seconds=10)
        probed = await told.probed(PHONE_ID)
        assert (probed.health, "can't be reached" in (probed.reason or "")) == (Health.BAD, True)
        await lab.fake.start()
        await until(lambda: len(told.lines("adb_sees")) == 2, "it stays blind", seconds=20)
        assert (await told.probed(PHONE_ID)).health is Health.GOOD
        assert {event.facts.health for event in told.of(DeviceSeen)} == {Health.GOOD}


async def test_devices_of_a_server_that_stays_away_are_lost(lab: Host) -> None:
    adb = lab.folder / "no-adb"
    async with lab.provider(blind_seconds=0.3, adb=str(adb)) as told:
        await told.seen(PHONE_ID)
        await told.seen(EMULATOR_ID)
        await lab.fake.stop()
        await told.lost(PHONE_ID)
        await told.lost(EMULATOR_ID)
        assert len(told.lines("adb_blind")) == 1
        assert told.provider.devices() == []
        await lab.fake.start()
        await told.seen(PHONE_ID, health=Health.GOOD)
        assert len(told.lines("adb_sees")) == 2


async def test_a_device_that_was_replaced_while_nobody_saw_is_looked_at_again(lab: Host) -> None:
    lab.builds.add("v1")
    async with lab.provider(look_seconds=60) as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v1")
        await lab.fake.stop()
        lab.fake.devices[PHONE] = phone(model="Galaxy S23")
        await told.seen(PHONE_ID, model="Galaxy S23", installed=None)

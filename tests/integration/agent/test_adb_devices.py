"""Android devices by the real `adb` program and the stand-in of its server: found, looked at, installed on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qgjob_agent.builds.base import BuildAwayError
from qgjob_agent.core.events import DeviceLost, DeviceSeen, InstallEnded
from qgjob_agent.core.values import DeviceFacts, Health, Outcome, Target
from qgjob_agent.devices.adb.installing import MARK
from tests.fakes.adb_provider import NEEDS_ADB, NO_ADB, Host, host
from tests.fakes.adb_server import FakeDevice, Fault
from tests.fakes.adb_server.apk import ApkFacts
from tests.fakes.program import processes_of
from tests.fakes.waiting import until

pytestmark = pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
PHONE, EMULATOR = "R5CT1234ABC", "emulator-5554"
PHONE_ID, EMULATOR_ID = f"a1.{PHONE}", f"a1.{EMULATOR}"
SHOP = "com.example.shop"
MB = 1_000_000


def phone(**given: object) -> FakeDevice:
    return FakeDevice(PHONE, **{"emulator": False, "model": "Galaxy S22", "release": "13", **given})  # type: ignore[arg-type]


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path, FakeDevice(EMULATOR), phone()) as opened:
        yield opened


def digest_of(lab: Host, app: str) -> str:
    return lab.builds.builds[app].digest


def installs(lab: Host) -> dict[tuple[str, str], int]:
    """By serial and app version."""
    names = {build.digest: app for app, build in lab.builds.builds.items()}
    return {(serial, names[digest]): count for (serial, _, digest), count in lab.fake.installs.items()}


# ---- discovery and health ----


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
        await until(lambda: told.lines("adb_device_left_out"), "nothing is said", seconds=10)
        lab.fake.unplug("10.0.0.1:5555")
        await told.seen("a1.10.0.0.1-5555", model="second")
        lab.fake.plug(FakeDevice("10.0.0.1:5555", model="first"))
        await until(lambda: len(told.lines("adb_device_left_out")) == 2, "nothing is said", seconds=10)
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


# ---- one installation for each device and build ----


async def test_each_device_gets_each_build_once_and_two_at_a_time(lab: Host) -> None:
    lab.builds.add("v1")
    lab.builds.add("v2", version_code=2)
    for device in lab.fake.devices.values():
        device.install_seconds = 0.3
    async with lab.provider() as told:
        await told.seen(EMULATOR_ID)
        await told.seen(PHONE_ID)
        tokens = [told.begin(device_id, "v1") for device_id in (EMULATOR_ID, PHONE_ID)]
        devices = list(lab.fake.devices.values())
        await until(
            lambda: all(device.installing.is_set() for device in devices), "one waits for the other", seconds=10
        )
        for token in tokens:
            ended = await told.ended(token)
            assert (ended.outcome, ended.error, ended.was_there) == (Outcome.PASSED, None, False)
            assert ended.install_ms >= 300
        again = await told.install(PHONE_ID, "v1")
        assert (again.outcome, again.was_there) == (Outcome.PASSED, True)
        assert installs(lab) == {(EMULATOR, "v1"): 1, (PHONE, "v1"): 1}
        assert (await told.install(PHONE_ID, "v2")).outcome is Outcome.PASSED
        assert installs(lab) == {(EMULATOR, "v1"): 1, (PHONE, "v1"): 1, (PHONE, "v2"): 1}
        assert lab.fake.devices[PHONE].packages[SHOP].facts.version_code == 2


async def test_two_apps_lie_on_a_device_beside_each_other(lab: Host) -> None:
    lab.builds.add("shop")
    lab.builds.add("bank", "com.example.bank")
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        for app in ("shop", "bank", "shop", "bank"):
            assert (await told.install(PHONE_ID, app)).outcome is Outcome.PASSED
        assert installs(lab) == {(PHONE, "shop"): 1, (PHONE, "bank"): 1}


@pytest.mark.parametrize("uninstall_ours", [True, False])
async def test_what_one_org_left_is_nothing_for_another(lab: Host, uninstall_ours: bool) -> None:
    lab.builds.add("v1")
    device = lab.fake.devices[PHONE]
    async with lab.provider(uninstall_ours=uninstall_ours) as told:
        await told.seen(PHONE_ID)
        for org in ("acme", "globex"):
            assert (await told.install(PHONE_ID, "v1", org=org)).outcome is Outcome.PASSED
        assert installs(lab)[PHONE, "v1"] == 2
        cleared = [command for command in device.commands if command == f"pm clear {SHOP}"]
        assert (device.uninstalled, len(cleared)) == (([SHOP], 0) if uninstall_ours else ([], 1))


async def test_a_look_from_before_an_installation_does_not_deny_it(lab: Host) -> None:
    lab.builds.add("v1")
    lab.builds.add("bank", "com.example.bank")
    device = lab.fake.devices[PHONE]
    async with lab.provider(look_seconds=0.01) as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "bank")
        asked = "dumpsys package com.example.bank"
        device.slow[asked] = 1.0  # the look that asks for the bank's app ends when the other one is installed
        looked = len(device.commands)
        await until(lambda: asked in device.commands[looked:], "nobody looks", seconds=20)
        device.slow.clear()
        ended = await told.install(PHONE_ID, "v1")
        looked = len(device.commands)
        assert ended.outcome is Outcome.PASSED
        await until(lambda: device.commands[looked:].count(asked) > 2, "nobody looks again", seconds=10)
        after = told.events[told.events.index(ended) :]
        assert [event for event in after if isinstance(event, DeviceSeen)] == []


async def test_what_is_installed_is_not_asked_while_that_changes(lab: Host) -> None:
    lab.builds.add("v1")
    lab.builds.add("bank", "com.example.bank")
    device = lab.fake.devices[PHONE]
    async with lab.provider(look_seconds=0.01) as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "bank")
        device.installing.clear()
        device.faults.append(Fault(hang=True))
        token = told.begin(PHONE_ID, "v1")
        await asyncio.wait_for(device.installing.wait(), 10)
        begun = len(device.commands)

        def looks() -> int:
            return device.commands[begun:].count("getprop")

        await until(lambda: looks() > 1, "nobody looks", seconds=10)
        begun = len(device.commands)  # what had begun before may end after
        await until(lambda: looks() > 3, "nobody looks", seconds=10)
        assert [command for command in device.commands[begun:] if command.startswith("dumpsys package")] == []
        told.provider.cancel_install(token)
        await told.ended(token)


async def test_an_installation_that_an_agent_left_behind_is_ended_by_its_next_life(lab: Host) -> None:
    lab.builds.add("v1")
    device = lab.fake.devices[PHONE]
    device.faults.append(Fault(hang=True))
    environ = lab.settings["environ"] | {MARK: str(lab.settings["installed"])}
    words = ["-H", "127.0.0.1", "-P", str(lab.fake.port), "-s", PHONE, "install", "-r"]
    words.append(str(lab.builds.builds["v1"].path))
    left = await asyncio.create_subprocess_exec("adb", *words, env=environ, stdout=subprocess.DEVNULL)
    await asyncio.wait_for(device.installing.wait(), 10)
    async with lab.provider() as told:
        assert await asyncio.wait_for(left.wait(), 10) == -9
        await told.seen(PHONE_ID)
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED


async def test_two_installations_on_a_device_at_a_time_there_are_not(lab: Host) -> None:
    lab.builds.add("v1")
    lab.builds.held = asyncio.Event()
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        first, second = told.begin(PHONE_ID, "v1"), told.begin(PHONE_ID, "v1")
        assert (await told.ended(second)).error == "another installation runs on the device"
        lab.builds.held.set()
        assert (await told.ended(first)).outcome is Outcome.PASSED


async def test_a_restarted_agent_knows_what_is_installed_by_asking_the_device(lab: Host) -> None:
    lab.builds.add("v1")
    async with lab.provider() as told:
        await told.seen(PHONE_ID, installed=None)
        await told.install(PHONE_ID, "v1")
    async with lab.provider() as told:
        event = await told.seen(PHONE_ID)
        assert event.installed == ("acme", "v1", digest_of(lab, "v1"))
        await told.install(PHONE_ID, "v1")
        assert installs(lab) == {(PHONE, "v1"): 1}


async def test_a_build_of_a_template_is_known_by_what_was_assigned(lab: Host) -> None:
    lab.builds.add("v1", known=False)
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        assert (await told.install(PHONE_ID, "v1", assigned=False)).outcome is Outcome.PASSED
    async with lab.provider() as told:
        assert (await told.seen(PHONE_ID)).installed == ("acme", "v1", None)
        await told.install(PHONE_ID, "v1", assigned=False)
        assert installs(lab) == {(PHONE, "v1"): 1}


@pytest.mark.parametrize("how", ["reinstalled", "removed"])
async def test_what_somebody_else_did_to_our_build_is_noticed(lab: Host, how: str) -> None:
    lab.builds.add("v1")
    device = lab.fake.devices[PHONE]
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v1")
        if how == "reinstalled":
            device.put(ApkFacts(SHOP, version_code=1), "theirs", 1000)
        else:
            device.uninstall(SHOP)
        await told.seen(PHONE_ID, installed=None)
        assert json.loads((lab.folder / "installed" / f"{PHONE}.json").read_text())["packages"] == []
        await told.install(PHONE_ID, "v1")
        assert installs(lab) == {(PHONE, "v1"): 2}
    if how == "reinstalled":
        device.put(ApkFacts(SHOP, version_code=1), "theirs", 1000)
    else:
        device.uninstall(SHOP)
    async with lab.provider() as told:
        assert (await told.seen(PHONE_ID)).installed is None


async def test_a_device_that_can_not_tell_has_not_denied(lab: Host) -> None:
    lab.builds.add("v1")
    device = lab.fake.devices[PHONE]
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v1")
        device.package_dumps = False
        event = await told.seen(PHONE_ID, health=Health.BAD)
        assert f"does not say whether {SHOP} is installed" in (event.facts.reason or "")
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.DEVICE_ERROR
        device.package_dumps = True
        await told.seen(PHONE_ID, health=Health.GOOD, installed=("acme", "v1", digest_of(lab, "v1")))
        await told.install(PHONE_ID, "v1")
        assert installs(lab) == {(PHONE, "v1"): 1}


# ---- what comes between ----


async def test_a_device_that_is_unplugged_and_plugged_in_again_keeps_its_build(lab: Host) -> None:
    lab.builds.add("v1")
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v1")
        gone = lab.fake.unplug(PHONE)
        await told.lost(PHONE_ID)
        lab.fake.plug(gone)
        assert (await told.seen(PHONE_ID)).installed == ("acme", "v1", digest_of(lab, "v1"))
        await told.install(PHONE_ID, "v1")
        assert installs(lab) == {(PHONE, "v1"): 1}


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
        assert installing_processes(lab) == {}
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
        assert installing_processes(lab) == {}
        gone.install_seconds = 0
        lab.fake.plug(gone)
        await told.seen(PHONE_ID, installed=None)
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED
        assert installs(lab) == {(PHONE, "v1"): 1}
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
        assert event.installed == ("acme", "v1", digest_of(lab, "v1"))
        await told.install(PHONE_ID, "v1")
        assert installs(lab) == {(PHONE, "v1"): 1}


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


# ---- cancelling and hanging ----


def installing_processes(lab: Host) -> dict[int, str]:
    """The adb programs that live, by the environment that they were given."""
    return {pid: line for pid, line in processes_of(lab.folder).items() if " install " in line}


async def test_an_installation_that_hangs_is_cancelled_and_nothing_of_it_lives(lab: Host) -> None:
    lab.builds.add("v1")
    lab.fake.devices[PHONE].faults.append(Fault(hang=True))
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        token = told.begin(PHONE_ID, "v1")
        await asyncio.wait_for(lab.fake.devices[PHONE].installing.wait(), 10)
        assert len(installing_processes(lab)) == 1
        told.provider.cancel_install(token)
        told.provider.cancel_install(token)
        ended = await told.ended(token)
        assert (ended.cancelled, ended.unresolvable) == (True, False)
        assert installing_processes(lab) == {}
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED


async def test_an_installation_that_hangs_ends_at_its_bound(lab: Host) -> None:
    lab.builds.add("v1")
    lab.fake.devices[PHONE].faults.append(Fault(hang=True))
    async with lab.provider(install_seconds=1.0) as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.cancelled) == (Outcome.DEVICE_ERROR, False)
        assert "did not end in 1 s" in (ended.error or "")
        assert installing_processes(lab) == {}


async def test_children_of_the_adb_program_die_with_it(lab: Host, tmp_path: Path) -> None:
    lab.builds.add("v1")
    adb = tmp_path / "forking-adb"
    adb.write_text("#!/bin/sh\nsleep 300 & wait\n")
    adb.chmod(0o755)
    async with lab.provider(adb=str(adb)) as told:
        await told.seen(PHONE_ID)
        token = told.begin(PHONE_ID, "v1")
        await until(lambda: len(processes_of(lab.folder)) > 1, "nothing runs", seconds=10)
        told.provider.cancel_install(token)
        assert (await told.ended(token)).cancelled
        assert processes_of(lab.folder) == {}


async def test_what_is_cancelled_before_it_begins_or_while_its_build_comes_ends_too(lab: Host) -> None:
    lab.builds.add("v1")
    lab.builds.held = asyncio.Event()
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        for begun in (False, True):
            token = told.begin(PHONE_ID, "v1")
            if begun:
                await until(lambda: lab.builds.asked, "no build is asked for", seconds=10)
            told.provider.cancel_install(token)
            assert (await told.ended(token)).cancelled
        told.provider.cancel_install("nobody's")
    assert not lab.fake.installs


async def test_what_is_installed_is_told_again_after_an_installation_that_came_to_nothing(lab: Host) -> None:
    lab.builds.add("v1")
    async with lab.provider(look_seconds=60) as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v1")
        lab.builds.held = asyncio.Event()
        token = told.begin(PHONE_ID, "v1")
        told.provider.cancel_install(token)
        assert (await told.ended(token)).cancelled
        await told.seen(PHONE_ID, installed=("acme", "v1", digest_of(lab, "v1")))


async def test_an_end_of_the_agent_in_the_middle_leaves_nothing(lab: Host) -> None:
    lab.builds.add("v1")
    lab.fake.devices[PHONE].faults.append(Fault(hang=True))
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        told.begin(PHONE_ID, "v1")
        await asyncio.wait_for(lab.fake.devices[PHONE].installing.wait(), 10)
    assert processes_of(lab.folder) == {}
    assert told.of(InstallEnded) == []


# ---- failures ----


@pytest.mark.parametrize(
    ("answer", "outcome", "unresolvable"),
    [
        ("INSTALL_FAILED_NO_MATCHING_ABIS: Failed to extract native libraries", Outcome.PROVIDER_ERROR, True),
        ("INSTALL_FAILED_OLDER_SDK: Requires newer sdk version #99", Outcome.PROVIDER_ERROR, True),
        ("INSTALL_FAILED_INVALID_APK", Outcome.PROVIDER_ERROR, True),
        ("INSTALL_PARSE_FAILED_NO_CERTIFICATES: no signature", Outcome.PROVIDER_ERROR, True),
        ("INSTALL_PARSE_FAILED_INCONSISTENT_CERTIFICATES: several keys", Outcome.PROVIDER_ERROR, True),
        ("INSTALL_FAILED_USER_RESTRICTED: Install canceled by user", Outcome.DEVICE_ERROR, False),
        ("INSTALL_FAILED_INTERNAL_ERROR: out of luck", Outcome.DEVICE_ERROR, False),
        ("INSTALL_FAILED_OF_A_LATER_ANDROID: new", Outcome.DEVICE_ERROR, False),
        ("-110", Outcome.DEVICE_ERROR, False),
    ],
)
async def test_a_refusal_has_its_class_and_its_words(
    lab: Host, answer: str, outcome: Outcome, unresolvable: bool
) -> None:
    lab.builds.add("v1")
    lab.fake.devices[PHONE].faults.append(Fault(answer))
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.unresolvable, ended.cancelled) == (outcome, unresolvable, False)
        assert answer in (ended.error or "")
        assert len(lab.fake.devices[PHONE].tries) == 1
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED  # the device is usable again


async def test_a_build_that_can_not_be_had_is_no_fault_of_the_device(lab: Host, tmp_path: Path) -> None:
    build = lab.builds.add("aab")
    lab.builds.builds["aab"] = type(build)(tmp_path / "aab.apk", build.digest, "aab", build.package)
    lab.builds.add("odd")
    lab.builds.builds["odd"] = type(build)(build.path, build.digest, "apk", "com.x; reboot")
    lab.builds.errors["away"] = BuildAwayError("the coordinator is away")
    (tmp_path / "corrupt.apk").write_bytes(b"PK\x03\x04 and no more")
    digest = hashlib.sha256(b"PK\x03\x04 and no more").hexdigest()
    lab.builds.builds["corrupt"] = type(build)(tmp_path / "corrupt.apk", digest, "apk", SHOP)
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        for app, unresolvable, words in (
            ("nobody-pushed", True, "push it"),
            ("aab", True, "bundletool"),
            ("odd", True, "no name of a package"),
            ("corrupt", True, "INSTALL_PARSE_FAILED_NOT_APK"),
            ("away", False, "the coordinator is away"),
        ):
            ended = await told.install(PHONE_ID, app)
            assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, unresolvable), app
            assert words in (ended.error or ""), app
        lab.builds.held = asyncio.Event()
    async with lab.provider(fetch_seconds=0.1) as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, False)
        assert "did not come to this host" in (ended.error or "")
    assert not any("reboot" in command for command in lab.fake.devices[PHONE].commands)


async def test_an_adb_program_that_is_not_there_is_the_hosts_fault(lab: Host) -> None:
    lab.builds.add("v1")
    async with lab.provider(adb="/nowhere/adb") as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, False)
        assert "install Android's platform tools" in (ended.error or "")


async def test_an_adb_server_of_another_version_is_the_hosts_fault_and_said(lab: Host) -> None:
    lab.builds.add("v1")
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        lab.fake.version = 39  # the adb program ends such a server
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, False)
        assert "of another version than the adb program" in (ended.error or "")
        lab.fake.version = 41
        await until(lambda: len(told.lines("adb_sees")) == 2, "it stays blind", seconds=10)
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED


@pytest.mark.parametrize("said", ["failed to get feature set", "Success"])
async def test_an_adb_program_that_ends_well_and_installs_nothing_is_not_believed(lab: Host, said: str) -> None:
    lab.builds.add("v1")
    adb = lab.folder / "polite-adb"
    adb.write_text(f"#!/bin/sh\necho 'Performing Push Install'; echo '{said}'\n")
    adb.chmod(0o755)
    async with lab.provider(adb=str(adb)) as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "v1")
        assert ended.outcome is Outcome.DEVICE_ERROR
        assert (f"has no {SHOP}" if said == "Success" else said) in (ended.error or "")


async def test_a_device_that_is_not_known_refuses_at_once(lab: Host) -> None:
    async with lab.provider() as told:
        ended = await told.install("a1.nobody", "v1")
        assert (ended.outcome, ended.error) == (Outcome.DEVICE_ERROR, "the device is not connected")


# ---- our earlier builds, and others' ----


@pytest.mark.parametrize("later", [{"signer": "other-key"}, {"version_code": 1}])
async def test_an_earlier_build_of_ours_that_is_in_the_way_is_removed(lab: Host, later: dict[str, object]) -> None:
    lab.builds.add("v9", version_code=9)
    lab.builds.add("new", **{"version_code": 10, **later})  # type: ignore[arg-type]
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v9")
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "new")
        assert (ended.outcome, ended.error) == (Outcome.PASSED, None)
        assert installs(lab) == {(PHONE, "v9"): 1, (PHONE, "new"): 1}
        assert lab.fake.devices[PHONE].uninstalled == [SHOP]
        assert [line["package"] for line in told.lines("build_removed")] == [SHOP]


@pytest.mark.parametrize("uninstall_ours", [True, False])
async def test_what_is_in_the_way_and_not_ours_to_remove_stays(lab: Host, uninstall_ours: bool) -> None:
    lab.builds.add("v9", version_code=9)
    lab.builds.add("v1")
    device = lab.fake.devices[PHONE]
    async with lab.provider(uninstall_ours=uninstall_ours) as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v9")
        if uninstall_ours:  # somebody puts theirs in its place
            device.put(ApkFacts(SHOP, version_code=20, signer="theirs"), "theirs", 1000)
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.unresolvable) == (Outcome.DEVICE_ERROR, False)
        assert f"uninstall {SHOP} by hand" in (ended.error or "")
        assert (SHOP in device.packages, device.uninstalled) == (True, [])
        assert len(device.tries) == 2


async def test_room_is_made_by_removing_ours_the_least_recently_used_first_and_nothing_else(lab: Host) -> None:
    device = lab.fake.devices[PHONE]
    device.put(ApkFacts("com.theirs"), "theirs", 900 * MB)
    size = MB
    for app in ("one", "two", "three"):
        lab.builds.add(app, f"com.example.{app}", padding_bytes=size)
    async with lab.provider(min_free_mb=0) as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "one")
        await told.install(PHONE_ID, "two")
        await told.install(PHONE_ID, "one")  # it is used again
        device.free_bytes = size + size // 2
        assert (await told.install(PHONE_ID, "three")).outcome is Outcome.PASSED
        assert device.uninstalled == ["com.example.two"]
        assert set(device.packages) == {"com.theirs", "com.example.one", "com.example.three"}
        device.free_bytes = 4000 * MB  # and yet it has no room
        device.faults.append(Fault("INSTALL_FAILED_INSUFFICIENT_STORAGE"))
        lab.builds.add("four", "com.example.four")
        assert (await told.install(PHONE_ID, "four")).outcome is Outcome.PASSED
        assert device.uninstalled == ["com.example.two", "com.example.one"]
        assert set(device.packages) == {"com.theirs", "com.example.three", "com.example.four"}


async def test_what_became_anothers_meanwhile_is_not_removed_for_room(lab: Host) -> None:
    device = lab.fake.devices[PHONE]
    lab.builds.add("one", "com.example.one")
    lab.builds.add("two", "com.example.two")
    async with lab.provider(look_seconds=60) as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "one")
        device.install_seconds = 0.2
        device.faults.append(Fault("INSTALL_FAILED_INSUFFICIENT_STORAGE"))
        device.installing.clear()
        token = told.begin(PHONE_ID, "two")
        await asyncio.wait_for(device.installing.wait(), 10)
        device.put(ApkFacts("com.example.one"), "theirs", 1000)
        assert (await told.ended(token)).outcome is Outcome.DEVICE_ERROR
        assert (set(device.packages), device.uninstalled) == ({"com.example.one"}, [])


@pytest.mark.parametrize("uninstall_ours", [True, False])
async def test_a_device_without_room_for_a_build_says_so_and_keeps_what_is_others(
    lab: Host, uninstall_ours: bool
) -> None:
    device = lab.fake.devices[PHONE]
    device.put(ApkFacts("com.theirs"), "theirs", 900 * MB)
    lab.builds.add("v1", padding_bytes=MB)
    lab.builds.add("old", "com.example.old")
    async with lab.provider(min_free_mb=0, uninstall_ours=uninstall_ours) as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "old")
        device.free_bytes = 1000
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.unresolvable) == (Outcome.DEVICE_ERROR, False)
        assert "no room for the build" in (ended.error or "")
        assert set(device.packages) == {"com.theirs"} | (set() if uninstall_ours else {"com.example.old"})
        device.free_bytes = 4000 * MB
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED

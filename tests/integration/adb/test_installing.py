"""Each build is installed on each device once, by the real `adb` program, and ended when that is asked."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from qgjob_agent.core.events import DeviceSeen, InstallEnded
from qgjob_agent.core.values import Assignment, Health, Outcome
from qgjob_agent.devices.installing import MARK
from tests.fakes.adb_provider import EMULATOR, EMULATOR_ID, NEEDS_ADB, NO_ADB, PHONE, PHONE_ID, SHOP, Host
from tests.fakes.adb_server import Fault
from tests.fakes.adb_server.apk import ApkFacts
from tests.fakes.program import processes_of
from tests.fakes.waiting import until

pytestmark = pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)


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
        assert lab.installs() == {(EMULATOR, "v1"): 1, (PHONE, "v1"): 1}
        assert (await told.install(PHONE_ID, "v2")).outcome is Outcome.PASSED
        assert lab.installs() == {(EMULATOR, "v1"): 1, (PHONE, "v1"): 1, (PHONE, "v2"): 1}
        assert lab.fake.devices[PHONE].packages[SHOP].facts.version_code == 2


async def test_two_apps_lie_on_a_device_beside_each_other(lab: Host) -> None:
    lab.builds.add("shop")
    lab.builds.add("bank", "com.example.bank")
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        for app in ("shop", "bank", "shop", "bank"):
            assert (await told.install(PHONE_ID, app)).outcome is Outcome.PASSED
        assert lab.installs() == {(PHONE, "shop"): 1, (PHONE, "bank"): 1}


@pytest.mark.parametrize("pushed", [True, False])
@pytest.mark.parametrize("uninstall_ours", [True, False])
async def test_what_one_org_left_is_nothing_for_another(lab: Host, uninstall_ours: bool, pushed: bool) -> None:
    lab.builds.add("v1", known=pushed)
    device = lab.fake.devices[PHONE]
    async with lab.provider(uninstall_ours=uninstall_ours) as told:
        await told.seen(PHONE_ID)
        for org in ("acme", "globex"):
            assert (await told.install(PHONE_ID, "v1", org=org, assigned=pushed)).outcome is Outcome.PASSED
        assert lab.installs()[PHONE, "v1"] == 2
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
        assert event.installed == ("acme", "v1", lab.digest_of("v1"))
        await told.install(PHONE_ID, "v1")
        assert lab.installs() == {(PHONE, "v1"): 1}


async def test_a_build_of_a_template_is_known_by_what_was_assigned(lab: Host) -> None:
    lab.builds.add("v1", known=False)
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        assert (await told.install(PHONE_ID, "v1", assigned=False)).outcome is Outcome.PASSED
    async with lab.provider() as told:
        assert (await told.seen(PHONE_ID)).installed == ("acme", "v1", None)
        wanted = [Assignment("acme~1", "t", 1, 1, PHONE_ID, "acme", version, "a.spec.ts") for version in ("v1", "v2")]
        assert [told.provider.package_of(each) for each in wanted] == [SHOP, None]
        await told.install(PHONE_ID, "v1", assigned=False)
        assert lab.installs() == {(PHONE, "v1"): 1}


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
        assert lab.installs() == {(PHONE, "v1"): 2}
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
        await told.seen(PHONE_ID, health=Health.GOOD, installed=("acme", "v1", lab.digest_of("v1")))
        await told.install(PHONE_ID, "v1")
        assert lab.installs() == {(PHONE, "v1"): 1}


async def test_an_installation_that_hangs_is_cancelled_and_nothing_of_it_lives(lab: Host) -> None:
    lab.builds.add("v1")
    lab.fake.devices[PHONE].faults.append(Fault(hang=True))
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        token = told.begin(PHONE_ID, "v1")
        await asyncio.wait_for(lab.fake.devices[PHONE].installing.wait(), 10)
        assert len(lab.installing_processes()) == 1
        told.provider.cancel_install(token)
        told.provider.cancel_install(token)
        ended = await told.ended(token)
        assert (ended.cancelled, ended.unresolvable) == (True, False)
        assert lab.installing_processes() == {}
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED


async def test_an_installation_that_hangs_ends_at_its_bound(lab: Host) -> None:
    lab.builds.add("v1")
    lab.fake.devices[PHONE].faults.append(Fault(hang=True))
    async with lab.provider(install_seconds=1.0) as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.cancelled) == (Outcome.DEVICE_ERROR, False)
        assert "did not end in 1 s" in (ended.error or "")
        assert lab.installing_processes() == {}


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
        await told.seen(PHONE_ID, installed=("acme", "v1", lab.digest_of("v1")))


async def test_an_end_of_the_agent_in_the_middle_leaves_nothing(lab: Host) -> None:
    lab.builds.add("v1")
    lab.fake.devices[PHONE].faults.append(Fault(hang=True))
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        told.begin(PHONE_ID, "v1")
        await asyncio.wait_for(lab.fake.devices[PHONE].installing.wait(), 10)
    assert processes_of(lab.folder) == {}
    assert told.of(InstallEnded) == []

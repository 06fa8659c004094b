"""Simulators are found, judged and booted, and each build is installed on each of them once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qgjob_agent.builds.base import BuildAwayError
from qgjob_agent.core.events import DeviceLost, InstallEnded
from qgjob_agent.core.values import Health, Outcome, Target
from qgjob_agent.devices.apple.settings import Erase
from tests.fakes import packages
from tests.fakes.apple_provider import OTHER, OTHER_ID, SHOP, SIM, SIM_ID, Mac
from tests.fakes.program import processes_of
from tests.fakes.provided import Provided
from tests.fakes.waiting import until
from tests.fakes.xcrun import SimulatorState

TV = SimulatorState("11111111-2222-4333-8444-555555555555", "Apple TV", runtime="tvOS-17-2", type="Apple-TV-4K")


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    return Mac(tmp_path, SimulatorState(SIM), SimulatorState(OTHER, "Shop floor", "Shutdown", type="iPad-Air"), TV)


async def test_booted_simulators_are_found_and_told_what_they_are(mac: Mac) -> None:
    async with mac.simulators() as told:
        event = await told.seen(SIM_ID, health=Health.GOOD)
        facts = event.facts
        assert (facts.udid, facts.target, facts.platform, facts.os_version) == (SIM, Target.EMULATOR, "ios", "17.2")
        assert (facts.model, facts.labels) == ("iPhone 15", {"name": "iPhone 15"})
        mac.xcode.set(OTHER, state="Booted")
        assert (await told.seen(OTHER_ID, health=Health.GOOD)).facts.model == "iPad Air"
        mac.xcode.set(OTHER, state="Shutdown")
        await told.lost(OTHER_ID)
        assert {facts.device_id for facts in told.provider.devices()} == {SIM_ID}
        probed = await told.probed(SIM_ID)
        assert (probed.health, probed.reason) == (Health.GOOD, None)
        assert (await told.probed(OTHER_ID)).reason == "the device is not connected"


async def test_named_simulators_are_booted_and_what_keeps_them_from_it_is_said(mac: Mac) -> None:
    mac.xcode.set(OTHER, state="Shutdown")
    mac.xcode.set(SIM, unavailable="runtime profile not found", state="Shutdown")
    mac.xcode.fail("bootstatus", "Unable to boot device due to insufficient system resources.", code=164, udid=OTHER)
    missing = "99999999-9999-4999-8999-999999999999"
    async with mac.simulators(udids=frozenset({SIM, OTHER, missing})) as told:
        event = await told.seen(OTHER_ID, health=Health.BAD)
        await until(lambda: told.lines("simulator_not_booted"), "nothing is said", seconds=20)
        await until(
            lambda: "insufficient system resources" in (told.now(OTHER_ID) or event).facts.reason,
            lambda: f"{told.events}",
            seconds=20,
        )
        assert "runtime profile not found" in ((await told.seen(SIM_ID)).facts.reason or "")
        assert [line["udid"] for line in told.lines("simulator_not_found")] == [missing]
    mac.xcode.set(SIM, unavailable=None)
    async with mac.simulators(udids=frozenset({SIM, OTHER})) as told:
        await told.seen(OTHER_ID, health=Health.GOOD)
        await told.seen(SIM_ID, health=Health.GOOD)
        mac.xcode.set(SIM, state="Shutdown")  # somebody's hand, or a crash: it is booted again, and never lost
        await until(lambda: len(told.lines("simulator_booted")) == 3, lambda: f"{told.said.entries}", seconds=20)
        await told.seen(SIM_ID, health=Health.GOOD)
        assert told.of(DeviceLost) == []
    mac.xcode.set(SIM, state="Shutdown")
    async with mac.simulators(udids=frozenset({SIM}), boot=False) as told:
        assert "boot it, or set apple.boot" in ((await told.seen(SIM_ID)).facts.reason or "")


async def test_each_simulator_gets_each_build_once_also_across_a_restart_of_the_agent(mac: Mac) -> None:
    mac.xcode.set(OTHER, state="Booted")
    mac.apps.add("v1")
    mac.apps.add("v2")
    mac.apps.add("bank", "com.example.bank")
    async with mac.simulators() as told:
        await told.seen(SIM_ID)
        await told.seen(OTHER_ID)
        tokens = [told.begin(device_id, "v1") for device_id in (SIM_ID, OTHER_ID)]
        for token in tokens:
            ended = await told.ended(token)
            assert (ended.outcome, ended.error, ended.was_there) == (Outcome.PASSED, None, False)
        assert (await told.install(SIM_ID, "bank")).outcome is Outcome.PASSED
        assert (await told.install(SIM_ID, "v1")).was_there
        assert mac.xcode.installs() == {(SIM, SHOP): 1, (OTHER, SHOP): 1, (SIM, "com.example.bank"): 1}
    async with mac.simulators() as told:
        event = await told.seen(SIM_ID, health=Health.GOOD)
        assert event.installed == ("acme", "v1", mac.apps.builds["v1"].digest)
        assert (await told.install(SIM_ID, "v1")).was_there
        assert (await told.install(SIM_ID, "v2")).outcome is Outcome.PASSED
        assert mac.xcode.installs()[SIM, SHOP] == 2
        mac.xcode.set(SIM, state="Shutdown")
        await told.lost(SIM_ID)
        mac.xcode.set(SIM, state="Booted")  # its disk is what it was
        await told.seen(SIM_ID, installed=("acme", "v2", mac.apps.builds["v2"].digest))
    unpacked = {each.name for each in (mac.folder / "unpacked").iterdir()}
    assert unpacked == {build.digest for build in mac.apps.builds.values()}  # each once, whatever it was installed on


async def test_what_somebody_else_did_to_our_build_is_noticed(mac: Mac) -> None:
    build = mac.apps.add("v1")
    async with mac.simulators(look_seconds=0.5) as told:
        await told.seen(SIM_ID)
        await told.install(SIM_ID, "v1")
        await told.seen(SIM_ID, installed=("acme", "v1", build.digest))
        (app,) = mac.xcode.disk(SIM).glob("Containers/Bundle/Application/*")
        app.rename(app.with_name("0F3B"))  # as after another installation of the same
        await told.seen(SIM_ID, installed=None)
        assert json.loads((mac.folder / "installed" / f"{SIM}.json").read_text())["packages"] == []


async def test_a_simulator_is_erased_before_another_build_where_the_settings_want_it(mac: Mac) -> None:
    mac.apps.add("v1")
    mac.apps.add("v2")
    async with mac.simulators(erase=Erase.BUILDS) as told:
        await told.seen(SIM_ID, health=Health.GOOD)
        for app, org, erased in (("v1", "acme", 0), ("v2", "acme", 1), ("v2", "globex", 2)):
            ended = await told.install(SIM_ID, app, org=org)
            assert (ended.outcome, ended.error) == (Outcome.PASSED, None)
            assert mac.xcode.get(SIM).get("erased", 0) == erased
        assert told.of(DeviceLost) == []  # that it was shut down meanwhile is no news
        assert mac.xcode.lines("uninstalls") == []
        assert mac.xcode.installs() == {(SIM, SHOP): 3}


async def test_a_simulator_whose_erasing_was_cancelled_is_booted_again(mac: Mac) -> None:
    mac.apps.add("v1")
    mac.apps.add("v2")
    async with mac.simulators(erase=Erase.BUILDS, boot=False) as told:
        await told.seen(SIM_ID, health=Health.GOOD)
        await told.install(SIM_ID, "v1")
        mac.xcode.fail("erase", hang=True)
        token = told.begin(SIM_ID, "v2")
        await until(lambda: mac.xcode.lines("hanging"), "nothing is erased", seconds=20)
        told.provider.cancel_install(token)
        assert (await told.ended(token)).cancelled
        assert mac.xcode.get(SIM)["state"] == "Shutdown"
        await until(lambda: mac.xcode.get(SIM)["state"] == "Booted", "it stays down", seconds=20)
        await told.seen(SIM_ID, health=Health.GOOD, installed=("acme", "v1", mac.apps.builds["v1"].digest))
        assert told.of(DeviceLost) == []


async def test_a_build_that_does_not_fit_is_said_and_never_tried(mac: Mac) -> None:
    mac.apps.put("ipa", packages.write(mac.folder / "shop.ipa", packages.ipa()), "ipa", SHOP)
    mac.apps.put("apk", packages.write(mac.folder / "shop.apk", packages.apk()), "apk", SHOP)
    mac.apps.put("phone", packages.write(mac.folder / "phone.zip", packages.app("iphoneos")), "app", SHOP)
    mac.apps.add("corrupt", data=b"PK\x03\x04 and no more")
    mac.apps.add(
        "slip", data=packages.zipped({"X.app/Info.plist": packages.info_plist("iphonesimulator"), "../x": b""})
    )
    mac.apps.errors["away"] = BuildAwayError("the coordinator is away")
    async with mac.simulators() as told:
        await told.seen(SIM_ID)
        for app, words in (
            ("ipa", "is an .ipa, which is for iPhones and iPads"),
            ("apk", "the build of 'apk' is an .apk, a build for Android"),
            ("phone", "the build of 'phone' was built for iPhones"),
            ("corrupt", "no zip archive"),
            ("slip", "would lie outside of it"),
        ):
            ended = await told.install(SIM_ID, app)
            assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, True), app
            assert words in (ended.error or ""), (app, ended.error)
        ended = await told.install(SIM_ID, "away")
        assert (ended.outcome, ended.unfetched) == (Outcome.PROVIDER_ERROR, True)
    assert mac.xcode.lines("tries") == []
    assert not (mac.folder / "x").exists()


async def test_a_refusal_has_its_class_and_its_words(mac: Mac) -> None:
    mac.apps.add("v1")
    async with mac.simulators() as told:
        await told.seen(SIM_ID)
        for said, outcome, unresolvable in (
            ("Failed to find matching arch for 64-bit Mach-O input file", Outcome.PROVIDER_ERROR, True),
            ("CoreSimulatorService connection became invalid.", Outcome.PROVIDER_ERROR, False),
            ("No space left on device", Outcome.DEVICE_ERROR, False),
            ("Something new", Outcome.DEVICE_ERROR, False),
        ):
            mac.xcode.fail("install", said, code=2)
            ended = await told.install(SIM_ID, "v1")
            assert (ended.outcome, ended.unresolvable) == (outcome, unresolvable)
            assert said in (ended.error or "")
        assert (await told.install(SIM_ID, "v1")).outcome is Outcome.PASSED  # it is usable again


async def test_what_a_simulator_shows_is_a_picture_or_said_to_be_missing(mac: Mac) -> None:
    async with mac.simulators() as told:
        await told.seen(SIM_ID, health=Health.GOOD)
        picture = await told.provider.screen(SIM_ID)
        assert picture is not None
        assert picture.startswith(b"\x89PNG")
        assert picture.endswith(SIM.encode())
        mac.xcode.fail("screenshot", code=2, says="Timeout waiting for screen surfaces")
        with pytest.raises(OSError, match="made no picture: Timeout waiting for screen surfaces"):
            await told.provider.screen(SIM_ID)
        with pytest.raises(OSError, match="does not run"):
            await told.provider.screen("a1.none")


async def test_an_xcrun_that_hangs_is_killed_and_told(mac: Mac) -> None:
    mac.apps.add("v1")
    async with mac.simulators(answer_seconds=3.0, look_seconds=0.5) as told:
        await told.seen(SIM_ID, health=Health.GOOD)
        mac.xcode.fail("list", hang=True)
        await until(lambda: told.lines("apple_blind"), "nobody says it", seconds=20)
        await until(lambda: len(told.lines("apple_sees")) == 2, "it stays blind", seconds=20)
        assert "did not end in 3 s, and was killed" in told.lines("apple_blind")[0]["error"]
        assert told.of(DeviceLost) == []
        mac.xcode.fail("install", hang=True)
        token = told.begin(SIM_ID, "v1")
        await until(lambda: {"verb": "install", "udid": SIM} in mac.xcode.lines("hanging"), "no try", seconds=20)
        told.provider.cancel_install(token)
        assert (await told.ended(token)).cancelled
        assert [line for line in processes_of(mac.folder).values() if " install " in line] == []
        assert (await told.install(SIM_ID, "v1")).outcome is Outcome.PASSED
        mac.xcode.fail("get_app_container", hang=True, times=99)
        hung = f"`xcrun simctl get_app_container {SIM}` did not end in 3 s, and was killed"
        await until(lambda: hung in (_reason(told) or ""), lambda: f"{told.events}", seconds=60)
        mac.xcode.heal()
        await told.seen(SIM_ID, health=Health.GOOD, installed=("acme", "v1", mac.apps.builds["v1"].digest))


def _reason(told: Provided) -> str | None:
    event = told.now(SIM_ID)
    return None if event is None else event.facts.reason


async def test_a_simulator_that_has_not_started_up_yet_gets_no_work(mac: Mac) -> None:
    mac.xcode.set(SIM, starting=True)
    async with mac.simulators(answer_seconds=2.0) as told:
        assert "has not started up yet" in ((await told.seen(SIM_ID, health=Health.BAD)).facts.reason or "")
        mac.xcode.set(SIM, starting=False)
        await told.seen(SIM_ID, health=Health.GOOD)


async def test_without_xcode_it_says_what_to_do_and_an_end_of_the_agent_leaves_nothing(mac: Mac) -> None:
    async with mac.simulators(program="/nowhere/xcrun") as told:
        await until(lambda: told.lines("apple_blind"), "nobody says it", seconds=20)
        assert "install Xcode" in told.lines("apple_blind")[0]["error"]
    mac.apps.add("v1")
    async with mac.simulators() as told:
        await told.seen(SIM_ID)
        mac.xcode.fail("install", hang=True)
        told.begin(SIM_ID, "v1")
        await until(lambda: mac.xcode.lines("hanging"), "no try", seconds=20)
    assert processes_of(mac.folder) == {}
    assert told.of(InstallEnded) == []

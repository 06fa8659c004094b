"""Installations that fail: whose fault it is, and what of ours, and only of ours, is removed."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from qgjob_agent.builds.base import BuildAwayError
from qgjob_agent.core.values import Outcome
from tests.fakes.adb_provider import MB, NEEDS_ADB, NO_ADB, PHONE, PHONE_ID, SHOP, Host
from tests.fakes.adb_server import Fault
from tests.fakes.adb_server.apk import ApkFacts
from tests.fakes.packages import binary_manifest, write, zipped
from tests.fakes.waiting import until

pytestmark = pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)


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


async def test_a_build_that_does_not_tell_its_package_meets_no_device(lab: Host, tmp_path: Path) -> None:
    for app, members, words in (
        ("text", {"AndroidManifest.xml": b"<manifest package='com.example.shop'/>"}, "no compiled XML"),
        ("none", {"classes.dex": b"dex"}, "0 files AndroidManifest.xml"),
        ("odd", {"AndroidManifest.xml": binary_manifest("com.x; reboot")}, "no name of a package"),
    ):
        lab.builds.put(app, write(tmp_path / f"{app}.apk", zipped(members)), "apk", None)
        async with lab.provider() as told:
            await told.seen(PHONE_ID)
            ended = await told.install(PHONE_ID, app, assigned=False)
            assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, True), app
            assert words in (ended.error or ""), ended.error
    assert lab.fake.devices[PHONE].tries == []


async def test_a_build_that_can_not_be_read_now_is_tried_again(lab: Host) -> None:
    path = lab.builds.add("v1", known=False).path
    path.unlink()
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "v1", assigned=False)
        assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, False)
        assert f"{path.name!r} can't be read" in (ended.error or "")


async def test_a_build_that_can_not_be_had_is_no_fault_of_the_device(lab: Host, tmp_path: Path) -> None:
    build = lab.builds.add("aab")
    lab.builds.builds["aab"] = type(build)(tmp_path / "571689e8.aab", build.digest, "aab", build.package, "1.0")
    lab.builds.add("odd")
    lab.builds.builds["odd"] = type(build)(build.path, build.digest, "apk", "com.x; reboot")
    lab.builds.errors["away"] = BuildAwayError("the coordinator is away")
    lab.builds.errors["large"] = BuildAwayError("more than builds.cache_mb", host_unfit=True)
    (tmp_path / "corrupt.apk").write_bytes(b"PK\x03\x04 and no more")
    digest = hashlib.sha256(b"PK\x03\x04 and no more").hexdigest()
    lab.builds.builds["corrupt"] = type(build)(tmp_path / "corrupt.apk", digest, "apk", SHOP)
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        for app, unresolvable, words in (
            ("nobody-pushed", True, "push it"),
            ("aab", True, "the build of '1.0' is an .aab, and Android devices install an .apk: push that (bundletool"),
            ("odd", True, "no name of a package"),
            ("corrupt", True, "INSTALL_PARSE_FAILED_NOT_APK"),
            ("away", False, "the coordinator is away"),
            ("large", False, "builds.cache_mb"),
        ):
            ended = await told.install(PHONE_ID, app)
            assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, unresolvable), app
            assert words in (ended.error or ""), app
            assert (ended.unfetched, ended.host_unfit) == (app in ("away", "large"), app == "large"), app
        lab.builds.held = asyncio.Event()
    async with lab.provider(fetch_seconds=0.1) as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.unresolvable, ended.unfetched) == (Outcome.PROVIDER_ERROR, False, True)
        assert "did not come to this host" in (ended.error or "")
    assert not any("reboot" in command for command in lab.fake.devices[PHONE].commands)


async def test_a_fault_of_the_agent_is_said_and_ends_the_installation(lab: Host) -> None:
    lab.builds.errors["v1"] = RuntimeError("a bug")
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, False)
        assert ended.error == "the agent failed while it installed: RuntimeError: a bug"
        (line,) = told.lines("install_failed_inside")
        assert (line["device_id"], line["log_level"]) == (PHONE_ID, "error")
        told.said.entries.clear()


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


@pytest.mark.parametrize("pushed", [True, False])
@pytest.mark.parametrize("later", [{"signer": "other-key"}, {"version_code": 1}])
async def test_an_earlier_build_of_ours_that_is_in_the_way_is_removed(
    lab: Host, later: dict[str, object], pushed: bool
) -> None:
    lab.builds.add("v9", known=pushed, version_code=9)
    lab.builds.add("new", known=pushed, **{"version_code": 10, **later})  # type: ignore[arg-type]
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        await told.install(PHONE_ID, "v9", assigned=pushed)
    async with lab.provider() as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "new", assigned=pushed)
        assert (ended.outcome, ended.error) == (Outcome.PASSED, None)
        assert lab.installs() == {(PHONE, "v9"): 1, (PHONE, "new"): 1}
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

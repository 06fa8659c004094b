"""iPhones, as devicectl has them: found, judged, installed on."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob_agent.core.values import Health, Outcome, Target
from tests.fakes import packages
from tests.fakes.apple_provider import PHONE, PHONE_ID, SHOP, SIM, Mac
from tests.fakes.waiting import until
from tests.fakes.xcrun import PhoneState, SimulatorState


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    watch = PhoneState("00008310-0001", "A watch", platform="watchOS")
    return Mac(tmp_path, PhoneState(PHONE), watch, SimulatorState(SIM))


async def test_an_iphone_is_found_judged_and_lost(mac: Mac) -> None:
    async with mac.phones() as told:
        event = await told.seen(PHONE_ID, health=Health.GOOD)
        facts = event.facts
        assert (facts.udid, facts.target, facts.platform, facts.os_version) == (PHONE, Target.DEVICE, "ios", "17.6.1")
        assert (facts.model, facts.labels) == ("iPhone 14", {"name": "Lab 3"})
        assert {each.device_id for each in told.provider.devices()} == {PHONE_ID}
        (line,) = told.lines("apple_devices_experimental")
        assert "WebDriverAgent" in line["note"]
        mac.xcode.set(PHONE, developer_mode="disabled")
        assert "Developer Mode" in ((await told.seen(PHONE_ID, health=Health.BAD)).facts.reason or "")
        mac.xcode.set(PHONE, developer_mode="enabled", pairing="unpaired")
        await until(lambda: "not paired" in (told.events[-1].facts.reason or ""), "nothing is said", seconds=20)
        assert (await told.install(PHONE_ID, "v1")).error == (
            "the device is not paired with this Mac: plug it in, unlock it, and trust this computer"
        )
        mac.xcode.set(PHONE, tunnel="unavailable")
        await told.lost(PHONE_ID)


async def test_each_build_is_installed_once_also_across_a_restart_of_the_agent(mac: Mac) -> None:
    mac.ipas.add("v1")
    mac.ipas.add("v2")
    async with mac.phones() as told:
        await told.seen(PHONE_ID)
        for app, org, was_there in (("v1", "acme", False), ("v1", "acme", True), ("v1", "globex", False)):
            ended = await told.install(PHONE_ID, app, org=org)
            assert (ended.outcome, ended.was_there) == (Outcome.PASSED, was_there)
        assert [each["package"] for each in mac.xcode.lines("uninstalls")] == [SHOP]  # the other org's
    async with mac.phones() as told:
        event = await told.seen(PHONE_ID, health=Health.GOOD)
        assert event.installed == ("globex", "v1", mac.ipas.builds["v1"].digest)
        assert (await told.install(PHONE_ID, "v2", org="globex")).outcome is Outcome.PASSED
    assert mac.xcode.installs() == {(PHONE, SHOP): 3}


async def test_what_does_not_fit_or_is_refused_has_its_class(mac: Mac) -> None:
    mac.ipas.put("app", packages.write(mac.folder / "shop.zip", packages.app()), "app", SHOP)
    mac.ipas.add("v1")
    underlying = {
        "code": 13,
        "domain": "MIInstallerErrorDomain",
        "userInfo": {
            "NSLocalizedDescription": {"string": "A valid provisioning profile for this executable was not found."}
        },
    }
    failed = {
        "code": 3002,
        "domain": "com.apple.dt.CoreDeviceError",
        "userInfo": {
            "NSLocalizedDescription": {"string": "Failed to install the app on the device."},
            "NSUnderlyingError": {"error": underlying},
        },
    }
    mac.xcode.fail("devicectl install", error=failed)
    async with mac.phones() as told:
        await told.seen(PHONE_ID)
        ended = await told.install(PHONE_ID, "app")
        assert (ended.outcome, ended.unresolvable) == (Outcome.PROVIDER_ERROR, True)
        assert "a zip of an .app folder, and iPhones and iPads install an .ipa" in (ended.error or "")
        ended = await told.install(PHONE_ID, "v1")
        assert (ended.outcome, ended.unresolvable) == (Outcome.DEVICE_ERROR, False)
        assert "add the device to one, and sign again" in (ended.error or "")
        assert "Failed to install the app on the device" in (ended.error or "")
        assert (await told.install(PHONE_ID, "v1")).outcome is Outcome.PASSED

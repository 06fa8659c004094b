"""What simctl and devicectl say is read as it was recorded, and nothing is made up of what is not understood."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.devices.apple.failures import FAILURES, failure_of
from qgjob_agent.devices.apple.says import (
    NO_DEVELOPER_MODE,
    READY,
    UNPAIRED,
    Phone,
    Simulator,
    devicectl_problem,
    is_simulator_udid,
    parse_app,
    parse_phones,
    parse_simulators,
)
from qgjob_agent.devices.packages import PackageSays
from qgjob_agent.devices.refusals import Blame, DeviceSilentError

RECORDED = Path(__file__).parents[2] / "fakes" / "xcrun" / "recorded"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["devices", "result", "apps", "udid", "name", "hardwareProperties", "error", "userInfo"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


def recorded(name: str) -> str:
    return (RECORDED / name).read_text("utf-8")


def test_simulators_of_ios_are_read() -> None:
    disk = "/Users/lab/Library/Developer/CoreSimulator/Devices"
    pad, phone = "9C27D1A4-30E6-4F0B-A2C3-6B8D5E7F1022", "1A5B64C2-98E3-4D6F-9E0A-7C3D2B1F5033"
    name = "iPad Pro (12.9-inch) (3rd generation)"
    assert parse_simulators(recorded("simctl-list.json")) == [
        Simulator(pad, name, "Shutdown", "13.3", name, f"{disk}/{pad}/data", "runtime profile not found"),
        Simulator(phone, "iPhone 15 Pro", "Booted", "17.2", "iPhone 15 Pro", f"{disk}/{phone}/data"),
    ]
    renamed = recorded("simctl-list.json").replace(name, "Till 3")
    assert parse_simulators(renamed)[0].model == "iPad Pro 12 9 inch 3rd generation"
    assert is_simulator_udid(pad)
    assert not is_simulator_udid("00008027-000A1C2E3D4F5A60")


def test_iphones_and_ipads_are_read_and_nothing_else() -> None:
    """No Mac, no Vision Pro, none that can't be reached, and no simulator, which later versions list too."""
    said = json.loads(recorded("devicectl-list.json"))
    pad = Phone("00008027-000A1C2E3D4F5A60", "Lab iPad", READY, "17.6.1", "iPad Pro (11-inch)")
    assert parse_phones(said) == [pad]
    device = said["result"]["devices"][1]
    device["deviceProperties"]["developerModeStatus"] = "disabled"
    assert parse_phones(said)[0].state == NO_DEVELOPER_MODE
    device["connectionProperties"]["pairingState"] = "unpaired"
    assert parse_phones(said)[0].state == UNPAIRED
    device["connectionProperties"]["tunnelState"] = "unavailable"
    assert parse_phones(said) == []


def test_an_app_is_found_by_its_id() -> None:
    url = "file:///private/var/containers/Bundle/Application/0F3B/Shop.app/"
    said = {"result": {"apps": [{"bundleIdentifier": "com.x.y", "bundleVersion": "42", "url": url}]}}
    assert parse_app(said, "com.x.y") == PackageSays("42", "", url)
    assert parse_app(said, "com.x") is None


def test_a_failure_of_devicectl_is_told_with_what_lies_below_it() -> None:
    problem = devicectl_problem(json.loads(recorded("devicectl-failed.json")))
    assert problem == (
        "Failed to install the app on the device. (com.apple.dt.CoreDeviceError 3002): Info.plist missing at "
        "Example.app/Frameworks/Kit.framework/Info.plist MICreateCFBundleEnforcingInfoPlistSize "
        "(MIInstallerErrorDomain 35)"
    )
    assert failure_of(problem)[0].blame is Blame.BUILD
    assert devicectl_problem(json.loads(recorded("devicectl-list.json"))) == ""


@given(JSON)
def test_what_is_not_understood_is_no_list_or_is_left_out(said: object) -> None:
    for parse in (lambda: parse_simulators(json.dumps(said)), lambda: parse_phones(said), lambda: parse_app(said, "x")):
        with contextlib.suppress(DeviceSilentError):
            parse()
    devicectl_problem(said)


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"devices": []}', '{"devices": null}'])
def test_no_list_of_simulators_is_no_empty_list(text: str) -> None:
    with pytest.raises(DeviceSilentError, match="printed no list"):
        parse_simulators(text)


@pytest.mark.parametrize("text", FAILURES)
def test_each_refusal_is_known_by_its_own_text(text: str) -> None:
    failure, words = failure_of(f"An error was encountered (domain=X, code=4):\n{text.upper()} somewhere.")
    assert failure is FAILURES[text]
    assert words == f"An error was encountered (domain=X, code=4): {text.upper()} somewhere."


def test_a_refusal_without_a_known_reason_is_the_devices() -> None:
    assert failure_of("something new")[0].blame is Blame.DEVICE
    assert failure_of("")[1] == "nothing was said"

"""`--require` and `--device-id`."""

from __future__ import annotations

import asyncio
from difflib import get_close_matches
from typing import Any

import grpc
import pytest

from qgjob import InvalidError, Requirements
from qgjob.cli.requirements import from_flags
from tests.fakes.coordinator_services import FakeCoordinator, Fault
from tests.unit.cli.conftest import COMMON, Command, unserved


def test_properties_are_known_from_labels() -> None:
    found = from_flags(["platform=ios", "os_version=17.4", "floor=3", "cable=a=b"], "iphone-1")
    labels = {"floor": "3", "cable": "a=b"}
    assert found == Requirements(platform="ios", os_version="17.4", device_id="iphone-1", labels=labels)
    assert from_flags([], None) is None


@pytest.mark.parametrize("version", ["14", "17.5.1", "14.0-beta_2", "S", "8v"])
def test_versions_that_a_device_may_have(version: str) -> None:
    assert from_flags([f"os_version={version}"], None) == Requirements(os_version=version)


def test_labels_whose_names_only_hold_that_of_a_property() -> None:
    found = from_flags(["platform2=x", "os=y", "model=z"], None)
    assert found == Requirements(labels={"platform2": "x", "os": "y", "model": "z"})


def test_the_same_twice_is_said_once() -> None:
    assert from_flags(["platform=ios", "platform=ios"], None) == Requirements(platform="ios")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["ios"], "'ios' is not key=value; write platform=android"),
        ([""], "'' is not key=value"),
        (["=ios"], "'=ios' is not key=value"),
        (["platform="], "platform: is empty"),
        (["rack="], "rack: is empty"),
        (["platform=ios", "platform=android"], "platform is given twice, as 'ios' and as 'android'"),
        (["rack=1", "floor=1", "rack=2"], "rack is given twice, as '1' and as '2'"),
        (["platform=windows"], "platform: 'windows' is unknown; use android or ios"),
        (["a b=1"], "'a b' is not a label's key"),
        (["rack=1", "os_version=\x1b"], "contains a control character"),
        (["Platform=android"], "'Platform' is no device label; did you mean platform?"),
        (["os-version=14"], "'os-version' is no device label; did you mean os_version?"),
        (["target=device"], "'target' is no device label; did you mean --target?"),
        (["Device.Id=d2"], "'Device.Id' is no device label; did you mean --device-id?"),
        *[
            ([f"os_version={version}"], f"os_version: {version!r} is not a version")
            for version in ("14.", ".14", "14..1", "v 14", " 14", "14 ", "14.*", ">=14", ".")
        ],
        (["device_id=x"], "device_id is asked for with --device-id"),
    ],
)
def test_what_is_wrong_names_the_option(values: list[str], words: str) -> None:
    for device_id in (None, "d1"):
        with pytest.raises(InvalidError) as caught:
            from_flags(values, device_id)
        assert caught.value.field == "--require"
        assert caught.value.message.startswith("--require: ")
        assert words in caught.value.message


@pytest.mark.parametrize("device_id", ["", "a b", "-x"])
def test_a_device_that_has_no_id(device_id: str) -> None:
    with pytest.raises(InvalidError, match=r"^--device-id: "):
        from_flags([], device_id)


def test_what_no_device_has_is_told_with_what_was_meant(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.in_loop(lambda: fake.add_device("emulator-1", "a1"))
    fake.in_loop(lambda: fake.devices["emulator-1"].labels.update({"rack": "2"}))
    fake.on_submit = unserved
    asked = [f"--require={each}" for each in ("plattform=android", "os=14", "Racks=2", "floor=1", "rack=3")]
    result = qgjob("submit", *COMMON, "--test=a", "--test=b", "--device-id=emulator-l", *asked)
    assert result.code == 0
    assert result.err.splitlines() == [
        "warning: 2 jobs wait, and no device can run them (no_resource): no device will do",
        "hint: no device with the id 'emulator-l' is known; did you mean emulator-1?",
        "hint: no device has a label 'Racks'; did you mean rack?",
        "hint: no device has a label 'floor'",
        "hint: no device has a label 'os'; did you mean os_version?",
        "hint: no device has a label 'plattform'; did you mean platform?",
    ]
    waited = qgjob("run", *COMMON, "--test=c", "--device-id=zzz", "--timeout=1.5")
    assert "hint: no device with the id 'zzz' is known; `qgjob devices ls` lists those that are" in waited.err
    assert "warning" not in waited.err


def test_a_job_that_can_be_served_is_submitted_without_a_look_at_the_fleet(
    fake: FakeCoordinator, qgjob: Command
) -> None:
    assert qgjob("submit", *COMMON, "--test=a", "--require=floor=1").err == ""
    assert fake.calls["ListDevices"] == 0


def test_a_fleet_that_can_not_be_looked_at_fails_no_submission(fake: FakeCoordinator, qgjob: Command) -> None:
    fake.on_submit = unserved
    fake.faults.append(Fault("ListDevices", grpc.StatusCode.PERMISSION_DENIED))
    result = qgjob("submit", *COMMON, "--test=a", "--device-id=x")
    assert (result.code, len(result.err.splitlines())) == (0, 1)


def test_a_fleet_that_does_not_answer_soon_gives_no_hint(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(fake, "list_devices", never)
    monkeypatch.setattr("qgjob.cli.unserved.HINT_SECONDS", 0.05)
    fake.on_submit = unserved
    result = qgjob("submit", *COMMON, "--test=a", "--device-id=x")
    assert (result.code, len(result.err.splitlines())) == (0, 1)


def test_what_many_jobs_ask_for_is_looked_up_once(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    def counting(word: str, *rest: Any, **options: Any) -> list[str]:
        looked_up.append(word)
        return get_close_matches(word, *rest, **options)

    monkeypatch.setattr("qgjob.cli.unserved.get_close_matches", counting)
    fake.on_submit = unserved
    tests = [f"--test={number}" for number in range(5)]
    assert qgjob("submit", *COMMON, *tests, "--device-id=x", "--require=floor=1").code == 0
    assert looked_up == ["x", "floor"]

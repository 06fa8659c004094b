"""Which device may serve which job, and the words for why not."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.feasible import may_serve, meets, mismatches, version_matches
from qgjob_coordinator.policy.forecast.reach import Reach
from qgjob_coordinator.policy.snapshot import DeviceView
from tests.unit.policy.snapshots import device

PIXEL = device("pixel-1", platform="android", os_version="14.1", model="Pixel 8", labels={"rack": "b"})
BARE = device("bare-1")


@pytest.mark.parametrize(
    ("wanted", "actual", "expected"),
    [
        ("14", "14", True),
        ("14", "14.1", True),
        ("14", "140", False),
        ("14.1", "14", False),
        ("14.1", "14.1.3", True),
        ("14", None, False),
    ],
)
def test_a_version_matches_itself_and_what_is_more_precise(wanted: str, actual: str | None, expected: bool) -> None:
    assert version_matches(wanted, actual) is expected


@pytest.mark.parametrize(
    ("requirements", "view", "why"),
    [
        (ANY_DEVICE, BARE, None),
        (Requirements("android", "14", "Pixel 8", "pixel-1", (("rack", "b"),)), PIXEL, None),
        (Requirements(device_id="pixel-2"), PIXEL, "is not pixel-2"),
        (Requirements(platform="ios"), PIXEL, "platform is android, not ios"),
        (Requirements(platform="ios"), BARE, "platform is unknown, not ios"),
        (Requirements(os_version="15"), PIXEL, "os_version is 14.1, not 15"),
        (Requirements(device_model="Pixel"), PIXEL, "model is Pixel 8, not Pixel"),
        (Requirements(labels=(("rack", "a"),)), PIXEL, "label rack is b, not a"),
        (Requirements(labels=(("rack", "a"),)), BARE, "label rack is not set, not a"),
    ],
)
def test_a_mismatch_names_what_is_and_what_was_asked(
    requirements: Requirements, view: DeviceView, why: str | None
) -> None:
    assert [words for _, words in mismatches(requirements, view)] == ([] if why is None else [why])
    assert meets(requirements, view) is (why is None)


def test_every_requirement_that_is_not_met_is_named() -> None:
    asked = Requirements("ios", "15", "iPhone", "iphone-1", (("cable", "1"), ("rack", "b")))
    names = [name for name, _ in mismatches(asked, PIXEL)]
    assert names == ["device_id", "platform", "os_version", "device_model", "labels.cable"]


def on(agent: str, number: int) -> DeviceView:
    return device(f"{agent}-{number}", agent_id=agent)


@pytest.mark.parametrize(
    ("avoid", "serve"),
    [
        ((), {"a-1", "a-2", "b-1"}),
        (("a-1",), {"a-2", "b-1"}),
        (("a-1", "@a"), {"b-1"}),  # its host was lost with it
        (("a-1", "@a", "b-1", "@b"), {"a-2"}),  # all hosts are suspected: then a device on which nothing failed
        (("a-1", "@a", "b-1"), {"a-2"}),
        (("a-1", "a-2", "b-1"), {"a-1", "a-2", "b-1"}),
        (("@b",), {"a-1", "a-2"}),
    ],
)
def test_a_retry_goes_to_what_is_least_suspected(avoid: tuple[str, ...], serve: set[str]) -> None:
    fleet = [on("a", 1), on("a", 2), on("b", 1)]
    assert {d.device_id for d in fleet if may_serve(ANY_DEVICE, avoid, d, fleet)} == serve
    reach = Reach(fleet, {})
    assert reach.of(BARE.target, ANY_DEVICE, avoid) == serve
    assert Reach(fleet[:1], {BARE.target: fleet}).of(BARE.target, ANY_DEVICE, avoid) == serve & {"a-1"}

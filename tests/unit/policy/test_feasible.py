"""Which device may serve which job, and the words for why not."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.feasible import meets, mismatches, version_matches
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

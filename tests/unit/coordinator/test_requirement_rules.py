"""Labels and requirements that nothing could ever match, or that mean a field, are refused where they are sent."""

from __future__ import annotations

from typing import Any

import pytest

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.service.calls.submission import requirements
from qgjob_coordinator.service.validation import check_device_labels, check_labels


@pytest.mark.parametrize(
    "key", ["platform", "os_version", "device_model", "device_id", "target", "Platform", "OS-Version"]
)
def test_a_device_label_that_requirements_take_for_a_field(key: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_device_labels("labels", {"rack": "2", key: "x"})
    assert caught.value.field == f"labels.{key}"
    field = key.lower().replace("-", "_")
    assert caught.value.reason.startswith(
        f"'x' could not be asked for: requirements take {key} for the device's {field}"
    )
    assert "choose another name" in caught.value.reason


def test_a_device_label_without_a_value() -> None:
    with pytest.raises(InvalidError, match=r"labels\.a: is empty, .*; give it a value or leave it out"):
        check_device_labels("labels", {"a": ""})


def test_device_labels_are_labels() -> None:
    good = {"rack": "2", "platform2": "x", "os": "y", "model": "z", "a.b-c_d": " "}
    assert check_device_labels("labels", good) == good
    with pytest.raises(InvalidError, match="is not an id"):
        check_device_labels("labels", {"a b": "1"})


def test_labels_of_jobs_only_annotate_and_are_free() -> None:
    annotations = {"platform": "android", "note": ""}
    assert check_labels("labels", annotations) == annotations


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        ({"os_version": "14."}, "os_version", "'14.' is not a version"),
        ({"os_version": "v 14"}, "os_version", "'v 14' is not a version"),
        ({"os_version": "14.*"}, "os_version", "14 stands for 14.1"),
        ({"labels": {"Platform": "android"}}, "labels.Platform", "is no device label; did you mean platform?"),
        ({"labels": {"target": "device"}}, "labels.target", "is no device label; did you mean the job's target?"),
        ({"labels": {"rack": ""}}, "labels.rack", "is empty"),
        ({"os_version": ""}, "os_version", "is empty"),
        ({"device_model": ""}, "device_model", "is empty"),
        ({"platform": ""}, "platform", "is unknown"),
        ({"device_id": ""}, "device_id", "is empty"),
    ],
)
def test_requirements_that_nothing_could_match(value: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        requirements(value)
    assert caught.value.field == f"requirements.{field}"
    assert words in caught.value.reason


@pytest.mark.parametrize("version", ["14", "17.5.1", "14.0-beta_2", "S"])
def test_versions_that_a_device_may_have(version: str) -> None:
    assert requirements({"os_version": version}).os_version == version

"""One rule, said twice: what `agent.toml` may say of a device is what requirements can ask for.

The agent refuses at its start what the coordinator would refuse in a Hello, in `devices label` and in requirements, and
nothing else. The two programs share no code, so here they are held to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from qgjob_agent.config import AgentConfig
from qgjob_agent.config_tables import DeviceConfig
from qgjob_agent.core.values import Target
from qgjob_agent.device_rules import MAX_DEVICES, MAX_LABELS, first_problem, with_label
from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.service.agents import showing
from qgjob_coordinator.service.agents.showing import check_devices
from qgjob_coordinator.service.calls.submission import requirements
from qgjob_coordinator.service.validation import check_device_labels, check_id

FIELDS = ("target", "platform", "os_version", "device_model", "device_id")
TEXTS = st.text(max_size=12) | st.text("aZ09._- \x00\x7f\x85\u2028\u202eé", max_size=12)
"""Anything, and much that is nearly right."""


def agent_takes(**says: Any) -> bool:
    """Whether a `[[devices]]` table may say so."""
    try:
        device = DeviceConfig(**{"udid": "u", "target": Target.EMULATOR} | says)
    except ValidationError:
        return False
    return first_problem(device.udid, device.os_version, device.model, device.labels) is None


def hello_takes(**says: Any) -> bool:
    """Whether an agent may show a device so."""
    device = DeviceInfo(**{"device_id": "d", "udid": "u", "target": Target.EMULATOR} | says)
    return passes(lambda: check_devices("devices", [device]))


def passes(check: Callable[[], object]) -> bool:
    try:
        check()
    except InvalidError:
        return False
    return True


def label_can_be_set(key: str, value: str) -> bool:
    return passes(lambda: check_device_labels("labels", {key: value}))


def label_can_be_asked_for(key: str, value: str) -> bool:
    return passes(lambda: requirements({"labels": {key: value}}))


def version_can_be_asked_for(version: str) -> bool:
    return passes(lambda: requirements({"os_version": version}))


LABELS = [
    *[(key, "a1", True) for key in ("rack", "Rack-2", "a.b_c", "9", "k" * 128, "os", "model", "platform2", "targets")],
    *[(key, "a1", False) for key in ("", "-a", ".a", "_a", "a b", "é", "a\n", "k" * 129)],
    *[(key, "a1", False) for key in FIELDS],
    *[(key, "a1", False) for key in ("Platform", "OS-Version", "os.version", "DEVICE_ID", "device.Model")],
    *[("rack", value, True) for value in ("0", " ", "a b", "é", "日本", "x" * 1024)],
    *[("rack", value, False) for value in ("", "a\nb", "a\tb", "\x00", "\x7f", "\x85", "\u202e", "\ud800", "x" * 1025)],
    *[("rack", value, False) for value in ("a\u2028b", "a\u2029b")],
]
VERSIONS = [
    *[(version, True) for version in ("14", "17.5.1", "14.0-beta_2", "S", "-", "_.1", "1" * 128)],
    *[(version, False) for version in ("", ".", "14.", ".1", "14..1", "v 14", "14.*", "14\n", "é", "١٤", "1" * 129)],
]
IDS = [
    *[(name, True) for name in ("a", "9", "agent-1", "A.b_c-d", "a" * 128)],
    *[(name, False) for name in ("", "-a", ".a", "_a", "a b", "a/b", "a~b", "é", "a\n", "a" * 129)],
]


@pytest.mark.parametrize(("key", "value", "right"), LABELS)
def test_a_label_may_be_written_where_it_may_be_set_and_asked_for(key: str, value: str, right: bool) -> None:
    assert agent_takes(labels={key: value}) is right
    assert hello_takes(labels={key: value}) is right
    assert label_can_be_set(key, value) is right
    assert label_can_be_asked_for(key, value) is right


@pytest.mark.parametrize(("version", "right"), VERSIONS)
def test_a_version_may_be_written_where_it_may_be_asked_for(version: str, right: bool) -> None:
    assert agent_takes(os_version=version) is right
    assert hello_takes(os_version=version) is right
    assert version_can_be_asked_for(version) is right


@pytest.mark.parametrize(("name", "right"), IDS)
def test_ids_are_the_same_for_both(name: str, right: bool) -> None:
    assert _is_id_of_the_agent(name) is right
    assert passes(lambda: check_id("agent_id", name)) is right


@pytest.mark.parametrize("field", ["udid", "model"])
@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("x", True),
        ("Pixel 8 (\u00e9)", True),
        ("x" * 128, True),
        ("", False),
        ("a\nb", False),
        ("\u202e", False),
        ("a\u2028b", False),
    ],
)
def test_names_may_be_written_where_they_may_be_shown(field: str, text: str, right: bool) -> None:
    assert agent_takes(**{field: text}) is right
    assert hello_takes(**{field: text}) is right


@pytest.mark.parametrize(("field", "most"), [("udid", 255), ("model", 128)])
def test_names_are_as_long_for_both(field: str, most: int) -> None:
    for text in ("x" * most, "x" * (most + 1)):
        assert agent_takes(**{field: text}) == hello_takes(**{field: text}) == (len(text) == most)


def test_a_model_that_may_be_shown_can_be_asked_for() -> None:
    for model in ("", "x" * 128, "x" * 129, "a\nb"):
        assert hello_takes(model=model) == passes(lambda model=model: requirements({"device_model": model}))


def test_as_many_labels_for_both() -> None:
    for labels in (
        {f"k{n}": "v" for n in range(64)},
        {f"k{n}": "v" for n in range(65)},
        {f"k{n:02}": "\u00e9" * 510 for n in range(64)},
        {f"k{n:02}": "\u00e9" * 511 for n in range(64)},
    ):
        assert (
            agent_takes(labels=labels)
            == hello_takes(labels=labels)
            == passes(lambda labels=labels: check_device_labels("labels", labels))
        )
    assert MAX_DEVICES == showing.MAX_DEVICES


@given(st.sampled_from(FIELDS).flatmap(lambda f: st.sampled_from([f, f.upper(), f.replace("_", "-")])) | TEXTS, TEXTS)
@example("rack", "\u2028")
def test_any_label(key: str, value: str) -> None:
    assert agent_takes(labels={key: value}) == label_can_be_set(key, value) == label_can_be_asked_for(key, value)


@given(TEXTS | st.from_regex(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", fullmatch=True))
def test_any_version(version: str) -> None:
    assert agent_takes(os_version=version) == version_can_be_asked_for(version)


@given(TEXTS)
def test_any_id(name: str) -> None:
    assert _is_id_of_the_agent(name) == passes(lambda: check_id("agent_id", name))


@pytest.mark.parametrize("platform", ["android", "ios", "Android", "web", "", "tizen"])
def test_platforms_are_the_same_for_both(platform: str) -> None:
    try:
        DeviceConfig.model_validate({"udid": "u", "target": "emulator", "platform": platform})
    except ValidationError:
        known = False
    else:
        known = True
    assert known == hello_takes(platform=platform) == passes(lambda: requirements({"platform": platform}))


def _is_id_of_the_agent(name: str) -> bool:
    try:
        AgentConfig(agent_id=name)
    except ValidationError:
        return False
    return True


def test_a_label_is_added_where_there_is_room_and_nothing_was_set() -> None:
    """Else no coordinator would take the agent."""
    assert with_label({"rack": "a"}, "runner", "command") == {"rack": "a", "runner": "command"}
    assert with_label({"runner": "mine"}, "runner", "command") == {"runner": "mine"}
    assert with_label({"rack": "a"}, "runner", "") == {"rack": "a"}
    most = {f"l{number}": "x" for number in range(MAX_LABELS)}
    assert with_label(most, "runner", "command") == most
    large = {f"l{number:015}": "x" * 1_024 for number in range(62)} | {"l" * 20: "x" * 1_024}
    assert first_problem("u", None, None, large) is None
    assert with_label(large, "runner", "command") == large

"""What a device is and how it is, made of what it says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.core.values import DeviceFacts, Health, Target
from qgjob_agent.device_rules import first_problem
from qgjob_agent.devices.adb.facts import (
    Condition,
    facts_of,
    health_labels,
    health_of,
    is_emulator,
    state_trouble,
)
from qgjob_agent.devices.adb.says import Battery
from qgjob_agent.devices.facts import device_id_of

MB = 1_000_000


@pytest.mark.parametrize(
    ("serial", "properties", "emulator"),
    [
        ("emulator-5554", {}, True),
        ("localhost:5555", {"ro.kernel.qemu": "1"}, True),
        ("localhost:5555", {"ro.boot.qemu": "1"}, True),
        ("R5CT1234ABC", {"ro.kernel.qemu": "0"}, False),
        ("192.168.1.5:5555", {}, False),
    ],
)
def test_emulators_are_told_from_phones(serial: str, properties: dict[str, str], emulator: bool) -> None:
    assert is_emulator(serial, properties) is emulator
    assert facts_of(serial, "a1", properties).target is (Target.EMULATOR if emulator else Target.DEVICE)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_every_serial_makes_an_id(serial: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", device_id_of("a1", serial))


TEXT = st.text(max_size=140)


@given(
    st.dictionaries(
        st.sampled_from(
            ["ro.product.model", "ro.build.version.release", "ro.product.cpu.abi", "ro.product.manufacturer"]
        ),
        TEXT,
    )
)
def test_whatever_a_device_says_its_facts_can_be_shown(properties: dict[str, str]) -> None:
    facts = facts_of("R5CT1234ABC", "a1", properties)
    assert first_problem(facts.udid, facts.os_version, facts.model, facts.labels) is None


def test_what_is_set_of_a_device_goes_before_what_it_says() -> None:
    said = {"ro.product.model": "SM-S901B", "ro.build.version.release": "13", "ro.product.cpu.abi": "arm64-v8a"}
    named = DeviceFacts("s22", "R5", Target.DEVICE, os_version="13.1", labels={"abi": "any", "rack": "2"})
    facts = facts_of("R5", "a1", said, named, (Health.BAD, "why"), {"battery": "50"})
    assert facts == DeviceFacts(
        "s22", "R5", Target.DEVICE, "android", "13.1", "SM-S901B",
        {"abi": "any", "rack": "2", "battery": "50"}, Health.BAD, "why",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Condition("device"), None),
        (Condition("device", battery=Battery(9, powered=True), free_bytes=500 * MB), None),
        (Condition("device", battery=Battery(10, powered=False)), None),
        (Condition("device", battery=Battery(9, powered=False)), "9% of its battery"),
        (Condition("device", battery=Battery(0, powered=False)), "0% of its battery"),
        (Condition("device", battery=Battery(None, powered=False)), None),
        (Condition("device", battery=Battery(90, powered=True, overheated=True)), "too hot"),
        (Condition("device", free_bytes=499 * MB), "has 499 MB free and needs 500"),
        (Condition("device", free_bytes=499 * MB, removable=True), None),
        (Condition("device", silent="no answer"), "does not answer: no answer"),
        (Condition("device", booted=False), "has not started up"),
        (Condition("device", packages_answer=False), "package manager"),
        (Condition("unauthorized"), "accept the question"),
        (Condition("offline"), "plug it in again"),
        (Condition("no permissions (user in plugdev group)"), "udev rule"),
        (Condition("quantum"), "'quantum'"),
    ],
)
def test_a_device_is_bad_for_a_reason_that_says_what_to_do(condition: Condition, words: str | None) -> None:
    health, reason = health_of(condition, min_battery_percent=10, min_free_mb=500)
    if words is None:
        assert (health, reason) == (Health.GOOD, None)
    else:
        assert health is Health.BAD
        assert words in (reason or "")


def test_every_state_of_adb_has_words() -> None:
    for state in (
        "offline",
        "unauthorized",
        "authorizing",
        "connecting",
        "bootloader",
        "recovery",
        "rescue",
        "sideload",
    ):
        assert state_trouble(state).what[0].islower()
        assert repr(state) not in state_trouble(state).words


def test_labels_of_health_are_no_news_at_every_look() -> None:
    condition = Condition("device", battery=Battery(57, powered=True), free_bytes=8_765 * MB)
    assert health_labels(condition) == {"battery": "50", "free_gb": "8"}
    assert health_labels(Condition("offline")) == {}

"""What a simulator or an iPhone is, whether it is well, and when a simulator is erased."""

from __future__ import annotations

import pytest

from qgjob_agent.core.values import DeviceFacts, Health, Target
from qgjob_agent.device_rules import first_problem
from qgjob_agent.devices.apple.facts import Condition, facts_of, health_of, must_erase, phone_trouble, simulator_trouble
from qgjob_agent.devices.apple.says import Phone, Simulator
from qgjob_agent.devices.apple.settings import Erase
from qgjob_agent.devices.packages import PackageSays
from qgjob_agent.devices.remembered import Ours

UDID = "1A5B64C2-98E3-4D6F-9E0A-7C3D2B1F5033"
SIM = Simulator(UDID, "Shop floor", "Booted", "17.2", "iPhone 15", "/disk")
GOOD = (Health.GOOD, None)


def ours(org: str = "acme", digest: str = "d1") -> Ours:
    return Ours("com.x.y", org, "v1", digest, digest, PackageSays("1", "", "/a"), 1)


def test_what_is_set_goes_before_what_is_said() -> None:
    facts = facts_of(SIM, Target.EMULATOR, "a1", None, GOOD)
    expected = DeviceFacts(f"a1.{UDID}", UDID, Target.EMULATOR, "ios", "17.2", "iPhone 15", {"name": "Shop floor"})
    assert facts == expected
    named = DeviceFacts(
        "till", UDID, Target.DEVICE, os_version="17", model="Till", labels={"name": "mine", "rack": "a"}
    )
    facts = facts_of(SIM, Target.EMULATOR, "a1", named, GOOD)
    assert (facts.device_id, facts.target, facts.os_version, facts.model) == ("till", Target.DEVICE, "17", "Till")
    assert facts.labels == {"name": "mine", "rack": "a"}


def test_what_can_not_be_shown_is_left_out() -> None:
    facts = facts_of(Phone("0-1", "a\u202eb", "ready", "17 beta 2", "x" * 500), Target.DEVICE, "a1", None, GOOD)
    assert first_problem(facts.udid, facts.os_version, facts.model, facts.labels) is None
    assert (facts.os_version, facts.labels, len(facts.model or "")) == (None, {}, 128)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Condition(simulator_trouble("Shutdown")), "is shut down: boot it"),
        (Condition(simulator_trouble("starting")), "is being booted"),
        (Condition(simulator_trouble("unbootable: no memory")), "can't be booted (no memory)"),
        (Condition(simulator_trouble("unavailable: no runtime")), "can't be used (no runtime)"),
        (Condition(simulator_trouble("Shutting Down")), "the state 'Shutting Down'"),
        (Condition(phone_trouble("unpaired")), "not paired"),
        (Condition(phone_trouble("no developer mode")), "Developer Mode"),
        (Condition(silent="it hung"), "does not answer: it hung"),
        (Condition(booted=False), "has not started up yet"),
        (Condition(free_bytes=99_000_000), "has 99 MB free on this host's disk and needs 100"),
    ],
)
def test_what_is_the_matter_is_said(condition: Condition, words: str) -> None:
    health, reason = health_of(condition, 100)
    assert health is Health.BAD
    assert words in (reason or "")


@pytest.mark.parametrize(
    "condition",
    [
        Condition(simulator_trouble("Booted")),
        Condition(phone_trouble("ready"), free_bytes=100_000_000),
        Condition(free_bytes=1, removable=True),
    ],
)
def test_one_that_is_well_is_good(condition: Condition) -> None:
    assert health_of(condition, 100) == (Health.GOOD, None)


@pytest.mark.parametrize(
    ("there", "never", "orgs", "builds"),
    [
        ([], False, False, False),
        ([ours()], False, False, False),
        ([ours(digest="d2")], False, False, True),
        ([ours(), ours("globex")], False, True, True),
    ],
)
def test_a_simulator_is_erased_where_what_lies_there_is_to_go(
    there: list[Ours], never: bool, orgs: bool, builds: bool
) -> None:
    found = [must_erase(each, there, "acme", "d1") for each in (Erase.NEVER, Erase.ORGS, Erase.BUILDS)]
    assert found == [never, orgs, builds]

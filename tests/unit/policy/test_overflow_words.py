"""What people are told of a second target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, HoldKind, Priority, Status, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Attempt, Job, Overflow, Requirements
from qgjob_coordinator.policy.reasons.overflow import overflow_words, second_devices, waiting_words

NOW = 1_800_000_000_000
CLOUD, EMULATOR = Target.BROWSERSTACK, Target.EMULATOR
BOTH = "goes to browserstack when its expected wait is longer than 3 s and it is expected to start sooner there"
LATE = "has waited for longer than 3 s, and goes to browserstack when it is expected to start sooner there"
PHONE = Device("c1", "a1", "u", CLOUD, None, None, None, DeviceState.IDLE, DeviceHealth.GOOD, {})


def waiting(waited_ms: int, **changes: Any) -> Job:
    """A job that accepts to wait for three seconds."""
    at = NOW - waited_ms
    job = Job("acme", "01J", "v1", "a.js", Priority.LOW, EMULATOR, Status.QUEUED, at, at, 0)
    return replace(job, **{"overflow": Overflow(CLOUD, 3000)} | changes)


@pytest.mark.parametrize(
    ("overflow", "words"),
    [
        (
            Overflow(CLOUD, 120_000),
            "goes to browserstack when its expected wait is longer than 120 s and it is expected to start sooner there",
        ),
        (Overflow(CLOUD, 120_000, waits="stays"), "stays"),
        (
            Overflow(CLOUD, 120_000, None, EMULATOR, 1, 340_400),
            "moved from emulator to browserstack: expected wait 340 s > 120 s",
        ),
        (
            Overflow(CLOUD, 1500, None, EMULATOR, 1, 1600),
            "moved from emulator to browserstack: expected wait 1.6 s > 1.5 s",
        ),
        (
            Overflow(CLOUD, 120_000, None, EMULATOR, 1, None),
            "moved from emulator to browserstack: it had waited for more than 120 s, and no start was to be expected",
        ),
    ],
)
def test_where_it_goes_and_why(overflow: Overflow, words: str) -> None:
    assert overflow_words(overflow) == words


@pytest.mark.parametrize(
    ("job", "devices", "words"),
    [
        (waiting(2000), [PHONE], BOTH),
        (waiting(4000), [PHONE], LATE),
        (waiting(4000), [replace(PHONE, state=DeviceState.BUSY)], LATE),
        (waiting(4000, not_before=NOW - 1000), [PHONE], BOTH),
        (waiting(4000, overflow=Overflow(CLOUD, 3000, NOW - 1000)), [PHONE], BOTH),
        (waiting(2000), [], f"{BOTH}; no device known to the fleet could serve it there"),
        (waiting(4000), [], f"{LATE}; no device known to the fleet could serve it there"),
        (
            waiting(4000, requirements=Requirements(platform="ios")),
            [PHONE],
            f"{LATE}; no device known to the fleet could serve it there",
        ),
        (
            waiting(4000),
            [replace(PHONE, state=DeviceState.OFFLINE), replace(PHONE, device_id="c2", held=HoldKind.DRAINING)],
            f"{LATE}; no device that could serve it there takes work now",
        ),
        (
            waiting(4000, attempts=[Attempt(1, 1, "a1", "d1", NOW)]),
            [PHONE],
            "stays on emulator, since it had an attempt there",
        ),
    ],
)
def test_of_what_waits_it_is_said_which_condition_is_not_met(job: Job, devices: list[Device], words: str) -> None:
    assert job.overflow is not None
    assert waiting_words(job, job.overflow, second_devices(job, job.overflow, devices), NOW) == words

"""The devices of an explanation in a few words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from qgjob_coordinator.model.enums import DeviceHealth, DeviceState, ErrorClass, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Attempt, JobError, Requirements
from qgjob_coordinator.policy.reasons.considered import consider
from qgjob_coordinator.policy.reasons.summary import MOST_GROUPS, summary
from qgjob_coordinator.policy.reasons.words import clock, fine_span, span
from tests.fakes.jobs import NOW
from tests.unit.policy.test_explain import device, job

MINUTE, DAY = 60_000, 86_400_000
# NOW is 2027-01-15 08:00 UTC.


def busy(device_id: str, free_at: int | None = None) -> Device:
    return device(device_id, state=DeviceState.BUSY, current_job_id="acme~x", os_version="14", free_at=free_at)


def said(devices: list[Device], **requirements: Any) -> str:
    waiting = job(requirements=Requirements(**requirements))
    return summary(waiting, consider(waiting, devices), NOW)


def test_what_a_person_wants_to_know_at_night() -> None:
    fleet = [
        busy("e1", NOW + 70_000),
        busy("e2", NOW + 20 * MINUTE),
        device("e3", os_version="14", health=DeviceHealth.MAINTENANCE, until=NOW + 90 * MINUTE, reason="battery"),
        *[device(f"i{n}", platform="ios", os_version="17") for n in range(2)],
        *[device(f"o{n}", os_version="13") for n in range(6)],
        device("p1", target=Target.DEVICE, os_version="13"),
    ]
    assert said(fleet, platform="android", os_version="14") == (
        f"3 of 12 devices could serve it: 2 are busy (the first is free in about 1 min), "
        f"1 is in maintenance until {clock(NOW + 90 * MINUTE, NOW)}; "
        "6 are not of os_version 14, 1 is not of target emulator, 2 are not android and not of os_version 14"
    )


def test_where_no_host_could_run_it_the_last_one_says_why() -> None:
    """As with a build that is larger than any agent keeps."""
    why = "build ab has 2000000 bytes, more than builds.cache_mb of this agent lets it keep (1000000 bytes); raise it"
    failed = Attempt(1, 1, "agent-1", "e1", NOW, error=JobError(ErrorClass.INFRASTRUCTURE, why))
    waiting = job(avoid_devices=("@agent-1", "@agent-2"), attempts=[failed])
    fleet = [device("e1"), device("e2", agent_id="agent-2")]
    assert summary(waiting, consider(waiting, fleet), NOW) == (
        f"2 of 2 devices could serve it: 2 are free; "
        f"an attempt has failed on each of them or with its host, the last one so: {why}"
    )
    fleet.append(device("e3", agent_id="agent-3"))
    assert "failed" not in summary(waiting, consider(waiting, fleet), NOW)


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ([], "the fleet has no devices; start an agent"),
        ([busy("e1")], "1 of 1 device could serve it: 1 is busy"),
        ([busy("e1", NOW + 5000)], "1 of 1 device could serve it: 1 is busy (free in about 5 s)"),
        ([busy("e1", NOW - 5000)], "1 of 1 device could serve it: 1 is busy (free any moment)"),
        (
            [device("off", state=DeviceState.OFFLINE), device("free"), busy("e1")],
            "3 of 3 devices could serve it: 1 is free, 1 is busy, 1 is offline",
        ),
        (
            [device("r1", state=DeviceState.RESERVED), device("r2", state=DeviceState.RESERVED, until=NOW + 2 * DAY)],
            f"2 of 2 devices could serve it: 2 are reserved (the first until {clock(NOW + 2 * DAY, NOW)})",
        ),
    ],
)
def test_what_those_do_that_could_serve_it(devices: list[Device], words: str) -> None:
    assert said(devices) == words


def test_when_none_could_ever_serve_it_the_nearest_is_named() -> None:
    fleet = [device("e1", os_version="14"), device("e2", platform="ios"), device("p1", target=Target.DEVICE)]
    assert said(fleet, platform="android", os_version="14", labels=(("rack", "2"),)) == (
        "none of 3 devices could ever serve it: 1 is not of target emulator, 1 is without rack=2, "
        "1 is not android and not of os_version 14 and without rack=2; nearest is e1: label rack is not set, not 2"
    ).replace("1 is not of target emulator, 1 is without rack=2", "1 is without rack=2, 1 is not of target emulator")


def test_every_requirement_has_its_words() -> None:
    told = said([device("d1")], platform="ios", os_version="1", device_model="M", device_id="d2", labels=(("a", "b"),))
    assert "not d2 and not ios and not of os_version 1 and not of model M and without a=b" in told


def test_what_differs_in_too_many_ways_is_counted() -> None:
    labels = tuple((f"k{n}", "1") for n in range(MOST_GROUPS + 2))
    fleet = [device(f"d{n}", labels=dict(labels[:n] + labels[n + 1 :])) for n in range(MOST_GROUPS + 2)]
    assert "2 more lack other things" in said(fleet, labels=labels)


def test_lengths_and_times() -> None:
    assert [span(s) for s in (0, 0.4, 40, 60, 3599, 7200, 5 * 86_400)] == [
        "1 s", "1 s", "40 s", "1 min", "60 min", "2 h", "5 d",
    ]  # fmt: skip
    assert [fine_span(s) for s in (40, 90, 120, 599, 660)] == ["40 s", "1.5 min", "2 min", "10 min", "11 min"]
    assert clock(NOW, NOW).endswith(" UTC")
    assert len(clock(NOW + DAY, NOW)) == len("2027-01-16 08:00 UTC")


def test_when_none_could_serve_it_the_one_that_is_asked_for_by_its_id_is_named() -> None:
    fleet = [device("e1"), device("p1", target=Target.DEVICE)]
    assert said(fleet, device_id="p1") == (
        "none of 2 devices could ever serve it: 1 is not p1, 1 is not of target emulator; "
        "p1 is there, but its target is device, not emulator"
    )


def test_of_devices_that_lack_as_much_the_nearest_is_one_that_is_online() -> None:
    away = device("e1", state=DeviceState.OFFLINE)
    other = device("p1", target=Target.DEVICE)
    needs: dict[str, Any] = {"labels": (("rack", "2"),)}
    assert "; nearest is e2: label rack is not set" in said([away, device("e2"), other], **needs)
    assert "; nearest is e1 (offline): label rack is not set" in said([away, other], **needs)


def test_of_devices_that_lack_as_much_the_nearest_is_one_that_lacks_the_build_alone() -> None:
    asked = job(requirements=Requirements(labels=(("runner", "command"),)))
    real = [replace(device(each, build_slot="android device"), labels={"runner": "command"}) for each in ("p1", "p2")]
    fleet = [device("e1"), *real, device("z1", target=Target.DEVICE)]
    considered = consider(asked, fleet, pushed=frozenset({"ios device"}))
    assert summary(asked, considered, NOW).endswith(
        "; nearest is p1: there is no build for android (.apk or .aab): push one"
    )

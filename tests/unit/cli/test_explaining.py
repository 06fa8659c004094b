"""What `qgjob explain` shows to people."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from qgjob import (
    ConsideredDevice,
    Explanation,
    Job,
    JobStatus,
    Outcome,
    Overflow,
    PendingCode,
    PendingReason,
    Requirements,
)
from qgjob._enums import Priority, Target
from qgjob._fleet import Group
from qgjob.cli.explaining import MOST_LINES, _usefulness, explanation
from qgjob.cli.fleet_tables import group_table
from qgjob.cli.moments import clock, in_local_time, span
from qgjob_coordinator.policy.reasons import considered

NOW = datetime(2026, 1, 31, 2, 3, 0, tzinfo=UTC)
SOON, LATER = NOW + timedelta(seconds=70), NOW + timedelta(hours=3)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import time  # noqa: PLC0415

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def a_job(**values: Any) -> Job:
    common: dict[str, Any] = {
        "job_id": "acme~1",
        "org_id": "acme",
        "app_version_id": "v1",
        "test_path": "a.js",
        "priority": Priority.MEDIUM,
        "target": Target.EMULATOR,
        "status": JobStatus.QUEUED,
        "round": 1,
        "created_at": NOW - timedelta(minutes=3),
        "updated_at": NOW,
        "max_retries": 3,
        "requirements": Requirements(platform="android"),
    }
    return Job(**common | values)


def busy(device_id: str, free_at: datetime | None = None) -> ConsideredDevice:
    return ConsideredDevice(device_id, True, f"is busy with acme~{device_id}", (), PendingCode.ALL_BUSY, free_at)


def shown(item: Explanation) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=400).print(explanation(item, NOW))
    return [" ".join(line.split()) for line in out.getvalue().splitlines()]


def test_a_waiting_job_says_all_that_is_known_of_it() -> None:
    reason = PendingReason(PendingCode.ALL_BUSY, "all are busy", position=2, estimated_start_at=SOON)
    lines = shown(
        Explanation(
            a_job(pending_reason=reason),
            (
                ConsideredDevice("a-offline", True, "is offline", (), PendingCode.NO_DEVICE_ONLINE),
                ConsideredDevice("an-ios", False, "platform is ios, not android", ("platform",)),
                busy("b-later", LATER),
                busy("b-soon", SOON),
                ConsideredDevice("a-phone", False, "target is device, not emulator", ("target",)),
            ),
            "3 of 5 devices could serve it",
            NOW + timedelta(seconds=50),
            NOW + timedelta(minutes=2),
            LATER,
        )
    )
    assert lines == [
        "job_id acme~1",
        "test_path a.js",
        "status queued, submitted 3 min ago",
        "asks for target=emulator, platform=android",
        "pending all_busy: all are busy",
        "place 2 in its group; work of other groups may be served before",
        "starts about 02:04:10 (in 1 min), most likely between 02:03:50 and 02:05:00",
        "expires 05:03:00 (in 3 h), unless it is started before",
        "devices 3 of 5 devices could serve it",
        "",
        "DEVICE COULD SERVE WHY",
        "b-soon yes is busy with acme~b-soon, free about 02:04:10 (in 1 min)",
        "b-later yes is busy with acme~b-later, free about 05:03:00 (in 3 h)",
        "a-offline yes is offline",
        "an-ios no platform is ios, not android",
        "a-phone no target is device, not emulator",
    ]


def test_devices_come_by_when_they_are_free_and_by_their_kind_where_that_is_not_known() -> None:
    reason = PendingReason(PendingCode.QUARANTINED, "not in good health")
    lines = shown(
        Explanation(
            a_job(pending_reason=reason),
            (
                ConsideredDevice("drained", True, "is draining", (), PendingCode.DRAINING),
                busy("busy", LATER),
                busy("unknown"),
                ConsideredDevice("bad", True, "is in bad health", (), PendingCode.QUARANTINED, SOON),
                ConsideredDevice("free", True, "is free", ()),
            ),
        )
    )
    table = lines[lines.index("DEVICE COULD SERVE WHY") + 1 :]
    assert [line.split()[0] for line in table] == ["free", "unknown", "bad", "busy", "drained"]


def test_devices_come_in_the_order_in_which_a_coordinator_counts_on_them() -> None:
    """What says when the job is to start, and the list beneath it, name the same device."""
    held = [PendingCode.DRAINING, PendingCode.RESERVED, PendingCode.QUARANTINED, PendingCode.NO_DEVICE_ONLINE]
    devices = [ConsideredDevice("free", True, "is free", ())]
    for code in (PendingCode.ALL_BUSY, *held):
        for after in (None, -600, -5, 30, 59, 61, 3600):
            free_at = None if after is None else NOW + timedelta(seconds=after)
            devices.append(ConsideredDevice(f"{code}:{after}", True, "is away", (), code, free_at))
    now = int(NOW.timestamp() * 1000)

    def counted_on(each: ConsideredDevice) -> tuple[object, ...]:
        free_at = None if each.free_at is None else int(each.free_at.timestamp() * 1000)
        code = None if each.code is None else considered.PendingCode(str(each.code))
        return considered.soonest(considered.Considered(each.device_id, "", code=code, free_at=free_at), now)

    ranked = sorted(devices, key=lambda each: (*counted_on(each), each.device_id))
    mixed = sorted(devices, key=lambda each: each.device_id[::-1])
    assert sorted(mixed, key=lambda each: _usefulness(each, NOW)) == ranked


def test_what_was_expected_by_now_is_due_any_moment() -> None:
    reason = PendingReason(PendingCode.ALL_BUSY, "all are busy", estimated_start_at=NOW - timedelta(seconds=1))
    late = (busy("e1", NOW - timedelta(seconds=1)),)
    lines = shown(Explanation(a_job(pending_reason=reason), late, "1 is busy", NOW, NOW))
    assert "starts any moment" in lines
    assert "e1 yes is busy with acme~e1, free any moment" in lines
    group = Group("acme~1", "acme", "v1", Target.EMULATOR, 0, 0, 1, ("e1",), 1, NOW - timedelta(seconds=1))
    out = io.StringIO()
    Console(file=out, width=400).print(group_table([group], NOW))
    assert out.getvalue().splitlines()[1].endswith("any moment")


def test_without_an_estimate_nothing_is_said_of_a_start() -> None:
    item = Explanation(a_job(pending_reason=PendingReason(PendingCode.NO_RESOURCE, "nothing")), (), "none of 0")
    assert not [line for line in shown(item) if line.startswith(("starts", "place", "expires", "DEVICE"))]


def test_a_second_target_is_told_in_the_coordinators_words() -> None:
    words = "has waited for longer than 120 s, and goes to browserstack when it is expected to start sooner there"
    lines = shown(Explanation(a_job(overflow=Overflow(Target.BROWSERSTACK, 120.0, message=words)), ()))
    assert f"overflow {words}" in lines


def test_a_retry_says_when_it_comes() -> None:
    item = Explanation(a_job(pending_reason=PendingReason(PendingCode.RETRY_WAIT, "waits", retry_at=SOON)), ())
    assert "not before 02:04:10 (in 1 min)" in shown(item)


def test_a_job_that_does_not_wait_says_what_it_does() -> None:
    runs = shown(Explanation(a_job(status=JobStatus.RUNNING, device_id="e1"), ()))
    assert "status running on e1" in runs
    assert "now it has a device, and waits for nothing" in runs
    told = shown(Explanation(a_job(status=JobStatus.SCHEDULED, device_id="e1"), (), "its agent was last heard"))
    assert "now its agent was last heard" in told
    done = shown(Explanation(a_job(status=JobStatus.COMPLETED, outcome=Outcome.PASSED), ()))
    assert "now it has its verdict, and waits for nothing" in done


def test_what_has_its_verdict_is_told_no_devices() -> None:
    free = (ConsideredDevice("e1", True, "is free", ()),)
    done = shown(Explanation(a_job(status=JobStatus.COMPLETED, outcome=Outcome.PASSED), free))
    assert not [line for line in done if line.startswith(("DEVICE", "e1"))]
    assert "e1 yes is free" in shown(Explanation(a_job(status=JobStatus.RUNNING, device_id="e1"), free))


def test_many_devices_are_shown_in_groups() -> None:
    devices = [
        *[busy(f"b{n:02}", SOON if n == 7 else None) for n in range(MOST_LINES)],
        ConsideredDevice("held", True, "is draining", (), PendingCode.DRAINING, LATER),
        *[ConsideredDevice(f"i{n}", False, "platform is ios, not android", ("platform",)) for n in range(2)],
        *[ConsideredDevice(f"o{n}", False, f"os_version is {n}, not 14", ("os_version",)) for n in range(5)],
        ConsideredDevice(
            "t1", False, "target is device, not emulator; os_version is 3, not 14", ("target", "os_version")
        ),
        ConsideredDevice("t2", False, "target is device, not emulator", ("target",)),
    ]
    lines = shown(Explanation(a_job(pending_reason=PendingReason(PendingCode.ALL_BUSY, "busy")), tuple(devices)))
    table = lines[lines.index("DEVICES COULD SERVE WHY WHICH") + 1 :]
    assert table == [
        "20 yes all_busy; the first is busy with acme~b07, free about 02:04:10 (in 1 min) b00, b01, b02 and 17 more",
        "1 yes is draining, until 05:03:00 (in 3 h) held",
        "2 no platform is ios, not android i0, i1",
        "5 no other os_version; o0: os_version is 0, not 14 o0, o1, o2 and 2 more",
        "2 no other target; t2: target is device, not emulator t2, t1",
        f"{len(devices)} devices in 5 groups; -o json shows each",
    ]


def test_free_devices_of_a_large_fleet_are_grouped_by_what_keeps_them_from_the_job() -> None:
    devices = [
        *[ConsideredDevice(f"f{n:02}", True, "is free, but it would not pay", ()) for n in range(MOST_LINES)],
        *[ConsideredDevice(f"g{n}", True, "is free, but it is avoided", ()) for n in range(2)],
    ]
    lines = shown(Explanation(a_job(pending_reason=PendingReason(PendingCode.ALL_BUSY, "busy")), tuple(devices)))
    assert lines[lines.index("DEVICES COULD SERVE WHY WHICH") + 1 :] == [
        "20 yes is free, but it would not pay f00, f01, f02 and 17 more",
        "2 yes is free, but it is avoided g0, g1",
        "22 devices in 2 groups; -o json shows each",
    ]


def test_a_text_of_the_coordinator_is_told_by_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XXX-9:30")
    time.tzset()
    try:
        held = Explanation(a_job(status=JobStatus.RUNNING), (), "given up at 16:45 UTC, or at 2026-02-02 16:45 UTC")
        assert "now given up at 02:15, or at 2026-02-03 02:15" in shown(held)
        reason = PendingReason(PendingCode.RESERVED, "until 00:06 UTC")
        waits = shown(Explanation(a_job(pending_reason=reason), (busy("b1"),), "1 is reserved until 00:06 UTC"))
        assert "pending reserved: until 09:36" in waits
        assert "devices 1 is reserved until 09:36" in waits
        assert in_local_time("build 99:99 UTC of 12:00", NOW) == "build 99:99 UTC of 12:00"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_of_other_days_have_their_date() -> None:
    assert clock(NOW + timedelta(days=2), NOW) == "2026-02-02 02:03:00"
    told = {
        -1: "0 s",
        0.6: "1 s",
        70: "1 min",
        90: "1.5 min",
        630: "10 min",
        7000: "2 h",
        90_000: "1 d",
        130_000: "1.5 d",
    }
    assert {seconds: span(timedelta(seconds=seconds)) for seconds in told} == told


def test_the_end_of_a_group_is_told_as_a_start_is() -> None:
    group = Group("acme~1", "acme", "v1", Target.EMULATOR, 0, 0, 1, ("e1",), 1, SOON)
    out = io.StringIO()
    Console(file=out, width=400).print(group_table([group, replace(group, estimated_end_at=None)], NOW))
    _, ends, open_ = (line.split() for line in out.getvalue().splitlines())
    assert ends[-4:] == ["02:04:10", "(in", "1", "min)"]
    assert open_[-1] == "-"

"""Tables at the widths that terminals have: an id can be copied whole, and nothing runs down a narrow column."""

from __future__ import annotations

import io
import os
import pty
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from qgjob import (
    Attempt,
    ConsideredDevice,
    ErrorClass,
    Explanation,
    Job,
    JobError,
    JobStatus,
    Outcome,
    Overflow,
    PendingCode,
    PendingReason,
    Requirements,
    TestResult,
)
from qgjob._enums import DeviceHealth, DeviceState, Priority, Target
from qgjob._fleet import Device
from qgjob.cli.explaining import explanation
from qgjob.cli.fleet_tables import device_table
from qgjob.cli.job_tables import job_facts, job_table, transition_text
from qgjob.cli.job_words import result_words, retry_words
from qgjob.cli.moments import clock, dated
from qgjob.cli.render import grid
from qgjob.cli.tables import Column, arrange, cut
from tests.fakes.command_line import Running
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import COMMON, Command

NOW = datetime(2026, 1, 31, 2, 3, 0, tzinfo=UTC)
WIDTHS = [80, 100, 120, 140, 160]
JOB_ID = "qualgent~01KB5Z0J5Q8W3N4X6Y7Z8A9BCD"
OTHER_ID = "qualgent~01KB5Z0J5Q8W3N4X6Y7Z8A9BCE"
LONG_ERROR = "the device did not answer within 30 s: " + "adb said no such thing as this device, and again; " * 6


def a_job(**values: object) -> Job:
    made = Job(
        job_id=JOB_ID, org_id="qualgent", app_version_id="v1", test_path="tests/checkout/payment/onboarding.spec.js",
        priority=Priority.MEDIUM, target=Target.BROWSERSTACK, status=JobStatus.QUEUED, round=1, created_at=NOW,
        updated_at=NOW, max_retries=3,
    )  # fmt: skip
    return replace(made, **values)  # type: ignore[arg-type]


ATTEMPT = Attempt(attempt=1, round=1, agent_id="agent-1", device_id="emulator-1")
JOBS = (
    a_job(deduplicated=True, pending_reason=PendingReason(PendingCode.ALL_BUSY, "all are busy")),
    a_job(
        job_id=OTHER_ID,
        status=JobStatus.FAILED,
        outcome=Outcome.PROVIDER_ERROR,
        device_id="browserstack-1",
        error=JobError(ErrorClass.INFRASTRUCTURE, LONG_ERROR),
    ),
)


def drawn(table: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table, crop=False)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("more", [{}, {"requirements": Requirements(platform="android", labels={"rack": "2"})}])
def test_a_job_is_one_line_with_its_whole_id(width: int, more: dict[str, object]) -> None:
    lines = drawn(job_table([replace(job, **more) for job in JOBS]), width)  # type: ignore[arg-type]
    assert len(lines) == 3
    assert [line.split()[0] for line in lines] == ["JOB", JOB_ID, OTHER_ID]
    assert max(map(len, lines)) <= width
    assert lines[0].split()[:3] == ["JOB", "TEST", "STATUS"]
    assert "onboarding.spec.js" in lines[1]
    assert "failed" in lines[2]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_device_that_is_asked_for_is_named_whole_or_not_at_all(width: int) -> None:
    lines = drawn(job_table([replace(JOBS[1], requirements=Requirements(device_id="browserstack-12"))]), width)
    assert ("REQUIRES" in lines[0]) == ("device_id=browserstack-12" in lines[1])
    assert "…" not in lines[1].partition("device_id=")[2].split(" ")[0]


def test_what_is_of_lesser_worth_goes_first() -> None:
    shown = {width: drawn(job_table(JOBS), width)[0].split() for width in WIDTHS}
    assert shown[80] == ["JOB", "TEST", "STATUS", "OUTCOME"]
    for narrow, wide in pairwise(WIDTHS):
        assert set(shown[narrow]) <= set(shown[wide])
    assert "DEVICE" in shown[120]
    assert "TRIES" not in shown[120]


def test_that_a_note_is_left_out_is_known() -> None:
    for jobs, width, missed in ((JOBS, 80, ["NOTE"]), (JOBS, 200, []), (JOBS[:1], 80, []), ((a_job(),), 50, [])):
        table = job_table(jobs)
        drawn(table, width)
        assert getattr(table, "missed", None) == missed


@pytest.mark.parametrize(
    ("state", "since"),
    [
        ({}, 1),
        ({"attempts": (ATTEMPT,)}, 9),
        ({"overflow": Overflow(Target.BROWSERSTACK, 1.0, Target.DEVICE, NOW + timedelta(minutes=7))}, 7),
        ({"overflow": Overflow(Target.BROWSERSTACK, 1.0)}, 1),
        ({"status": JobStatus.SCHEDULED}, 2),
        ({"status": JobStatus.RUNNING}, 3),
        ({"status": JobStatus.FAILED, "outcome": Outcome.EXPIRED}, 4),
        ({"status": JobStatus.FAILED, "outcome": Outcome.EXPIRED, "completed_at": None}, 9),
    ],
)
def test_a_transition_is_told_with_its_own_time(state: dict[str, object], since: int) -> None:
    names = ("created_at", "scheduled_at", "started_at", "completed_at")
    times = {name: NOW + timedelta(minutes=n) for n, name in enumerate(names, 1)}
    job = a_job(**{**times, "updated_at": NOW + timedelta(minutes=9), **state})
    told = transition_text(job, "x", NOW + timedelta(minutes=30)).plain
    assert told.startswith(clock(NOW + timedelta(minutes=since), NOW + timedelta(minutes=30)))
    assert transition_text(replace(job, created_at=None, updated_at=None, attempts=()), "x", NOW)


@pytest.mark.parametrize(
    ("outcomes", "final", "told"),
    [
        ([], False, "0 of 0"),
        ([Outcome.TEST_FAILED], True, "0 of 0"),
        ([Outcome.DEVICE_ERROR] * 2, False, "0 of 0 (tests), 2 (infrastructure)"),
        ([Outcome.DEVICE_ERROR, Outcome.AGENT_LOST, None], False, "0 of 0 (tests), 2 (infrastructure)"),
        ([Outcome.PROVIDER_ERROR] * 5, True, "0 of 0 (tests), 4 (infrastructure)"),
        ([Outcome.DEVICE_ERROR], True, "0 of 0"),
    ],
)
def test_retries_of_the_infrastructure_have_a_count_of_their_own(
    outcomes: list[Outcome | None], final: bool, told: str
) -> None:
    before = replace(ATTEMPT, outcome=Outcome.DEVICE_ERROR)
    attempts = [replace(ATTEMPT, round=2, attempt=2 + n, outcome=each) for n, each in enumerate(outcomes)]
    status = JobStatus.FAILED if final else JobStatus.QUEUED
    assert retry_words(a_job(round=2, max_retries=0, status=status, attempts=(before, *attempts))) == told


def test_there_is_nothing_left_out_where_there_is_room() -> None:
    lines = drawn(job_table(JOBS), 100_000)
    assert lines[0].split() == [
        *("JOB", "TEST", "STATUS", "OUTCOME", "TARGET", "PRIORITY", "DEVICE", "TRIES", "CREATED", "NOTE"),
    ]
    assert dated(NOW) in lines[1]
    assert LONG_ERROR.strip() in lines[2]


def test_a_time_is_a_distance_before_anything_is_left_out() -> None:
    columns = [Column("JOB"), Column("CREATED", spare=1)]
    table = grid(columns, [[JOB_ID, NOW - timedelta(minutes=3)]], NOW)
    assert drawn(table, 100)[1].endswith(dated(NOW - timedelta(minutes=3)))
    assert drawn(table, 50)[1] == f"{JOB_ID} 3 min ago"
    assert drawn(table, 40) == ["JOB", JOB_ID]
    # A terminal narrower than an id breaks the line itself, and copies it whole.
    assert drawn(table, 20) == ["JOB", JOB_ID]


def test_a_column_in_which_nothing_stands_goes_before_one_that_says_something() -> None:
    assert drawn(job_table(JOBS[:1]), 80)[0].split() == ["JOB", "TEST", "STATUS", "NOTE"]
    assert "deduplicated" in drawn(job_table(JOBS[:1]), 80)[1]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_busy_device_shows_whole_ids(width: int) -> None:
    device = Device(
        device_id="browserstack-1", agent_id="agent-1", udid="browserstack-1", target=Target.BROWSERSTACK,
        platform=None, os_version=None, model=None, state=DeviceState.BUSY, health=DeviceHealth.GOOD, reason=LONG_ERROR,
        until=NOW, current_job_id=JOB_ID, org_id="qualgent", app_version_id="xyz123", labels={}, installs=12,
        last_seen_at=NOW,
    )  # fmt: skip
    lines = drawn(device_table([device]), width)
    assert len(lines) == 2
    assert max(map(len, lines)) <= width
    assert lines[1].split()[0] == "browserstack-1"
    assert ("JOB" in lines[0]) == (JOB_ID in lines[1].split())
    assert JOB_ID in drawn(device_table([replace(device, reason=None, until=None)]), width)[1].split()


@pytest.mark.parametrize("width", WIDTHS)
def test_why_a_device_is_held_and_until_when_is_never_hidden(width: int) -> None:
    busy = Device(
        device_id="emulator-1", agent_id="agent-1", udid="emulator-1", target=Target.EMULATOR,
        platform=None, os_version=None, model=None, state=DeviceState.BUSY, health=DeviceHealth.GOOD, reason=None,
        until=None, current_job_id=JOB_ID, org_id="qualgent", app_version_id="xyz123", labels={}, installs=12,
        last_seen_at=NOW,
    )  # fmt: skip
    held = replace(
        busy, device_id="browserstack-1", health=DeviceHealth.MAINTENANCE, reason="swollen battery", until=NOW
    )
    header, _, line = drawn(device_table([busy, held]), width)
    assert {"UNTIL", "REASON"} <= set(header.split())
    assert "swollen" in line


@pytest.mark.parametrize("width", [80, 90, 100])
def test_where_a_job_ran_is_shown_where_there_is_room(width: int) -> None:
    jobs = [
        a_job(
            job_id=f"acme~{JOB_ID.partition('~')[2]}",
            status=JobStatus.COMPLETED,
            outcome=outcome,
            device_id="emulator-1",
        )
        for outcome in (Outcome.PASSED, Outcome.FLAKY)
    ]
    lines = drawn(job_table(jobs), width)
    assert {"JOB", "TEST", "STATUS", "OUTCOME", "DEVICE"} <= set(lines[0].split())
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_facts_wrap_beside_their_names_and_keep_ids_whole(width: int) -> None:
    attempt = Attempt(
        1, 1, "agent-1", "emulator-1", Outcome.DEVICE_ERROR, error=JobError(ErrorClass.INFRASTRUCTURE, LONG_ERROR)
    )
    long_id = "o" * 128 + "~01KB5Z0J5Q8W3N4X6Y7Z8A9BCD"
    lines = drawn(job_facts(replace(JOBS[1], job_id=long_id, attempts=(attempt,))), width)
    assert [line for line in lines if line.split() == ["job_id", long_id]]
    others = [line for line in lines if long_id not in line]
    assert max(map(len, others)) <= width
    assert " ".join(" ".join(others).split()).count(LONG_ERROR.strip()) == 2


def test_an_attempt_says_nothing_twice() -> None:
    def told(**values: Any) -> str:
        attempt = Attempt(1, 1, "agent-1", "emulator-1", Outcome.PASSED, **values)
        return next(
            line for line in drawn(job_facts(replace(JOBS[1], attempts=(attempt,))), 200) if "attempt 1" in line
        )

    def result(summary: str) -> TestResult:
        return TestResult(1, 0, 0, 25_827, summary)

    took: dict[str, Any] = {"duration_ms": 25_827, "install_ms": 2_040}
    once = "attempt 1 passed on emulator-1 in 25.8 s after an install of 2.0 s"
    assert " ".join(told(**took, result=result("passed after 25.8 s")).split()) == once
    assert " ".join(told(**took, result=result("checked 3 screens")).split()) == f"{once} - checked 3 screens"
    assert "in 30 min" in told(duration_ms=1_800_000)


@pytest.mark.parametrize("width", WIDTHS)
def test_an_explanation_is_not_deeper_than_it_must_be(width: int) -> None:
    waits = a_job(pending_reason=PendingReason(PendingCode.ALL_BUSY, "all are busy"))
    message = f"is busy with {OTHER_ID}, and then has two more tests of its group to run"
    devices = (ConsideredDevice("browserstack-1", True, message, (), PendingCode.ALL_BUSY, NOW + timedelta(hours=1)),)
    lines = drawn(explanation(Explanation(waits, devices, "1 is busy"), NOW), width)
    assert max(map(len, lines)) <= width
    table = lines[lines.index("") + 1 :]
    assert table[0].split() == ["DEVICE", "COULD", "SERVE", "WHY"]
    assert len(table) <= 4
    assert OTHER_ID in " ".join(table).split(",")[0]


@pytest.mark.parametrize(
    ("width", "keeps_end", "left"),
    [(20, False, "tests/login.spec.js"), (10, False, "tests/log…"), (10, True, "…n.spec.js"), (1, False, "…")],
)
def test_what_is_cut_shows_it(width: int, keeps_end: bool, left: str) -> None:
    assert cut("tests/login.spec.js", width, keeps_end=keeps_end) == left


def test_wide_characters_are_counted_as_they_are_drawn() -> None:
    assert cut("日本語のテスト", 7) == "日本語…"
    assert drawn(grid([Column("TEST", least=4), Column("N")], [["日本語のテスト", 1]]), 10) == [
        "TEST     N",
        "日本語…  1",
    ]


@pytest.mark.parametrize("width", range(1, 60))
def test_no_width_is_exceeded_but_for_what_stays_whole(width: int) -> None:
    columns = [Column("ID"), Column("A", spare=2, least=4), Column("B", spare=1), Column("C", spare=3, least=6)]
    full: Sequence[int] = [10, 30, 8, 12]
    widths, _ = arrange(columns, full, full, [False] * 4, width)
    assert widths[0] == 10
    assert sum(widths.values()) + len(widths) - 1 <= max(width, 10)
    assert widths.get(2, 8) == 8


@pytest.mark.parametrize("width", ["80", "100", "140"])
def test_on_a_terminal_an_id_is_on_one_line(fake: FakeCoordinator, qgjob: Command, width: str) -> None:
    qgjob("submit", *COMMON, "--test=tests/checkout/payment/onboarding.spec.js", "--require=platform=android")
    job_id = next(iter(fake.jobs))
    controller, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": width}
    with os.fdopen(terminal, "wb") as stdout:
        listing = Running(Path.cwd(), ("list", "--org-id=acme"), environment, stdout=stdout)
        _, err = listing.communicate(timeout=30)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", os.read(controller, 1_000_000).decode())
    os.close(controller)
    assert listing.returncode == 0, err
    assert [line.split()[0] for line in shown.splitlines()] == ["JOB", job_id]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (TestResult(1, 0, 0, 250, None), ""),
        (TestResult(0, 1, 0, 250, "test_failed"), ""),  # said by an agent of an earlier version
        (TestResult(1, 0, 0, 250, "cart works"), "cart works"),
        (TestResult(4, 1, 2, 250, None), "4 passed, 1 failed, 2 skipped"),
        (TestResult(4, 1, 2, 250, "total is 0"), "4 passed, 1 failed, 2 skipped: total is 0"),
        (TestResult(0, 0, 0, 250, None), "0 passed, 0 failed, 0 skipped"),
    ],
)
def test_a_result_is_shown_where_it_says_more_than_the_outcome(result: TestResult, words: str) -> None:
    assert result_words(result, "test_failed") == words

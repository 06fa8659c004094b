"""The figures of the AppWright demo, and what it makes of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from examples.appwright_demo.compare import Found
from examples.appwright_demo.figures import (
    Expected,
    at_most,
    busy_shares,
    equal,
    more_than,
    outcomes,
    passed_tests,
    wall_seconds,
)
from examples.appwright_demo.plain import Plain
from examples.appwright_demo.summary import print_expected, print_installs, print_verdict, print_ways
from qgjob import Attempt, Job, JobStatus, Outcome, Priority, Target, TestResult
from tests.fakes.browserstack.account import Account

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGUN + timedelta(seconds=seconds)


def job(number: int, device_id: str, started: float, ended: float, install_ms: int | None = None) -> Job:
    """A job that passed at its first attempt; two tests, submitted at 0 s, its verdict 1 s after its end."""
    counted = TestResult(passed=2, failed=0, skipped=0, duration_ms=1000, summary="2 of 2 passed")
    times: dict[str, Any] = {"scheduled_at": at(0), "started_at": at(started), "ended_at": at(ended)}
    attempt = Attempt(1, 0, "lab", device_id, outcome=Outcome.PASSED, install_ms=install_ms, result=counted, **times)
    return Job(
        job_id=f"northwind~{number}",
        org_id="northwind",
        app_version_id="1.0",
        test_path=f"tests/{number}.spec.ts",
        priority=Priority.MEDIUM,
        target=Target.EMULATOR,
        status=JobStatus.COMPLETED,
        outcome=Outcome.PASSED,
        round=0,
        created_at=at(0),
        updated_at=at(ended + 1),
        completed_at=at(ended + 1),
        attempts=(attempt,),
        max_retries=3,
    )


def test_a_device_is_busy_while_it_installs_and_while_it_tests_and_at_no_other_time() -> None:
    jobs = [job(1, "a", 3, 6, install_ms=2000), job(2, "a", 6.5, 9), job(3, "b", 4, 9)]
    assert wall_seconds(jobs) == 10
    assert busy_shares(jobs) == {"a": pytest.approx(0.75), "b": pytest.approx(0.5)}
    assert (passed_tests(jobs), outcomes(jobs)) == (6, {"passed"})


def test_a_figure_that_is_not_reached_is_named_and_is_the_exit_code() -> None:
    good = [equal("installs", 2, 2), at_most("share", 0.5, 0.5), more_than("busy", 0.91, 0.9)]
    bad = [equal("installs", 3, 2), at_most("share", 0.51, 0.5), more_than("busy", 0.9, 0.9)]
    assert [each.holds for each in good + bad] == [True] * 3 + [False] * 3
    console = Console(record=True, width=200)
    print_expected(console, good + bad, every=False)
    assert print_verdict(console, good, 1.0) == 0
    assert print_verdict(console, good + bad, 1.0) == 1
    said = console.export_text()
    assert "unexpected  installs: 3 (wanted: 2)" in said
    assert "installs: 2" not in said
    assert "3 of 6 are not as expected" in said
    assert isinstance(good[0], Expected)


def test_the_last_words_have_installs_and_uploads_of_both_ways() -> None:
    account = Account()
    app = account.upload(b"an apk", None)["app_url"]
    for _ in range(2):
        account.open({"appium:app": app, "bstack:options": {"deviceName": "a phone"}})
    jobs = [job(1, "a", 3, 6), job(2, "b", 4, 9)]
    found = Found(jobs, [jobs, jobs], account, 2, 2, 1, [], Plain(16, 0, 16, 50.0), Plain(8, 0, 2, 60.0))
    console = Console(record=True, width=200)
    print_ways(console, found, 2)
    print_installs(console, found)
    said = console.export_text()
    rows = [re.findall(r"[\w. ]+\b", line) for line in said.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["AppWright by itself", "1 emulator", "16", "16", "50.0 s"],
        ["qgjob", "2 emulators", "4", "2", "10.0 s"],
        ["AppWright by itself", "2 sessions", "8", "2", "60.0 s"],
        ["qgjob", "2 sessions", "8", "1", "20.0 s"],
    ]
    assert said.splitlines()[-2:] == [
        "2 installs counted by the emulators, 2 told by the product; AppWright by itself made 16.",
        "1 upload for 2 sessions, 2 at once, counted by the cloud, 1 told by the product; AppWright by itself made 2.",
    ]

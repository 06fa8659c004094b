"""The demo's judgement: it passes what is right, and names what is wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from examples.demo.board import Board
from examples.demo.judge import LIMIT_SECONDS, judge
from examples.demo.plan import BROKEN, FLAKY, Submission, cells, expected_outcome
from qgjob import Attempt, Device, DeviceHealth, DeviceState, Job, JobStatus, Outcome, Priority, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEVICES = tuple(
    Device(
        device_id=f"{target}-{number}",
        agent_id=f"agent-{number}",
        udid=f"{target}-{number}",
        target=target,
        platform=None,
        os_version=None,
        model=None,
        state=DeviceState.IDLE,
        health=DeviceHealth.GOOD,
        reason=None,
        until=None,
        current_job_id=None,
        org_id=None,
        app_version_id=None,
        labels={},
        installs=2,
        last_seen_at=NOW,
    )
    for target in Target
    for number in (1, 2)
)
TRIED = {
    "passed": [Outcome.PASSED],
    "flaky": [Outcome.TEST_FAILED, Outcome.PASSED],
    "test_failed": [Outcome.TEST_FAILED] * 3,
}


def finished(number: int, run: Submission, test_path: str) -> Job:
    """A job of the plan, ended as it has to."""
    outcome = expected_outcome(test_path, run.app_version_id)
    return Job(
        job_id=f"{run.org_id}~{number}",
        org_id=run.org_id,
        app_version_id=run.app_version_id,
        test_path=test_path,
        priority=Priority(run.priority),
        target=Target(run.target),
        status=JobStatus.FAILED if outcome == "test_failed" else JobStatus.COMPLETED,
        outcome=Outcome(outcome),
        round=1,
        run_ids=(run.run_id,),
        created_at=NOW,
        updated_at=NOW,
        attempts=attempts(TRIED[outcome], f"{run.target}-1"),
        max_retries=2,
        device_id=f"{run.target}-1",
    )


def attempts(outcomes: list[Outcome], device_id: str) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(attempt=number, round=1, agent_id="agent-1", device_id=device_id, outcome=outcome)
        for number, outcome in enumerate(outcomes, 1)
    )


@pytest.fixture
def board() -> Board:
    """A demo that went as it has to."""
    board = Board()
    board.devices = DEVICES
    for number, (run, test_path) in enumerate(cells()):
        board.see(finished(number, run, test_path))
    return board


def change(board: Board, test_path: str, **changes: object) -> None:
    job = next(job for job in board.jobs.values() if job.test_path == test_path)
    board.jobs[job.job_id] = replace(job, **changes)


def test_the_plan_covers_what_the_demo_promises():
    runs, paths = zip(*cells(), strict=True)
    assert len(paths) >= 40
    assert len({run.org_id for run in runs}) == 2
    assert len({run.app_version_id for run in runs}) == 3
    assert {run.target for run in runs} == set(Target)
    outcomes = [expected_outcome(path, run.app_version_id) for run, path in cells()]
    assert outcomes.count("test_failed") == 1
    assert outcomes.count("flaky") == len(FLAKY)


def test_what_is_right_has_no_problem(board):
    assert judge(board, wall_seconds=30, left_running=[]) == []


def test_a_wrong_verdict_is_named(board):
    change(board, BROKEN[0], status=JobStatus.COMPLETED, outcome=Outcome.PASSED)
    [problem] = judge(board, wall_seconds=30, left_running=[])
    assert "checkout/coupon_stacking: passed, expected test_failed" in problem


def test_a_flaky_pass_that_shows_no_failure_is_named(board):
    change(board, "tests/search/new_product_test.py", attempts=attempts([Outcome.PASSED], "browserstack-1"))
    assert len(judge(board, wall_seconds=30, left_running=[])) == 1


def test_a_missing_verdict_is_named(board):
    change(board, "tests/cart/add_item_test.py", status=JobStatus.RUNNING, outcome=None)
    [problem] = judge(board, wall_seconds=30, left_running=[])
    assert problem.endswith("cart/add_item: no verdict, it is running")


def test_a_lost_job_is_named(board):
    board.jobs.pop(next(iter(board.jobs)))
    assert len(judge(board, wall_seconds=30, left_running=[])) == 1


def test_a_device_of_another_target_is_named(board):
    change(board, "tests/cart/add_item_test.py", attempts=attempts([Outcome.PASSED], "emulator-1"))
    [problem] = judge(board, wall_seconds=30, left_running=[])
    assert "ran on a device that is no device" in problem


@pytest.mark.parametrize("installs", [0, 4])
def test_no_installs_or_too_many_are_named(board, installs):
    board.devices = tuple(replace(device, installs=installs) for device in DEVICES)
    assert len(judge(board, wall_seconds=30, left_running=[])) == 1


def test_an_attempt_that_the_infrastructure_failed_is_no_problem(board):
    change(
        board,
        "tests/cart/add_item_test.py",
        attempts=attempts([Outcome.AGENT_LOST, Outcome.PASSED], "device-1"),
    )
    assert judge(board, wall_seconds=30, left_running=[]) == []


def test_being_slow_or_leaving_something_behind_is_named(board):
    problems = judge(board, wall_seconds=LIMIT_SECONDS, left_running=["4711 sleep 1000"])
    assert problems == ["it took 60 s, and is to take less than 60 s", "left running: 4711 sleep 1000"]


def test_the_board_tells_verdicts_and_retries(board):
    number, (run, test_path) = next(
        (number, cell) for number, cell in enumerate(cells()) if cell[1] == "tests/search/new_product_test.py"
    )
    done = finished(number, run, test_path)
    queued = replace(done, status=JobStatus.QUEUED, outcome=None, attempts=())
    running = replace(queued, status=JobStatus.RUNNING, attempts=(replace(done.attempts[0], outcome=None),))
    failed_once = replace(queued, attempts=done.attempts[:1])
    board.jobs.clear()
    assert board.see(queued) is None
    assert board.see(running) is None
    assert (
        board.see(failed_once)
        == "bluebird shop-1.8.0 search/new_product: test_failed on browserstack-1, attempt 1, will be tried again"
    )
    assert board.see(done) == "bluebird shop-1.8.0 search/new_product: flaky on browserstack-1, attempt 2"
    assert board.see(done) is None

"""The demo's tables on terminals of usual widths: no figure is cut or hidden, and what gives way is text."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from examples.demo.board import Board
from examples.demo.plan import SUBMISSIONS
from examples.demo.view import COLUMNS, devices_table, runs_table
from qgjob import DeviceState, JobStatus, Outcome
from tests.unit.examples.test_demo import DEVICES, attempts, finished

LONGEST = "tests/notifications/push_delivery_test.py"
BY_STANDING = {
    "queued": {"status": JobStatus.QUEUED, "outcome": None, "attempts": ()},
    "active": {"status": JobStatus.RUNNING, "outcome": None},
    "retrying": {"status": JobStatus.QUEUED, "outcome": None, "attempts": attempts([Outcome.TEST_FAILED], "device-1")},
    "passed": {"status": JobStatus.COMPLETED, "outcome": Outcome.PASSED},
    "flaky": {"status": JobStatus.COMPLETED, "outcome": Outcome.FLAKY},
    "test_failed": {"status": JobStatus.FAILED, "outcome": Outcome.TEST_FAILED},
}


def drawn(table: object, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def figures() -> dict[str, list[int]]:
    """For each run a number for each standing, all with two digits, and no two alike."""
    numbers = iter(range(10, 100))
    return {run.run_id: [next(numbers) for _ in COLUMNS] for run in SUBMISSIONS}


@pytest.fixture
def board(figures) -> Board:
    """As many jobs of each run in each standing as `figures` says, and busy devices."""
    board = Board()
    for run in SUBMISSIONS:
        for standing, count in zip(COLUMNS, figures[run.run_id], strict=True):
            for _ in range(count):
                job = finished(len(board.jobs), run, run.test_paths()[0])
                board.jobs[job.job_id] = replace(job, **BY_STANDING[standing])
    running = next(job for job in board.jobs.values() if job.status is JobStatus.RUNNING)
    board.jobs[running.job_id] = replace(running, test_path=LONGEST)
    board.devices = [
        replace(
            device,
            state=DeviceState.OFFLINE,
            installs=10 + number,
            org_id="northwind",
            app_version_id="shop-2.0.0-rc.1",
            current_job_id=running.job_id,
        )
        for number, device in enumerate(DEVICES)
    ]
    return board


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_figure_of_the_runs_shows(board, figures, width):
    lines = drawn(runs_table(board, width), width).splitlines()
    assert max(map(len, lines)) <= width
    assert {"run", "queued", "active", "retrying", "passed", "flaky", "failed"} <= set(lines[1].split())
    for run_id, numbers in figures.items():
        [line] = [line for line in lines if run_id in line]
        assert [int(word) for word in line.split() if word.isdigit()] == numbers


@pytest.mark.parametrize("width", [80, 100, 120])
def test_every_device_shows_with_its_state_and_installs(board, width):
    lines = drawn(devices_table(board, width), width).splitlines()
    assert max(map(len, lines)) <= width
    for device in board.devices:
        [line] = [line for line in lines if device.device_id in line]
        assert {"offline", str(device.installs)} <= set(line.split())
        assert "notifications/" in line


def test_what_has_room_is_left_out_nowhere(board):
    runs, devices = drawn(runs_table(board, 120), 120), drawn(devices_table(board, 120), 120)
    assert {"org", "version", "target", "priority"} <= set(runs.splitlines()[1].split())
    assert {"agent", "installed"} <= set(devices.splitlines()[1].split())
    assert "notifications/push_delivery" in devices
    assert "…" not in runs + devices

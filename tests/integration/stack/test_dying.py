"""A part of a coordinator dies: the whole ends with a code by which whatever started it starts it again."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from tests.fakes.plain_http import NO_TLS
from tests.fakes.program import Program

EXIT_FAILED = 1
OK = 200
BROKEN = """
import signal
def break_a_loop(number, frame):
    from qgjob_coordinator.telemetry import Telemetry
    Telemetry.observe_lag = None  # what the loop `lag` calls next
def deafen(number, frame):
    from qgjob_coordinator.processes import counts
    counts.load = None  # what a child calls at the next word of its parent
signal.signal(signal.SIGUSR2, break_a_loop)
signal.signal(signal.SIGRTMIN, deafen)
"""


@pytest.fixture
async def start(tmp_path: Path, redis_url: str) -> AsyncIterator[Callable[..., Program]]:
    """Starts a coordinator whose loop dies at SIGUSR2, and its ear for its parent at SIGRTMIN; ended with the test."""
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    values = {"PORT": 0, "GRPC_PORT": 0, "ENVIRONMENT": "production", "REDIS_URL": redis_url, "PYTHONPATH": path}
    started: list[Program] = []

    def begin(*arguments: str) -> Program:
        started.append(Program("coordinator", "qgjob_coordinator", tmp_path, values, arguments))
        started[-1].start()
        return started[-1]

    yield begin
    for program in started:
        await program.end()


async def test_a_coordinator_whose_loop_dies_says_so_stops_in_order_and_fails(start: Callable[..., Program]) -> None:
    coordinator = start()
    await coordinator.says("coordinator_ready")
    os.kill(coordinator.pid, signal.SIGUSR2)
    assert await coordinator.exit_code() == EXIT_FAILED
    (died,) = coordinator.events("loop_died")
    assert died["loop"] == "lag"
    assert died["exception"][0]["exc_type"] == "TypeError"
    assert coordinator.events("coordinator_stopped")


async def test_one_of_several_processes_whose_loop_dies_is_replaced(start: Callable[..., Program]) -> None:
    parent = start("--processes", "2")
    await parent.says("processes_ready")
    dying = parent.events("process_started")[0]["pid"]
    os.kill(dying, signal.SIGUSR2)
    ended = await parent.says("process_ended", pid=dying)
    assert (ended["how"], ended["exit_code"]) == ("crashed", EXIT_FAILED)
    await parent.says("processes_ready", times=2)
    assert len(parent.events("process_started")) == 3
    parent.terminate()
    assert await parent.exit_code() == 0


async def test_one_of_several_that_hears_its_parent_no_more_is_replaced(start: Callable[..., Program]) -> None:
    parent = start("--processes", "1")
    ready = await parent.says("processes_ready")
    deaf = parent.events("process_started")[0]["pid"]
    os.kill(deaf, signal.SIGRTMIN)
    async with httpx2.AsyncClient(verify=NO_TLS) as client:
        # It asks its parent for the counts of all, and can't take the answer.
        answer = await client.get(f"http://127.0.0.1:{ready['port']}/metrics")
    assert answer.status_code != OK
    ended = await parent.says("process_ended", pid=deaf)
    assert (ended["how"], ended["exit_code"]) == ("crashed", EXIT_FAILED)
    (died,) = parent.events("loop_died")
    assert died["loop"] == "parent"
    assert parent.events("coordinator_stopped"), "it did not drain"
    await parent.says("processes_ready", times=2)

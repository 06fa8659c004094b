"""What happens to jobs without a report is counted and logged as what is reported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def of(lines: list[Any], job: JobSpec) -> list[dict[str, Any]]:
    return [dict(line) for line in lines if line.get("job_id") == job.job_id]


async def lose(store: Store, telemetry: Telemetry, agent_id: str) -> None:
    """The agent is closed, and a reaper finds it."""
    assert await store.sessions.observe(agent_id, 1, -1, "closed")
    await Reaper(store, Hub(), telemetry, 15.0, 60.0).look(0.0)


async def test_an_agent_that_is_lost_counts_for_what_it_had_begun(store: Store, lines: list[Any]) -> None:
    telemetry = Telemetry()
    await scenes.open_session(store)
    started = await scenes.running(store, spec(1))
    given_back = spec(2)
    await scenes.submit(store, given_back)
    await scenes.claim(store, given_back, (given_back.ulid, "t2"))
    killed = await scenes.running(store, spec(3), "t3")
    await store.jobs.cancel("acme", [(killed.ulid, 1)], NOW, reason="x")
    await lose(store, telemetry, "agent-1")
    assert (telemetry.leases_lost, telemetry.attempts, telemetry.finished) == (1, {"agent_lost": 1}, {})
    (line,) = of(lines, started)
    assert line["event"] == "job_queued"
    assert (line["attempt"], line["attempt_outcome"], line["agent_id"]) == (1, "agent_lost", "agent-1")
    assert (line["device_id"], line["outcome"], line["log_level"]) == (scenes.DEVICE, None, "info")
    (line,) = of(lines, given_back)
    assert (line["event"], line["attempt"], line["attempt_outcome"]) == ("job_queued", 1, None)
    (line,) = of(lines, killed)
    assert line["event"] == "attempt_released"


async def test_the_verdict_on_a_poison_job_is_counted(store: Store, lines: list[Any]) -> None:
    telemetry = Telemetry()
    job = spec(1)
    await scenes.submit(store, job)
    for n, agent_id in enumerate(("agent-1", "agent-2"), start=1):
        await scenes.open_session(store, agent_id)
        await store.jobs.promote("acme", wall_ms() + 10**9)
        assert (await scenes.claim(store, job, (job.ulid, f"t{n}"), agent_id=agent_id)).grants
        await store.leases.start("acme", [(job.ulid, f"t{n}", NOW)], NOW)
        await lose(store, telemetry, agent_id)
    assert telemetry.finished == {("agent_lost", "emulator"): 1}
    assert telemetry.attempts == {"agent_lost": 2}
    assert [(line["event"], line["outcome"]) for line in of(lines, job)] == [
        ("job_queued", None),
        ("job_failed", "agent_lost"),
    ]


async def test_what_expires_and_what_becomes_due_is_counted_and_logged(store: Store, lines: list[Any]) -> None:
    telemetry = Telemetry()
    now = wall_ms()
    waited, later = spec(1, queue_timeout_ms=1000), spec(2, not_before=now - 1000)
    await scenes.submit(store, waited, later, now=now - 2000)
    await Timers(store, Hub(), FleetReader(store), telemetry).look()
    assert telemetry.finished == {("expired", "emulator"): 1}
    (line,) = of(lines, waited)
    assert (line["event"], line["outcome"], line["log_level"]) == ("job_failed", "expired", "info")
    assert "not started within 1 s" in line["reason"]
    (line,) = of(lines, later)
    assert (line["event"], line["reason"]) == ("job_queued", "not_before")

"""What happens to jobs without a report is counted and logged as what is reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.enums import DeathCause, Outcome
from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.service.agents.log_intake import LogIntake
from qgjob_coordinator.service.agents.messages import DeadReport, FinishedReport, Report, ReportAck, Verdict
from qgjob_coordinator.service.agents.reporting import Reporter
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec

DEADLINE_SECONDS = 5.0


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def of(lines: list[Any], job: JobSpec) -> list[dict[str, Any]]:
    return [dict(line) for line in lines if line.get("job_id") == job.job_id]


async def lose(store: Store, telemetry: Telemetry, agent_id: str) -> None:
    """The agent is closed, and a reaper finds it."""
    assert await store.sessions.observe(agent_id, 1, -1, "closed")
    reaper = Reaper(store, Hub(), telemetry, 15.0, 60.0, faults=OrgFaults(telemetry))
    await reaper.look(0.0)
    await reaper.settled()


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
    assert (telemetry.leases_lost, telemetry.finished) == (1, {})
    assert telemetry.attempts == {"agent_lost": 1, "cancelled": 1}
    (line,) = of(lines, started)
    assert line["event"] == "job_queued"
    assert (line["attempt"], line["attempt_outcome"], line["agent_id"]) == (1, "agent_lost", "agent-1")
    assert (line["device_id"], line["outcome"], line["log_level"]) == (scenes.DEVICE, None, "info")
    (line,) = of(lines, given_back)
    assert (line["event"], line["attempt"], line["attempt_outcome"]) == ("job_queued", 1, None)
    (line,) = of(lines, killed)
    assert (line["event"], line["attempt_outcome"]) == ("attempt_released", "cancelled")


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
    await Timers(store, Hub(), FleetReader(store), telemetry, Bonds(store), faults=OrgFaults(telemetry)).look()
    assert telemetry.finished == {("expired", "emulator"): 1}
    (line,) = of(lines, waited)
    assert (line["event"], line["outcome"], line["log_level"]) == ("job_failed", "expired", "info")
    assert "not started within 1 s" in line["reason"]
    (line,) = of(lines, later)
    assert (line["event"], line["reason"]) == ("job_queued", "not_before")


class Reports:
    """Reports of agent-1 on their way to the store. `woken`: the orgs that may have work since."""

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        hub, nothing = Hub(), SimpleNamespace()
        self.woken: list[str] = []
        hub.on_work(lambda org_id, _seen: self.woken.append(org_id))
        self.session = Session("agent-1", 1, 10, store, Times(1_000, 60_000, 60_000, 1_000, 60_000, 0))
        logs, occupants = LogIntake("agent-1", cast("Any", nothing), hub, faults=OrgFaults()), cast("Any", nothing)
        self.reporter = Reporter(
            self.session,
            store,
            hub,
            telemetry,
            occupants,
            logs,
            lambda _org, _at: None,
            log_transitions=False,
            faults=OrgFaults(telemetry),
        )

    async def send(self, *reports: Report) -> list[Verdict]:
        """Reports together; what they were acknowledged with."""
        self.session.outbox.clear()
        self.session.outbox_ready.clear()
        self.reporter.put(reports)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.session.outbox_ready.wait()
        (ack,) = self.session.outbox
        assert isinstance(ack, ReportAck)
        return [verdict for _, verdict in sorted(ack.entries)]


async def cancelled_while_it_ran(store: Store) -> JobSpec:
    """A job whose attempt t1 is to be killed."""
    await scenes.open_session(store)
    job = await scenes.running(store, spec(1))
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="x")
    return job


def passed(job: JobSpec) -> FinishedReport:
    """It had passed when the revoke came."""
    return FinishedReport(1, "acme", job.ulid, "t1", Outcome.PASSED, NOW, NOW, 5, None, None, None, False)


def killed(job: JobSpec) -> DeadReport:
    """It was killed for the revoke."""
    return DeadReport(2, "acme", job.ulid, "t1", DeathCause.REVOKED, NOW, started=True)


@pytest.mark.parametrize(
    ("cause", "attempts", "leases_lost"),
    [
        (DeathCause.LEASE_LOST, "agent_lost", 1),
        (DeathCause.AGENT_LOST, "agent_lost", 1),
        (DeathCause.DEVICE_LOST, "agent_lost", 0),
        (DeathCause.SHUTDOWN, "given_back", 0),
        (DeathCause.DISK_FULL, "given_back", 0),
        (DeathCause.REVOKED, "given_back", 0),  # by a cancel that an older state of the store does not know
    ],
)
async def test_a_lost_lease_is_one_whose_agent_was_not_heard(
    store: Store, lines: list[Any], cause: DeathCause, attempts: str, leases_lost: int
) -> None:
    telemetry = Telemetry()
    await scenes.open_session(store)
    job = await scenes.running(store, spec(1))
    dead = DeadReport(1, "acme", job.ulid, "t1", cause, NOW, started=True)
    assert await Reports(store, telemetry).send(dead) == [APPLIED]
    assert (telemetry.attempts, telemetry.leases_lost) == ({attempts: 1}, leases_lost)
    (line,) = of(lines, job)
    assert (line["event"], line["attempt_outcome"], line["reason"]) == ("job_queued", "agent_lost", cause.value)


async def test_what_had_not_begun_counts_for_nothing_whatever_ended_it(store: Store, lines: list[Any]) -> None:
    telemetry = Telemetry()
    await scenes.open_session(store)
    job = spec(1)
    await scenes.submit(store, job)
    await scenes.claim(store, job)
    dead = DeadReport(1, "acme", job.ulid, "t1", DeathCause.LEASE_LOST, NOW, started=False)
    assert await Reports(store, telemetry).send(dead) == [APPLIED]
    assert (telemetry.attempts, telemetry.leases_lost) == ({}, 0)


STALE, REPLAYED, APPLIED = Verdict.STALE, Verdict.REPLAYED, Verdict.APPLIED


@pytest.mark.parametrize(
    ("rounds", "verdicts"),
    [
        ([[passed], [killed], [passed]], [[STALE], [REPLAYED], [REPLAYED]]),
        ([[killed], [passed], [killed]], [[APPLIED], [REPLAYED], [REPLAYED]]),
        ([[passed, killed]], [[STALE, REPLAYED]]),
    ],
)
async def test_a_cancelled_attempt_counts_once_however_its_end_is_reported(
    store: Store, lines: list[Any], rounds: list[list[Callable[[JobSpec], Report]]], verdicts: list[list[Verdict]]
) -> None:
    telemetry = Telemetry()
    job = await cancelled_while_it_ran(store)
    reports = Reports(store, telemetry)
    assert [await reports.send(*(make(job) for make in together)) for together in rounds] == verdicts
    assert (telemetry.attempts, telemetry.finished, telemetry.leases_lost) == ({"cancelled": 1}, {}, 0)
    assert sum(telemetry.run_seconds.counts) == 0
    (line,) = of(lines, job)
    assert (line["event"], line["attempt"], line["attempt_outcome"]) == ("attempt_released", 1, "cancelled")
    assert (line["agent_id"], line["device_id"], line["outcome"]) == ("agent-1", scenes.DEVICE, "cancelled")


@pytest.mark.parametrize("retried", [False, True])
async def test_a_retry_that_waited_for_the_old_attempt_is_work_when_that_reports_a_result(
    store: Store, retried: bool
) -> None:
    job = await cancelled_while_it_ran(store)
    if retried:
        await store.jobs.retry("acme", [(job.ulid, 1, None)], NOW)
    reports = Reports(store, Telemetry())
    assert await reports.send(passed(job)) == [STALE]
    assert ("acme" in reports.woken) is retried

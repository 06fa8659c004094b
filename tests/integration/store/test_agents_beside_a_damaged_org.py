"""Agents go on with all other orgs while the data of one can't be used, also those that hold attempts of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis import Redis

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.unbooked import Unbooked
from qgjob_coordinator.model.enums import Outcome, Phase, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.health.record import Kind, Mark, Record
from qgjob_coordinator.service import beside, org_faults
from qgjob_coordinator.service.agents.health.books import Page
from qgjob_coordinator.service.agents.health.seen import ask
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import (
    PROTOCOL_VERSION,
    FinishedReport,
    HeartbeatAck,
    Held,
    Hello,
    ReportAck,
    Welcome,
)
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.health import Kept
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.damage import DAMAGED, OTHER, damaged, unusable
from tests.fakes.jobs import NOW, ending, spec
from tests.fakes.waiting import until

TIMES = Times(5_000, 600_000, 60_000, 10_000, 1_800_000, 300_000)
BOTH = (DAMAGED, OTHER)
JOB = f"j:{spec(1).ulid}"
TOKENS = {DAMAGED: "t1", OTHER: "t2"}


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def sessions(store: Store, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sessions]:
    monkeypatch.setattr(org_faults, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(org_faults, "LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(beside, "PAUSE_SECONDS", 0.01)
    it = Sessions(store, Hub(), telemetry, TIMES, "test", log_transitions=False, faults=OrgFaults(telemetry))
    yield it
    for live in it.here():
        await it.close(live, "the test ends")


def hello(epoch: int = 2, *held: Held) -> Hello:
    devices = tuple(DeviceInfo(f"d-{org_id}", f"u-{org_id}", Target.EMULATOR) for org_id in BOTH)
    return Hello(PROTOCOL_VERSION, "agent-1", "agent-1-life", epoch, "v", "host", devices, held, 100)


def shown(org_id: str, phase: Phase = Phase.RUNNING) -> Held:
    return Held(org_id, spec(1).ulid, TOKENS[org_id], 1, phase, f"d-{org_id}")


async def held_before(store: Store, *, started: bool = True) -> None:
    """An older session of the agent has an attempt of each org."""
    await scenes.open_session(store, orgs=BOTH)
    for org_id, token in TOKENS.items():
        await scenes.submit(store, spec(1, org_id))
        assert (await scenes.claim(store, spec(1, org_id), (spec(1).ulid, token), device_id=f"d-{org_id}")).grants
        if started:
            await store.leases.start(org_id, [(spec(1).ulid, token, 1)], 1)


async def status(store: Store, org_id: str) -> Status:
    return (await scenes.get(store, spec(1, org_id))).status


def welcome(live: LiveSession) -> Welcome:
    (found,) = (m for m in live.session.outbox if isinstance(m, Welcome))
    return found


def finished(org_id: str) -> FinishedReport:
    now = wall_ms()
    return FinishedReport(1, org_id, spec(1).ulid, "t1", Outcome.PASSED, now - 9, now, 9, None, None, None, False)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.SPOOLED])
async def test_what_began_stays_the_agents_and_its_result_is_written_when_the_org_is_mended(
    store: Store, raw: Redis, sessions: Sessions, telemetry: Telemetry, phase: Phase
) -> None:
    await held_before(store)
    with damaged(raw, JOB):
        live = await sessions.open(hello(2, shown(DAMAGED, phase)))
        assert (welcome(live).adopted, welcome(live).released) == (("t1",), ())
        await live.heartbeat(1, [shown(DAMAGED, phase)])
        (ack,) = (m for m in live.session.outbox if isinstance(m, HeartbeatAck))
        assert ack.released == ()
        await live.reports([finished(DAMAGED)])
        await until(lambda: telemetry.org_faults["reports"], "its report is not tried")
        assert not any(slot.leases for slot in live.session.slots.values()), "the device waits for the repair"
        unbooked = Unbooked(store, sessions, faults=OrgFaults())
        for _ in range(2):
            await unbooked.look()
        assert live.session.refused is None
    await until(lambda: any(isinstance(m, ReportAck) for m in live.session.outbox), "the result is not written")
    assert await status(store, DAMAGED) is Status.COMPLETED
    await until(lambda: not live.unadopted.answered() and not live.unadopted.orgs, "it is tried for ever")
    assert (live.session.refused, live.session.untold, live.session.leases) == (None, {}, {})


async def test_what_was_reported_while_it_was_adopted_later_stays_out_of_the_books(
    store: Store, raw: Redis, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await held_before(store)
    adopt, asked, reported = store.leases.adopt, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any) -> Any:
        answer = await adopt(*args)
        asked.set()
        await reported.wait()
        return answer

    with damaged(raw, JOB):
        live = await sessions.open(hello(2, shown(DAMAGED)))
        monkeypatch.setattr(store.leases, "adopt", slow)
    await asked.wait()
    await live.reports([finished(DAMAGED)])
    await until(lambda: any(isinstance(m, ReportAck) for m in live.session.outbox), "the result is not written")
    reported.set()
    await until(lambda: not live.unsettled, "it is never adopted")
    assert live.session.leases == {}


async def test_what_did_not_begin_is_taken_from_the_agent_and_released_when_it_surely_does_not_run(
    store: Store, raw: Redis, sessions: Sessions, telemetry: Telemetry
) -> None:
    """It may have begun between Hello and Welcome, and another agent may not begin it before its tree is dead."""
    await held_before(store, started=False)
    with damaged(raw, JOB):
        live = await sessions.open(hello(2, shown(DAMAGED, Phase.UNSTARTED)))
        assert (welcome(live).adopted, welcome(live).released) == ((), ("t1",))
        assert telemetry.org_faults["adoption"]
    await live.heartbeat(1, [shown(DAMAGED, Phase.RUNNING)])
    with pytest.raises(StoreUnavailableError):
        await sessions._adoption.adopt_later(live, DAMAGED)
    assert await status(store, DAMAGED) is Status.SCHEDULED
    await live.heartbeat(2, [])

    async def released() -> bool:
        return await status(store, DAMAGED) is Status.QUEUED

    await until(released, "it is never released")


async def test_an_agent_connects_while_an_org_is_damaged_of_which_it_shows_nothing(
    store: Store, raw: Redis, sessions: Sessions
) -> None:
    await held_before(store)
    with damaged(raw, "la:agent-1"):
        live = await sessions.open(hello(2))
        assert await status(store, OTHER) is Status.QUEUED
        assert await status(store, DAMAGED) is Status.RUNNING
    assert live.session.refused is None

    async def released() -> bool:
        return await status(store, DAMAGED) is Status.QUEUED

    await until(released, "what the older session had is not released")


async def test_an_attempt_whose_job_can_not_be_read_is_taken_over_without_its_group(
    store: Store, raw: Redis, sessions: Sessions, telemetry: Telemetry
) -> None:
    await held_before(store)
    raw.hset(f"qg:o:{{{DAMAGED}}}:{JOB}", "r", "no number")
    live = await sessions.open(hello(2, shown(DAMAGED)))
    assert welcome(live).adopted == ("t1",)
    assert telemetry.org_faults == {"taking_over": 1}
    assert live.session.leases["t1"].gid == ""
    raw.hdel(f"qg:o:{{{DAMAGED}}}:{JOB}", "r")
    await live.reports([finished(DAMAGED)])

    async def done() -> bool:
        return await status(store, DAMAGED) is Status.COMPLETED

    await until(done, "its result is not written")


async def test_a_heartbeat_is_answered_though_nobody_knows_what_a_damaged_org_revoked(
    store: Store, raw: Redis, sessions: Sessions, telemetry: Telemetry
) -> None:
    await held_before(store)
    live = await sessions.open(hello(2, *(shown(o) for o in BOTH)))
    for org_id in BOTH:
        await store.jobs.cancel(org_id, [(spec(1).ulid, 1)], wall_ms(), reason="x")
    held = [shown(o) for o in BOTH]
    with damaged(raw, "rv:agent-1"):
        await live.heartbeat(1, held)
        assert telemetry.org_faults == {"revoked": 1}
    await live.heartbeat(2, held)
    assert [m.revoked for m in live.session.outbox if isinstance(m, HeartbeatAck)] == [("t2",), ("t1", "t2")]


async def test_what_an_agent_gave_back_is_told_to_a_damaged_org_when_it_is_mended(
    store: Store, raw: Redis, sessions: Sessions, telemetry: Telemetry
) -> None:
    await held_before(store, started=False)
    live = await sessions.open(hello(2, shown(DAMAGED, Phase.UNSTARTED)))
    with damaged(raw, JOB):
        await live.recalls.answered(live.recalls.ask_nothing(), ["t1"])
        assert set(telemetry.org_faults) == {"recalls"}

    async def told() -> bool:
        return await status(store, DAMAGED) is Status.QUEUED

    await until(told, "the org is never told")


async def test_of_a_damaged_org_nothing_is_learned_that_speaks_for_a_device(
    store: Store, raw: Redis, telemetry: Telemetry
) -> None:
    """And the other failures of the device are judged."""
    jobs = [spec(1, DAMAGED), spec(2, OTHER)]
    for job in jobs:
        await scenes.open_session(store, job.org_id, orgs=(job.org_id,))
        await scenes.running(store, job, agent_id=job.org_id)
        await store.leases.finish(job.org_id, [ending(job.ulid, scenes.TOKEN)], NOW)
    page = Page(Kept(), Record(tuple(Mark(Kind.TEST, (job.org_id, "v1"), job.ulid, 1, sure=False) for job in jobs)))
    with damaged(raw, JOB):
        assert await ask(store, {"d9": page}, OrgFaults(telemetry))
    assert telemetry.org_faults == {"health": 1}
    assert [(mark.build[0], mark.sure) for mark in page.record.marks] == [(DAMAGED, False), (OTHER, True)]


@pytest.mark.parametrize("how", ["another type", "lacks a field"])
async def test_of_a_hundred_results_those_of_fifty_damaged_jobs_keep_back_no_other(
    store: Store, raw: Redis, sessions: Sessions, telemetry: Telemetry, how: str
) -> None:
    jobs = [spec(n, DAMAGED) for n in range(100)]
    await scenes.open_session(store, orgs=BOTH)
    await scenes.submit(store, *jobs)
    tokens = [(job.ulid, f"t{job.ulid}") for job in jobs]
    assert len((await scenes.claim(store, jobs[0], *tokens)).grants) == len(jobs)
    await store.leases.start(DAMAGED, [(*row, 1) for row in tokens], 1)
    held = [Held(DAMAGED, *row, 1, Phase.SPOOLED, f"d-{DAMAGED}") for row in tokens]
    live = await sessions.open(hello(2, *held))
    now = wall_ms()
    told = [
        FinishedReport(n, DAMAGED, *row, Outcome.PASSED, now - 9, now, 9, None, None, None, False)
        for n, row in enumerate(tokens)
    ]
    broken, whole = jobs[::2], jobs[1::2]
    with unusable(raw, how, {job.ulid for job in broken}):
        await live.reports(told)
        await until(lambda: telemetry.org_faults["reports"], "they are not tried")
        await until(lambda: raw.zcard(f"{keys.org(DAMAGED)}ix:c") == len(whole), "others wait for the damaged ones")
        assert {job.status for job in await store.reads.get(DAMAGED, [job.ulid for job in whole])} == {Status.COMPLETED}
    await until(lambda: raw.zcard(f"{keys.org(DAMAGED)}ix:c") == len(jobs), "they are never written")

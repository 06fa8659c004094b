"""An org whose data can't be used is set aside by each loop, and all others are served; mended, it is served again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from structlog.testing import capture_logs

from qgjob_coordinator.blobs.store import BlobStore
from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops import timers as timers_module
from qgjob_coordinator.loops import unbuilt as unbuilt_module
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.loops.ending_runs import EndingRuns
from qgjob_coordinator.loops.old_artifacts import OldArtifacts
from qgjob_coordinator.loops.old_contents import OldContents
from qgjob_coordinator.loops.overflow import Overflow
from qgjob_coordinator.loops.overtaken import Overtaken
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.retention import Retention
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.loops.start_check import StartCheck
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.loops.unbooked import Unbooked
from qgjob_coordinator.loops.unbuilt import UnbuiltJobs
from qgjob_coordinator.model.enums import Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import JobSpec
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.proposals import Plan
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.service import org_faults
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Hello
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.calls.jobs import JobService
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN
from qgjob_coordinator.service.views.forecast import NoForecast
from qgjob_coordinator.service.views.looking_ahead import LookAhead
from qgjob_coordinator.service.views.pending import Pending
from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.tasks import end_tasks
from qgjob_coordinator.telemetry import ORG_PARTS, Telemetry
from tests.fakes import builds, scenes
from tests.fakes.damage import BAD_SIGNATURES, DAMAGED, OTHER, damaged, queue_named, unusable
from tests.fakes.jobs import NOW, overflowing, spec
from tests.fakes.waiting import until

DEADLINE_SECONDS = 10.0
TIMES = Times(5_000, 600_000, 60_000, 10_000, 1_800_000, 300_000)
BOTH = (DAMAGED, OTHER)
GROUP = names.group_id("v1", Target.EMULATOR)


class Bench:
    """The loops of a coordinator, run look by look, with one account of what they find damaged."""

    def __init__(self, store: Store, raw: Redis, folder: Path) -> None:
        self.store = store
        self.raw = raw
        self.telemetry = Telemetry()
        self.faults = OrgFaults(self.telemetry)
        self.hub = Hub()
        self.fleet = FleetReader(store)
        self.blobs = BlobStore(str(folder / "blobs"))
        self.sessions = Sessions(
            store, self.hub, self.telemetry, TIMES, "test", log_transitions=False, faults=self.faults
        )
        self.scheduler = Scheduler(
            store,
            self.sessions,
            self.hub,
            self.fleet,
            self.telemetry,
            Limits(),
            None,
            faults=self.faults,
            log_transitions=False,
        )
        self.timers = Timers(store, self.hub, self.fleet, self.telemetry, Bonds(store), self.faults)
        self.reaper = Reaper(store, self.hub, self.telemetry, 15.0, 62.0, self.faults)
        pending = Pending(store, self.fleet, None, faults=OrgFaults())
        jobs = JobService(store, self.hub, self.telemetry, pending, lambda *_: True, log_transitions=False)
        self.ending_runs = EndingRuns(store, jobs, self.faults)
        self.forecast = LookAhead(store, self.sessions, self.fleet, Limits(), {}, None, faults=self.faults)
        self.start_check = StartCheck(store, NoForecast(), self.telemetry, self.faults)
        self.live: list[LiveSession] = []

    async def connect(self, devices: int = 2, agent_id: str = "agent-1") -> LiveSession:
        infos = tuple(DeviceInfo(f"d{n}-{agent_id}", f"u{n}-{agent_id}", Target.EMULATOR) for n in range(devices))
        live = await self.sessions.open(Hello(PROTOCOL_VERSION, agent_id, "h.1", 1, "v", "host", infos, (), 100))
        self.live.append(live)
        return live

    async def submit(self, number: int = 1, **changes: Any) -> None:
        for org_id in BOTH:
            await scenes.submit(self.store, spec(number, org_id, **changes))
            await self.store.mark_active(org_id)
            self.hub.work(org_id)

    async def status(self, org_id: str, number: int = 1) -> Status | None:
        (job,) = await self.store.reads.get(org_id, [spec(number).ulid])
        return None if job is None else job.status

    async def close(self) -> None:
        await self.scheduler._away.close()
        await self.scheduler._claims.close()
        await self.timers._away.close()
        await self.forecast.close()
        for live in self.live:
            await self.sessions.close(live, "the test ends")
        await self.blobs.close()


@pytest.fixture
async def bench(store: Store, raw: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(org_faults, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(org_faults, "LONGEST_PAUSE_SECONDS", 0.02)
    it = Bench(store, raw, tmp_path)
    yield it
    await it.close()


# Each case brings both orgs into a state in which the part has something to do for them, and gives the part's look and
# what to see of an org that was served.

Look = Callable[[], Awaitable[object]]
Served = Callable[[str], Awaitable[bool]]


async def _queued(b: Bench) -> tuple[Look, Served]:
    live = await b.connect()
    await b.submit()

    async def served(org_id: str) -> bool:
        return org_id in {lease.org_id for lease in live.session.leases.values()}

    return b.scheduler.round, served


async def _delayed(b: Bench) -> tuple[Look, Served]:
    await b.submit(not_before=NOW - 1)

    async def look() -> None:
        b.timers._swept = float("-inf")
        await b.timers.look()

    async def served(org_id: str) -> bool:
        return not b.raw.exists(f"{keys.org(org_id)}dl")

    return look, served


async def _untidy(b: Bench) -> tuple[Look, Served]:
    await b.submit()
    for org_id in BOTH:
        b.raw.hset(f"{keys.org(org_id)}g:{GROUP}", "q:platform=none", "1")

    async def look() -> None:
        b.timers._registry = float("-inf")
        await b.timers.look()

    async def served(org_id: str) -> bool:
        return not b.raw.hexists(f"{keys.org(org_id)}g:{GROUP}", "q:platform=none")

    return look, served


async def _lost(b: Bench) -> tuple[Look, Served]:
    await scenes.open_session(b.store, orgs=BOTH)
    for org_id in BOTH:
        await scenes.running(b.store, spec(1, org_id))
    ((agent_id, counter),) = [(row.agent_id, row.counter) for row in (await b.store.sessions.watch())[1]]
    assert await b.store.sessions.observe(agent_id, 1, counter, "closed")

    async def look() -> None:
        await b.reaper.look(time.monotonic())
        await b.reaper.settled()

    async def served(org_id: str) -> bool:
        return await b.status(org_id) is Status.QUEUED

    return look, served


async def _of_unknown_sessions(b: Bench) -> tuple[Look, Served]:
    await scenes.open_session(b.store, orgs=BOTH)
    for org_id in BOTH:
        await scenes.running(b.store, spec(1, org_id))
    overtaken = Overtaken(b.store)

    async def served(org_id: str) -> bool:
        return org_id not in overtaken._cursors

    return lambda: overtaken.look(EachOrg(b.faults)), served


async def _unbooked(b: Bench) -> tuple[Look, Served]:
    live = await b.connect()
    unbooked = Unbooked(b.store, b.sessions, b.faults)
    for org_id in BOTH:
        await b.store.sessions.admit("agent-1", 1, [org_id])
        live.session._admitted.add(org_id)
        await scenes.submit(b.store, spec(1, org_id))
        assert (await scenes.claim(b.store, spec(1, org_id), device_id="d1")).grants

    async def served(org_id: str) -> bool:
        return (org_id, spec(1).ulid) in unbooked._suspects.get(live, ())

    async def look() -> None:
        unbooked._suspects = {}  # two looks would end the session
        await unbooked.look()

    return look, served


async def _superseded(b: Bench) -> tuple[Look, Served]:
    for org_id in BOTH:
        for n, run_id in ((1, "r1"), (2, "r2")):
            await scenes.submit(b.store, spec(n, org_id, run_id=run_id, supersede="main"))
    task = asyncio.create_task(b.ending_runs.run())

    async def look() -> None:
        for org_id in BOTH:
            b.ending_runs.due(org_id)
        await until(lambda: not b.ending_runs._busy and not b.ending_runs._waiting, "it is at it for ever")
        if b.faults.damaged():
            assert not task.done(), task
        else:
            await end_tasks([task])

    async def served(org_id: str) -> bool:
        return await b.status(org_id) is Status.CANCELLED

    return look, served


async def _old_jobs(b: Bench) -> tuple[Look, Served]:
    await b.submit()
    for org_id in BOTH:
        await b.store.jobs.cancel(org_id, [(spec(1).ulid, 1)], NOW, reason="x")
    retention = Retention(b.store, 0, b.faults)

    async def served(org_id: str) -> bool:
        return not b.raw.exists(f"{keys.org(org_id)}d:{spec(1).ulid}")

    return lambda: retention.look(NOW + 1), served


async def _old_contents(b: Bench) -> tuple[Look, Served]:
    await b.submit()
    for org_id in BOTH:
        await b.store.mark_active(org_id)
    old = OldContents(b.store, b.blobs, 1000, b.faults)
    asked: list[str] = []
    contents = b.store.builds.contents

    async def noted(org_id: str) -> Any:
        asked.append(org_id)
        return await contents(org_id)

    b.store.builds.contents = noted  # type: ignore[method-assign]

    async def served(org_id: str) -> bool:
        return org_id in asked

    return lambda: old.look(wall_ms()), served


async def _old_artifacts(b: Bench) -> tuple[Look, Served]:
    await b.submit()
    old = OldArtifacts(b.store, b.blobs, 1000, b.faults)
    asked: list[str] = []
    leaving = b.store.artifacts.leaving

    async def noted(org_id: str) -> Any:
        asked.append(org_id)
        return await leaving(org_id)

    b.store.artifacts.leaving = noted  # type: ignore[method-assign]

    async def served(org_id: str) -> bool:
        return org_id in asked

    return lambda: old.look(wall_ms()), served


async def _waiting_long(b: Bench) -> tuple[Look, Served]:
    await b.submit()
    asked: list[str] = []

    async def starts(org_id: str, jobs: Any, _places: Any, *, fresh: bool = False) -> Any:
        assert fresh
        asked.append(org_id)
        return [None for _ in jobs]

    b.start_check._forecast.starts = starts  # type: ignore[method-assign, assignment]

    async def look() -> None:
        for org_id in BOTH:
            b.start_check.accepted([spec(1, org_id)])
        await b.start_check.round()

    async def served(org_id: str) -> bool:
        return org_id in asked

    return look, served


async def _estimated(b: Bench) -> tuple[Look, Served]:
    await b.connect()
    await b.submit()

    async def served(org_id: str) -> bool:
        return bool(await b.forecast.group_ends(org_id))

    async def look() -> None:
        b.forecast._last = None
        await b.forecast.group_ends(OTHER)

    return look, served


async def _overflowing(b: Bench) -> tuple[Look, Served]:
    for org_id in BOTH:
        await scenes.submit(b.store, overflowing(1, org_id=org_id), now=wall_ms())
        await b.store.mark_active(org_id)
    overflow = Overflow(b.store, b.hub, b.forecast, b.telemetry, b.faults, log_transitions=False)

    async def look() -> None:
        for org_id in BOTH:
            overflow.due(org_id)
        await overflow.round()

    async def served(org_id: str) -> bool:
        judged_again_at = b.raw.zscore(f"{keys.org(org_id)}ov", spec(1).ulid)
        return judged_again_at is not None and float(judged_again_at) > wall_ms()

    return look, served


async def _without_build(b: Bench) -> tuple[Look, Served]:
    await scenes.open_session(b.store, orgs=BOTH)
    emulator = DeviceInfo("d1", "u1", Target.EMULATOR, platform="android", pushed_builds_only=True)
    assert await b.store.fleet.inventory("agent-1", 1, [emulator], [], NOW, complete=True)
    for org_id in BOTH:
        await builds.kept(b.store, builds.build(facts=builds.SIMULATOR, org_id=org_id), wall_ms())
    await b.submit()
    unbuilt = UnbuiltJobs(b.store, b.hub, b.fleet, b.telemetry, b.faults)

    async def look() -> None:
        for org_id in BOTH:
            unbuilt.due(org_id)
        await unbuilt.round()

    async def served(org_id: str) -> bool:
        return org_id in {queue.org_id for queue in unbuilt._steady.found}

    return look, served


CASES = {
    "scheduler": (_queued, "gs"),
    "claims": (_queued, "fl"),
    "timers": (_delayed, "dl"),
    "tidy": (_untidy, "gs"),
    "reaper": (_lost, "la:agent-1"),
    "overtaken": (_of_unknown_sessions, "fl"),
    "unbooked": (_unbooked, "la:agent-1"),
    "ending_runs": (_superseded, "rc"),
    "retention": (_old_jobs, "ix:x"),
    "old_contents": (_old_contents, "bd"),
    "old_artifacts": (_old_artifacts, "ak"),
    "overflow": (_overflowing, "ov"),
    "unbuilt": (_without_build, "gs"),
    "start_check": (_waiting_long, f"j:{spec(1).ulid}"),
    "estimates": (_estimated, "gs"),
}


@pytest.mark.parametrize("part", CASES)
async def test_a_part_serves_the_others_and_the_damaged_org_when_it_is_mended(part: str, bench: Bench) -> None:
    prepare, suffix = CASES[part]
    look, served = await prepare(bench)
    with damaged(bench.raw, suffix), capture_logs() as lines:
        await look()
        assert await served(OTHER)
        assert set(bench.telemetry.org_faults) == {part}
        await look()
    (told,) = (line for line in lines if line["event"] == "org_damaged")
    assert (told["org_id"], told["part"], told["log_level"]) == (DAMAGED, part, "error")
    assert "WRONGTYPE" in told["error"]
    assert told["exc_info"] is not None
    assert not [line for line in lines if line["event"] in ("org_away", "org_back")]

    async def again() -> bool:
        await look()
        return await served(DAMAGED)

    await until(again, "it is never served again")
    await until(lambda: bench.faults.damaged() == [], "it counts as damaged for ever")


@pytest.mark.parametrize("signature", BAD_SIGNATURES[:3])
@pytest.mark.parametrize("part", sorted(CASES.keys() - {"ending_runs"}))  # whose look here is its last without damage
async def test_a_queue_whose_name_is_no_requirements_keeps_no_part_from_the_others(
    part: str, signature: str, bench: Bench
) -> None:
    """It is JSON, so that it may be met only where something is made of the queues of all orgs."""
    prepare, _ = CASES[part]
    look, served = await prepare(bench)
    with queue_named(bench.raw, GROUP, signature, spec(9).ulid):
        await look()
        assert await served(OTHER)
        await look()

    async def again() -> bool:
        await look()
        return await served(DAMAGED)

    await until(again, "it is never served again")
    await until(lambda: bench.faults.damaged() == [], "it counts as damaged for ever")


async def test_queues_that_can_not_be_compared_with_the_fleet_are_their_orgs_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it could be read does not say that it is mended: it is told once, and rests longer each time."""
    look, served = await _without_build(bench)
    lacking = unbuilt_module._lacking

    def broken(known: Any, groups: Any) -> Any:
        seen = list(groups)
        if DAMAGED in {group.org_id for group in seen}:
            raise KeyError("a queue")
        return lacking(known, seen)

    monkeypatch.setattr(org_faults, "LONGEST_PAUSE_SECONDS", 0.04)
    with monkeypatch.context() as patched, capture_logs() as lines:
        patched.setattr(unbuilt_module, "_lacking", broken)

        async def met(times: int) -> bool:
            await look()
            assert await served(OTHER)
            return bench.telemetry.org_faults["unbuilt"] >= times

        await until(lambda: met(3), "it is not tried again")
        assert bench.faults._faults["unbuilt", DAMAGED].pause == 0.04
    assert [line["event"] for line in lines if line["event"].startswith("org")] == ["org_damaged"]

    async def again() -> bool:
        await look()
        return await served(DAMAGED)

    await until(again, "it is never served again")
    assert bench.faults.damaged() == []


def test_every_part_that_serves_org_by_org_has_its_case() -> None:
    elsewhere = {
        "due_jobs",
        "plans",
        "undoing",
        "reports",
        "logs",
        "revoked",
        "adoption",
        "taking_over",
        "recalls",
        "health",
    }
    elsewhere |= {"diagnosis", "reasons", "statistics", "metrics", "artifacts"}
    assert set(CASES) | elsewhere == set(ORG_PARTS)


async def test_a_retry_that_can_not_be_used_keeps_back_no_other_one(bench: Bench) -> None:
    now = wall_ms()
    jobs = [spec(number, DAMAGED, not_before=now - 1) for number in (1, 2, 3)]
    await scenes.submit(bench.store, *jobs, now=now - 2)
    await bench.store.mark_active(DAMAGED)
    delayed = f"{keys.org(DAMAGED)}dl"
    with unusable(bench.raw, "lacks a field", {spec(2).ulid}):
        bench.timers._swept = float("-inf")
        await bench.timers.look()
        assert bench.raw.zrange(delayed, 0, -1) == [spec(2).ulid]
        assert set(bench.telemetry.org_faults) == {"due_jobs"}, "nobody is told of it"

    async def served() -> bool:
        bench.timers._swept = float("-inf")
        await bench.timers.look()
        return not bench.raw.exists(delayed)

    await until(served, "it is never promoted")


async def test_those_that_wait_for_their_time_are_told_that_a_due_one_can_not_be_used(bench: Bench) -> None:
    """It delays them, and not what stands on a queue."""
    now = wall_ms()
    bad, over, ready = spec(1, DAMAGED, not_before=now - 1), spec(2, DAMAGED, not_before=now - 1), spec(3, DAMAGED)
    later = spec(4, DAMAGED, not_before=now + 3_600_000)
    pending = Pending(bench.store, bench.fleet, None, faults=bench.faults)

    async def told(job: JobSpec) -> str:
        return (await pending.explanation(LOCAL_ADMIN, await scenes.get(bench.store, job))).summary

    await scenes.submit(bench.store, bad, ready, later, now=now - 2)
    await bench.store.mark_active(DAMAGED)
    devices = await told(later)
    with unusable(bench.raw, "lacks a field", {bad.ulid}):
        bench.timers._swept = float("-inf")
        await bench.timers.look()
        await scenes.submit(bench.store, over, now=now - 2)
        for job in (over, later):
            said = await told(job)
            assert "a record lacks what each job has" in said
            assert said.endswith(f"jobs that wait for their time may be queued late; {devices}")
        assert await told(ready) == devices

    async def mended() -> bool:
        bench.timers._swept = float("-inf")
        await bench.timers.look()
        return await told(later) == devices

    await until(mended, "it is told for ever")


async def _timed_out(b: Bench, *numbers: int) -> bool:
    b.timers._swept = float("-inf")
    await b.timers.look()
    return {await b.status(DAMAGED, number) for number in numbers} == {Status.FAILED}


async def test_a_retry_that_can_not_be_used_keeps_back_no_deadline(bench: Bench) -> None:
    now = wall_ms()
    await scenes.submit(bench.store, spec(1, DAMAGED, not_before=now - 1), now=now - 2)
    await scenes.submit(bench.store, spec(2, DAMAGED, queue_timeout_ms=1000), now=now - 60_000)
    await bench.store.mark_active(DAMAGED)
    with unusable(bench.raw, "lacks a field", {spec(1).ulid}):
        assert await _timed_out(bench, 2)
        assert set(bench.telemetry.org_faults) == {"due_jobs"}, "nobody is told of it"

    async def promoted() -> bool:
        return await _timed_out(bench, 2) and not bench.raw.exists(f"{keys.org(DAMAGED)}dl")

    await until(promoted, "it is never promoted")


@pytest.mark.parametrize("how", ["lacks a field", "another type"])
async def test_a_job_that_can_not_be_used_keeps_back_no_other_deadline(
    how: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those too that are behind its batch."""
    monkeypatch.setattr(timers_module, "MOST", 2)
    numbers = range(1, 6)
    jobs = [spec(number, DAMAGED, queue_timeout_ms=1000 * number) for number in numbers]
    await scenes.submit(bench.store, *jobs, now=wall_ms() - 60_000)
    await bench.store.mark_active(DAMAGED)
    with unusable(bench.raw, how, {spec(1).ulid}):
        assert await _timed_out(bench, *numbers[1:])
        assert set(bench.telemetry.org_faults) == {"due_jobs"}, "nobody is told of it"
    await until(lambda: _timed_out(bench, *numbers), "it never expires")


@pytest.mark.parametrize("how", ["lacks a field", "another type"])
async def test_a_job_that_can_not_be_used_keeps_back_no_other_one_without_a_build(
    how: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unbuilt_module, "FLEET_SECONDS", 0)
    monkeypatch.setattr(unbuilt_module, "SETTLED_MS", -NOW)  # what is submitted at NOW, which is to come, is settled
    look, _ = await _without_build(bench)
    for number in (11, 12, 13):
        await bench.submit(number)

    async def ended(*numbers: int) -> bool:
        await look()
        return {await bench.status(DAMAGED, number) for number in numbers} == {Status.FAILED}

    with unusable(bench.raw, how, {spec(12).ulid}):
        await until(lambda: ended(11, 13), "they wait for it")
        assert await bench.status(OTHER, 12) is Status.FAILED
        assert set(bench.telemetry.org_faults) == {"unbuilt"}, "nobody is told of it"
    await until(lambda: ended(11, 12, 13), "it never ends")


async def test_an_org_that_no_plan_can_be_made_with_is_found_by_planning_for_each_alone(bench: Bench) -> None:
    """What stands in a queue is read only where a plan looks at it, and a plan is made of all orgs."""
    live = await bench.connect(1)
    for number in (1, 2):
        await bench.submit(number)
    (queue,) = bench.raw.keys(f"{keys.org(DAMAGED)}q:*")
    _, (member, score) = bench.raw.zrange(queue, 0, -1, withscores=True)
    bench.raw.zadd(queue, {member: "inf"})
    await bench.scheduler.round()
    assert set(bench.telemetry.org_faults) == {"plans"}
    await bench.scheduler.round()
    held = list(live.session.leases.values())
    assert {lease.org_id for lease in held} == {OTHER}
    for lease in held:
        live.session.drop(lease.token, wall_ms())
    bench.raw.zadd(queue, {member: score})

    async def planned() -> bool:
        await bench.scheduler.round()
        return DAMAGED in {lease.org_id for lease in live.session.leases.values()}

    await until(planned, "it is never planned for")


async def test_what_was_claimed_and_can_not_be_read_is_given_back_at_once_and_ends_no_session(bench: Bench) -> None:
    live = await bench.connect()
    await bench.submit()
    text = f"{keys.org(DAMAGED)}d:{spec(1).ulid}"
    kept = bench.raw.getset(text, "no JSON")
    await bench.scheduler.round()
    assert set(bench.telemetry.org_faults) == {"claims"}
    assert not bench.raw.exists(f"{keys.org(DAMAGED)}la:agent-1")
    bench.raw.set(text, kept)
    assert await bench.status(DAMAGED) is Status.QUEUED
    for lease in list(live.session.leases.values()):
        live.session.drop(lease.token, wall_ms())
    await until(lambda: _round_gives(bench, live), "it is never claimed again")
    assert live.session.refused is None


async def test_a_claim_that_failed_in_its_middle_is_given_back_when_the_org_is_mended(bench: Bench) -> None:
    """Its script had written that the job is given out, and not yet which agent has it: nobody would look for it."""
    live = await bench.connect()
    await bench.submit()
    with damaged(bench.raw, "la:agent-1"):
        await bench.scheduler.round()
        assert set(bench.telemetry.org_faults) >= {"claims", "undoing"}
    await until(lambda: _round_gives(bench, live), "it is never claimed again")
    assert bench.raw.smembers(f"{keys.org(DAMAGED)}la:agent-1")


async def test_an_org_that_no_plan_can_be_made_with_rests_longer_each_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try costs a plan for each org alone. That a part of the plan could be made does not say it is mended."""
    await bench.connect(1)
    await scenes.submit(bench.store, spec(1, DAMAGED))

    def broken(snapshot: Any) -> Plan:
        if snapshot.groups:
            raise KeyError("a record")
        return plan(snapshot)

    monkeypatch.setattr("qgjob_coordinator.loops.scheduler.plan", broken)
    monkeypatch.setattr(org_faults, "LONGEST_PAUSE_SECONDS", 0.08)
    pauses: list[float] = []
    with capture_logs() as lines:
        while len(pauses) < 4:
            before = bench.telemetry.org_faults["plans"]
            bench.hub.work(DAMAGED)
            await bench.scheduler.round()
            if bench.telemetry.org_faults["plans"] > before:
                pauses.append(bench.faults._faults["plans", DAMAGED].pause)
            await asyncio.sleep(0)
    assert pauses == [0.01, 0.02, 0.04, 0.08]
    assert [line["event"] for line in lines if line["event"].startswith("org")] == ["org_damaged"]


async def test_what_is_remembered_of_an_org_that_no_plan_can_be_made_with_keeps_no_other_from_its_plan(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = await bench.connect(1)
    await bench.submit()

    def broken(snapshot: Any) -> Plan:
        if DAMAGED in {group.org_id for group in snapshot.groups}:
            raise KeyError("a group")
        return plan(snapshot)

    monkeypatch.setattr("qgjob_coordinator.loops.scheduler.plan", broken)
    for _ in range(3):
        await bench.scheduler.round()
    assert {lease.org_id for lease in live.session.leases.values()} == {OTHER}
    assert [found.org_id for found in bench.faults.damaged()] == [DAMAGED]


async def test_claims_that_are_in_doubt_beside_a_damaged_one_end_their_sessions(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All were asked for at once, and that may have granted some of them; then the store went away."""
    lives = [await bench.connect(1, f"agent-{n}") for n in (1, 2)]
    await scenes.submit(bench.store, *(spec(n, DAMAGED, app_version_id=f"v{n}") for n in (1, 2)))

    async def broken_then_away(_org: str, claims: Any, *_: Any) -> Any:
        if len(claims) > 1:
            raise KeyError("a record")
        raise StoreUnavailableError("away")

    monkeypatch.setattr(bench.store.leases, "claim", broken_then_away)
    with pytest.raises(StoreUnavailableError):
        await bench.scheduler.round()
    assert [live.session.refused is not None for live in lives] == [True, True]


async def test_nothing_more_is_claimed_while_something_is_to_be_given_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.connect()
    await bench.submit()
    asked: list[str] = []
    claim = bench.store.leases.claim

    async def noted(org_id: str, *args: Any) -> Any:
        asked.append(org_id)
        return await claim(org_id, *args)

    async def fails(*_: object) -> None:
        raise KeyError("a record")

    monkeypatch.setattr(bench.store.leases, "claim", noted)
    monkeypatch.setattr(bench.store.leases, "release", fails)
    with damaged(bench.raw, "fl"):
        await bench.scheduler.round()
        before = asked.count(DAMAGED)
        assert before
        await until(lambda: not bench.scheduler._away.orgs or bench.scheduler._away.answered(), "it is not tried again")
        bench.hub.work(DAMAGED)
        await bench.scheduler.round()
        assert asked.count(DAMAGED) == before


async def _round_gives(bench: Bench, live: LiveSession) -> bool:
    """Whether some round gave a job of the org to the agent."""
    await bench.scheduler.round()
    return DAMAGED in {lease.org_id for lease in live.session.leases.values()}


async def test_a_fault_that_comes_of_no_org_ends_the_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.connect()
    await bench.submit()

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(bench.store, "active_orgs", broken)
    with pytest.raises(KeyError):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await bench.scheduler.run()
    monkeypatch.setattr(timers_module, "SWEEP_SECONDS", 0.0)
    with pytest.raises(KeyError):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await bench.timers.run()
    assert bench.telemetry.org_faults == {}


async def test_a_plan_that_fails_for_no_org_alone_ends_the_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.connect()
    await bench.submit()

    def broken(snapshot: Any) -> None:
        if len({group.org_id for group in snapshot.groups}) > 1:
            raise KeyError("a bug")

    monkeypatch.setattr("qgjob_coordinator.loops.scheduler.plan", broken)
    with pytest.raises(KeyError):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await bench.scheduler.run()
    assert bench.telemetry.org_faults == {}

"""Keys that runs take from each other: who has one, whose jobs are to be cancelled, and what comes late."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops import ending_runs
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.ending_runs import CLAIM_SECONDS, ORGS_AT_ONCE, EndingRuns
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.model.enums import ErrorClass, Status
from qgjob_coordinator.model.jobs import JobError, JobSpec
from qgjob_coordinator.service.calls.jobs import JobService
from qgjob_coordinator.service.calls.selections import Changed
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views.pending import Pending
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.runs import RunToCancel
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.submissions import Manner, SubmitWord
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec
from tests.fakes.store_audit import audit, leftovers
from tests.fakes.waiting import until

BEGUN_AGAIN = "superseded by run r2 before; a run that is begun again needs a run id of its own"


def of(run_id: str, *numbers: int, key: str | None = "main", **changes: object) -> list[JobSpec]:
    return [spec(n, run_id=run_id, supersede=key, **changes) for n in numbers]


def equals_of(run_id: str, number: int, original: int) -> list[JobSpec]:
    return of(run_id, number, test_path=spec(original).test_path)


async def submit(store: Store, jobs: list[JobSpec], *, more_follows: bool = False, own: bool = True) -> None:
    await store.jobs.submit("acme", jobs, [own] * len(jobs), NOW, Manner(more_follows))


async def marked(store: Store) -> dict[str, str]:
    return {run.run_id: run.reason for run in await store.runs.to_cancel("acme")}


@pytest.fixture
def ending(store: Store) -> EndingRuns:
    pending = Pending(store, FleetReader(store), None, faults=OrgFaults())
    jobs = JobService(store, Hub(), Telemetry(), pending, lambda *_: True, log_transitions=False)
    return EndingRuns(store, jobs, faults=OrgFaults())


async def statuses(store: Store, *jobs: JobSpec) -> list[Status]:
    return [(await scenes.get(store, job)).status for job in jobs]


async def test_a_newer_run_marks_the_older_one_and_its_jobs_are_cancelled(
    store: Store, raw: Redis, ending: EndingRuns
) -> None:
    old, new = of("r1", 1, 2), of("r2", 3)
    await submit(store, old)
    assert await marked(store) == {}
    await submit(store, new)
    assert await marked(store) == {"r1": "superseded by run r2"}
    await ending.finish("acme")
    assert await marked(store) == {}
    assert await statuses(store, *old, *new) == [Status.CANCELLED, Status.CANCELLED, Status.QUEUED]
    assert (await scenes.get(store, old[0])).error == JobError(ErrorClass.CANCELLED, "superseded by run r2")
    assert audit(raw) == []


async def test_another_key_and_a_run_without_one_are_left_alone(store: Store) -> None:
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2, key="other"))
    await submit(store, of("r3", 3, key=None))
    assert await marked(store) == {}


async def test_an_equal_job_is_taken_over_with_its_attempt(store: Store, ending: EndingRuns) -> None:
    await scenes.open_session(store)
    (shared,) = of("r1", 1)
    await scenes.running(store, shared)
    (alone,) = of("r1", 2)
    await submit(store, [alone])
    known = await store.jobs.submit("acme", equals_of("r2", 3, original=1), [True], NOW)
    assert known[0].word is SubmitWord.DEDUP
    await ending.finish("acme")
    assert await statuses(store, shared, alone) == [Status.RUNNING, Status.CANCELLED]
    assert (await scenes.get(store, shared)).run_ids == ["r2"]


async def test_a_job_that_was_submitted_without_a_run_too_goes_on(store: Store, ending: EndingRuns) -> None:
    (job,) = of("r1", 1)
    await submit(store, [job])
    await submit(store, [spec(2, test_path=job.test_path)])
    await submit(store, of("r2", 3))
    await ending.finish("acme")
    assert await statuses(store, job) == [Status.QUEUED]


async def test_a_replay_of_the_older_run_takes_nothing_from_the_newer_one(
    store: Store, raw: Redis, ending: EndingRuns
) -> None:
    """With ids of its own and without, also when nothing is known any more of who took the key."""
    for own in (True, False):
        raw.flushall()
        old, new = of("r1", 1, 2), of("r2", 3)
        await submit(store, old, own=own)
        await submit(store, new)
        await ending.finish("acme")
        await submit(store, old, own=own)
        assert await marked(store) == {}
        raw.delete(f"{keys.org('acme')}sd:r1")
        await submit(store, old, own=own)
        assert await marked(store) == {}
        assert await statuses(store, *new) == [Status.QUEUED]


async def test_what_the_older_run_brings_late_is_cancelled_and_the_newer_run_is_not(
    store: Store, ending: EndingRuns
) -> None:
    await submit(store, of("r1", 1))
    await submit(store, new := of("r2", 2))
    await ending.finish("acme")
    late = [*of("r1", 3), *equals_of("r1", 4, original=2)]
    await submit(store, late)
    assert await marked(store) == {"r1": BEGUN_AGAIN}
    await ending.finish("acme")
    assert await statuses(store, late[0], *new) == [Status.CANCELLED, Status.QUEUED]
    assert (await scenes.get(store, new[0])).run_ids == ["r2"]
    await submit(store, of("r3", 5))
    assert await marked(store) == {"r2": "superseded by run r3"}


async def test_the_older_run_goes_on_until_the_newer_one_is_complete(store: Store, ending: EndingRuns) -> None:
    """Jobs of a later call may be equal to some of the older run's."""
    old = of("r1", 1, 2)
    await submit(store, old)
    await submit(store, of("r2", 3), more_follows=True)
    assert await marked(store) == {}
    await submit(store, of("r1", 4))  # the older one is not complete itself
    assert await marked(store) == {}
    await submit(store, equals_of("r2", 5, original=1))
    assert await marked(store) == {"r1": "superseded by run r2"}
    await ending.finish("acme")
    assert await statuses(store, *old) == [Status.QUEUED, Status.CANCELLED]
    assert await statuses(store, spec(4)) == [Status.CANCELLED]


async def test_a_run_that_was_never_completed_is_superseded_with_those_before_it(store: Store) -> None:
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2), more_follows=True)
    await submit(store, of("r3", 3))
    assert await marked(store) == {"r1": "superseded by run r3", "r2": "superseded by run r3"}


async def test_calls_of_one_run_mark_nothing_of_it(store: Store) -> None:
    await submit(store, of("r1", 1), more_follows=True)
    await submit(store, of("r1", 2), more_follows=True)
    await submit(store, of("r1", 3))
    await submit(store, of("r1", 4))
    assert await marked(store) == {}


async def test_of_runs_that_come_in_one_call_the_last_one_keeps_the_key(store: Store) -> None:
    """As lone submissions do that are written together."""
    await submit(store, [*of("r1", 1), *of("r2", 2), *of("r1", 3)])
    assert await marked(store) == {"r1": "superseded by run r2"}


async def test_a_newer_mark_outlives_the_cancel_for_the_older_one(store: Store, ending: EndingRuns) -> None:
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2))
    (found,) = await store.runs.to_cancel("acme")
    await submit(store, late := of("r1", 3))  # behind the look of whoever cancels for the mark that it found
    await store.runs.cancelled("acme", [found])
    assert await marked(store) == {"r1": BEGUN_AGAIN}
    await ending.finish("acme")
    assert await statuses(store, *late) == [Status.CANCELLED]
    await store.runs.cancelled("acme", [RunToCancel("r1", "gone")])
    assert await marked(store) == {}


async def test_a_retry_by_hand_of_a_superseded_run_is_left_alone(store: Store, ending: EndingRuns) -> None:
    (job,) = of("r1", 1)
    await submit(store, [job])
    await submit(store, of("r2", 2))
    await ending.finish("acme")
    await store.jobs.retry("acme", [(job.ulid, 1, None)], NOW)
    await submit(store, [job])
    await ending.finish("acme")
    assert await statuses(store, job) == [Status.QUEUED]


async def test_a_refused_call_takes_no_key(store: Store) -> None:
    await submit(store, of("r1", 1))
    await submit(store, of("r0", 5, key=None))
    other = spec(5, run_id="r2", supersede="main", test_path="tests/other.spec.ts")
    with pytest.raises(Exception, match="1"):
        await submit(store, [*of("r2", 6), other])
    assert await marked(store) == {}


async def test_a_mark_without_its_coordinator_is_found_by_the_timers(
    store: Store, ending: EndingRuns, raw: Redis
) -> None:
    """Also where the org has nothing unfinished, so that it is looked at now and then only."""
    hub = Hub()
    hub.runs_to_cancel = (found := []).append
    timers = Timers(store, hub, FleetReader(store), Telemetry(), Bonds(store), faults=OrgFaults())
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2))
    await timers.look()
    assert found == ["acme"]
    raw.srem(f"{keys.FLEET}act", "acme")
    await store.jobs.cancel("acme", [(spec(n).ulid, 1) for n in (1, 2)], NOW, reason="x")
    timers._registry = timers._swept = float("-inf")
    await timers.look()
    assert found == ["acme", "acme"]
    await ending.finish("acme")
    timers._registry = timers._swept = float("-inf")
    await timers.look()
    assert found == ["acme", "acme"]


class Walks:
    """The cancels of runs, which wait at a gate."""

    def __init__(self, ending: EndingRuns, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: list[str] = []
        self.open, self.begun = asyncio.Event(), asyncio.Event()
        real = ending._jobs.cancel_run

        async def cancel_run(org_id: str, run_id: str, reason: str) -> Changed:
            self.of.append(f"{org_id} {run_id}")
            self.begun.set()
            if org_id == "acme":
                await self.open.wait()
            return await real(org_id, run_id, reason)

        monkeypatch.setattr(ending._jobs, "cancel_run", cancel_run)


async def test_of_several_coordinators_one_cancels_a_marked_run(
    store: Store, raw: Redis, ending: EndingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = EndingRuns(store, ending._jobs, faults=OrgFaults())
    walks = Walks(ending, monkeypatch)
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2))
    first = asyncio.create_task(ending.finish("acme"))
    await walks.begun.wait()
    await other.finish("acme")
    assert walks.of == ["acme r1"]
    walks.open.set()
    await first
    assert (await marked(store), raw.exists(f"{keys.org('acme')}er")) == ({}, 0)


async def test_a_claim_lasts_as_long_as_the_walk(
    store: Store, raw: Redis, ending: EndingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending_runs, "CLAIM_SECONDS", 0.9)
    walks = Walks(ending, monkeypatch)
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2))
    walking = asyncio.create_task(ending.finish("acme"))
    await walks.begun.wait()
    er = f"{keys.org('acme')}er"
    raw.pexpire(er, 60_000)
    await until(lambda: raw.pttl(er) < 1_000, "the claim is not renewed")
    raw.set(er, "another", px=60_000)
    await store.runs.renew_ending("acme", "one", CLAIM_SECONDS)
    assert raw.pttl(er) > 1_000, "it is another's"
    walks.open.set()
    await walking
    assert raw.get(er) == "another"


async def test_a_coordinator_that_dies_over_a_marked_run_leaves_it_to_another_one(
    store: Store, raw: Redis, ending: EndingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = Walks(ending, monkeypatch)
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2))
    dying = asyncio.create_task(ending.finish("acme"))
    await walks.begun.wait()
    dying.cancel()
    assert 0 < raw.pttl(f"{keys.org('acme')}er") <= CLAIM_SECONDS * 1000
    raw.delete(f"{keys.org('acme')}er")  # the time is over
    walks.open.set()
    await EndingRuns(store, ending._jobs, faults=OrgFaults()).finish("acme")
    assert await marked(store) == {}


async def test_a_coordinator_whose_connection_broke_over_a_marked_run_goes_on_when_it_has_one_again(
    store: Store, raw: Redis, ending: EndingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for the end of its own claim: with it all others did, for the claim's whole time."""
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2))
    real = ending._jobs.cancel_run

    async def broken(org_id: str, run_id: str, reason: str) -> Changed:
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(ending._jobs, "cancel_run", broken)
    with pytest.raises(StoreUnavailableError):
        await ending.finish("acme")
    assert raw.pttl(f"{keys.org('acme')}er") > 0, "the claim is there, as after a death"
    monkeypatch.setattr(ending._jobs, "cancel_run", real)
    await ending.finish("acme")
    assert (await marked(store), raw.exists(f"{keys.org('acme')}er")) == ({}, 0)


async def test_a_reply_that_was_lost_is_answered_the_same(store: Store) -> None:
    for _ in range(2):
        assert await store.runs.take_ending("acme", "one", CLAIM_SECONDS)
        assert not await store.runs.take_ending("acme", "two", CLAIM_SECONDS)
    await store.runs.drop_ending("acme", "two")
    assert not await store.runs.take_ending("acme", "two", CLAIM_SECONDS)
    for _ in range(2):
        await store.runs.drop_ending("acme", "one")
    assert await store.runs.take_ending("acme", "two", CLAIM_SECONDS)


async def test_a_claim_that_ran_out_is_taken_anew_and_not_renewed(store: Store, raw: Redis) -> None:
    """A renewal that comes late, behind the end of the walk, would keep others away."""
    er = f"{keys.org('acme')}er"
    assert await store.runs.take_ending("acme", "one", CLAIM_SECONDS)
    raw.delete(er)  # the time is over
    await store.runs.renew_ending("acme", "one", CLAIM_SECONDS)
    assert raw.exists(er) == 0
    assert await store.runs.take_ending("acme", "two", CLAIM_SECONDS)
    assert 0 < raw.pttl(er) <= CLAIM_SECONDS * 1000


async def test_a_long_cancel_in_one_org_keeps_no_other_org_waiting(
    store: Store, ending: EndingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks = Walks(ending, monkeypatch)
    for org_id in ("acme", "beta"):
        for number, run_id in enumerate(("r1", "r2"), 1):
            one = spec(number, org_id=org_id, run_id=run_id, supersede="main")
            await store.jobs.submit(org_id, [one], [True], NOW)
    ending.due("acme")
    ending.due("beta")
    serving = asyncio.create_task(ending.run())

    async def beta_is_over() -> bool:
        return await store.runs.to_cancel("beta") == []

    await until(beta_is_over, "it waits")
    assert list(await marked(store)) == ["r1"]
    walks.open.set()
    while not serving.done():  # a call under way may take a cancel for itself
        serving.cancel()
        await asyncio.wait([serving], timeout=0.1)


async def test_a_long_cancel_takes_one_worker_however_often_its_org_is_due(
    store: Store, raw: Redis, ending: EndingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim is over meanwhile, so each more would walk the same run, while other orgs wait."""
    walks = Walks(ending, monkeypatch)
    for org_id in ("acme", "beta"):
        for number, run_id in enumerate(("r1", "r2"), 1):
            one = spec(number, org_id=org_id, run_id=run_id, supersede="main")
            await store.jobs.submit(org_id, [one], [True], NOW)
    serving = asyncio.create_task(ending.run())
    ending.due("acme")
    await walks.begun.wait()
    raw.delete(f"{keys.org('acme')}er")  # its time is over
    for _ in range(2 * ORGS_AT_ONCE):
        ending.due("acme")
    ending.due("beta")

    async def over(org_id: str) -> bool:
        return await store.runs.to_cancel(org_id) == []

    await until(lambda: over("beta"), "it waits")
    assert walks.of.count("acme r1") == 1
    await submit(store, of("r3", 3))
    walks.open.set()
    await until(lambda: over("acme"), "what came during the walk is not looked for")
    while not serving.done():
        serving.cancel()
        await asyncio.wait([serving], timeout=0.1)
    assert walks.of.count("acme r2") == 1


async def test_a_fault_at_one_run_keeps_no_other_from_its_end(
    store: Store, ending: EndingRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2))
    await submit(store, of("r3", 3))
    real, asked = ending._jobs.cancel_run, []

    async def cancel_run(org_id: str, run_id: str, reason: str) -> Changed:
        asked.append(run_id)
        if run_id == "r1":
            raise ValueError("what stands there can't be read")
        return await real(org_id, run_id, reason)

    monkeypatch.setattr(ending._jobs, "cancel_run", cancel_run)
    await ending.finish("acme")
    assert [*await marked(store)] == ["r1"]
    await ending.finish("acme")
    assert asked == ["r1", "r2"], "it is left alone for a while"


async def test_what_is_kept_of_keys_ends_by_itself(store: Store, raw: Redis, ending: EndingRuns) -> None:
    await submit(store, of("r1", 1))
    await submit(store, of("r2", 2))
    await ending.finish("acme")
    prefix = keys.org("acme")
    (su,) = raw.keys(f"{prefix}su:*")
    assert 0 < raw.pttl(su) <= keys.SUPERSEDE_TTL_MS
    assert 0 < raw.pttl(f"{prefix}sd:r1") <= keys.SUPERSEDED_TTL_MS
    assert raw.pttl(f"{prefix}sd:r1") > raw.pttl(su) - 10_000, "or it would take back the key that is still known"
    await store.jobs.cancel("acme", [(spec(2).ulid, 1)], NOW, reason="x")
    for status in (Status.CANCELLED,):
        await store.jobs.retire("acme", status, NOW + 10**9, 0, 100)
    assert leftovers(raw, "acme") == []

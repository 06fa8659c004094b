"""What a script refuses, or leaves as it is: one thing in each test, which nothing else would tell."""

from __future__ import annotations

import pytest
from redis import Redis

from qgjob_coordinator.model.enums import ErrorClass, HoldKind, HoldSlot, Outcome, Status, Target
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.model.jobs import JobError
from qgjob_coordinator.store import keys, names
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.health import Kept
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.asked import CancelWord, RetryWord
from qgjob_coordinator.store.types.holds import HoldRule, HoldWord
from tests.fakes import builds, scenes
from tests.fakes.jobs import NOW, ending, judged, overflowing, spec, unresolvable, without_build
from tests.fakes.store_audit import audit

WAITED = JobError(ErrorClass.QUEUE_TIMEOUT, "waited too long")
SESSION = f"{keys.FLEET}ag:agent-1"


def device(device_id: str) -> DeviceInfo:
    return DeviceInfo(device_id, f"udid-{device_id}", Target.EMULATOR)


async def cancel(store: Store, ulid: str, round_: int | None) -> tuple[str, str | None]:
    (answer,) = await store.jobs.cancel("acme", [(ulid, round_)], NOW, reason="by hand")
    return answer.word, answer.token


# Sessions.


async def test_nothing_of_an_older_epoch_touches_the_session(store: Store, raw: Redis) -> None:
    await scenes.open_session(store, epoch=2)
    assert not await store.sessions.admit("agent-1", 1, ["globex"])
    assert not await store.sessions.observe("agent-1", 1, -1, "closed")
    assert await store.sessions.renew("agent-1", 1, NOW) is None
    assert not await store.fleet.inventory("agent-1", 1, [device("d")], [], NOW, complete=True)
    await store.fleet.confirm_holds("agent-1", 1, 7)
    assert await store.agent_orgs("agent-1") == {"acme"}
    assert (await store.sessions.watch())[0] == []
    assert raw.hmget(SESSION, "state", "counter", "holds_seen") == ["open", "1", None]


async def test_a_closed_session_stays_closed(store: Store, raw: Redis) -> None:
    await scenes.open_session(store)
    assert await store.sessions.observe("agent-1", 1, -1, "closed")
    assert not await store.sessions.observe("agent-1", 1, -1, "detached")
    assert raw.hget(SESSION, "state") == "closed"


async def test_only_the_end_is_an_end(store: Store) -> None:
    await scenes.open_session(store)
    assert await store.sessions.observe("agent-1", 1, -1, "timed_out")
    assert (await store.sessions.watch())[0] == []


async def test_a_closed_session_writes_no_record_of_a_device(store: Store) -> None:
    await scenes.open_session(store)
    await store.fleet.inventory("agent-1", 1, [device("d")], [], NOW, complete=True)
    await store.sessions.observe("agent-1", 1, -1, "closed")
    assert await store.health.write("agent-1", 1, {"d": Kept()}) is None


async def test_only_what_is_closed_is_swept(store: Store) -> None:
    await scenes.open_session(store)
    assert not await store.sessions.swept("agent-1", 1, store.epoch, ["acme"])
    assert await store.agent_orgs("agent-1") == {"acme"}


async def test_a_late_sweep_takes_nothing_from_a_later_session_that_is_closed_too(store: Store) -> None:
    for epoch in (1, 2):
        await scenes.open_session(store, epoch=epoch)
        await store.sessions.observe("agent-1", epoch, -1, "closed")
    assert not await store.sessions.swept("agent-1", 1, store.epoch, ["acme"])
    assert await store.agent_orgs("agent-1") == {"acme"}


async def test_a_new_life_has_closed_sessions_swept_again_and_no_others(store: Store) -> None:
    await store.sessions.hello("life-1")
    for agent_id in ("agent-1", "agent-2"):
        await scenes.open_session(store, agent_id)
    await store.sessions.observe("agent-1", 1, -1, "closed")
    await store.sessions.swept("agent-1", 1, (await store.sessions.hello("life-1"))[1], ["acme"])
    await store.sessions.hello("life-2")
    assert (await store.sessions.watch())[0] == [("agent-1", 1)]


async def test_a_store_of_another_schema_is_left_alone(store: Store, raw: Redis) -> None:
    raw.set(f"{keys.FLEET}schema", "0")
    assert await store.sessions.hello("life-1") == ("0", 0, 0)
    assert not raw.exists(f"{keys.FLEET}store")


# Devices.


async def test_only_a_whole_inventory_says_what_is_gone(store: Store, raw: Redis) -> None:
    await scenes.open_session(store)
    await store.fleet.inventory("agent-1", 1, [device("d1"), device("d2")], [], NOW, complete=True)
    await store.fleet.inventory("agent-1", 1, [device("d1")], [], NOW, complete=False)
    there = [raw.hget(f"{keys.FLEET}dv:{d}", "present") for d in ("d1", "d2")]
    assert there == ["1", "1"]
    await store.fleet.inventory("agent-1", 1, [device("d1")], [], NOW, complete=True)
    assert [raw.hget(f"{keys.FLEET}dv:{d}", "present") for d in ("d1", "d2")] == ["1", "0"]


async def test_a_device_is_in_the_list_of_one_agent(store: Store, raw: Redis) -> None:
    await scenes.open_session(store)
    await store.fleet.inventory("agent-1", 1, [device("d")], [], NOW, complete=True)
    await store.sessions.observe("agent-1", 1, -1, "closed")
    await scenes.open_session(store, "agent-2")
    await store.fleet.inventory("agent-2", 1, [device("d")], [], NOW, complete=False)
    assert [raw.smembers(f"{keys.FLEET}da:agent-{n}") for n in (1, 2)] == [set(), {"d"}]
    await scenes.open_session(store, "agent-1", 2)
    assert await store.fleet.inventory("agent-1", 2, [], ["d"], NOW, complete=False)
    assert raw.hget(f"{keys.FLEET}dv:d", "present") == "1"


async def test_what_a_device_did_is_counted_once(store: Store) -> None:
    await scenes.open_session(store)
    await store.fleet.inventory("agent-1", 1, [device("d")], [], NOW, complete=True)

    async def installs(job: str, now: int, epoch: int = 1) -> int:
        row = Occupancy("d", job, ("acme", "v1"), {"acme": 1})
        done = await store.fleet.occupy("agent-1", epoch, [row], now)
        (found,) = (await store.fleet.read(["agent-1"]))[0].devices
        assert found.installs == await store.reads.installs(["acme"])
        return found.installs if done else -1

    assert [await installs("a", NOW), await installs("a", NOW), await installs("b", NOW)] == [1, 1, 2]
    assert [await installs("b", NOW + 1), await installs("c", NOW, epoch=2)] == [3, -1]


@pytest.mark.parametrize("what", ["hold:health", "record"])
async def test_a_resume_of_what_is_not_only_reserved_is_done(store: Store, raw: Redis, what: str) -> None:
    await scenes.open_session(store)
    await store.fleet.inventory("agent-1", 1, [device("d")], [], NOW, complete=True)
    reserved, bad = Hold(HoldKind.RESERVED, "mine", NOW + 1000), Hold(HoldKind.MAINTENANCE, "broken", None)
    holds = {HoldSlot.RESERVED: reserved} | ({HoldSlot.HEALTH: bad} if what == "hold:health" else {})
    await store.fleet.set_holds("dv", "d", holds, NOW, "one")
    if what == "record":
        raw.hset(f"{keys.FLEET}dv:d", "record", '{"q":1}')
    assert (await store.fleet.set_holds("dv", "d", {}, NOW, "two", HoldRule.RESUME)).word is HoldWord.OK


# Claims and leases.


async def test_what_is_shown_with_another_token_is_not_adopted(store: Store) -> None:
    job = await scenes.running(store)
    released, words = await store.leases.adopt("acme", "agent-1", 2, [(job.ulid, "t9")], NOW, 0.0)
    assert ([s.ulid for s in released], words) == ([job.ulid], ["GONE"])


async def test_two_batches_for_one_device_are_one_device(store: Store) -> None:
    await scenes.submit(store, one := spec(1), two := spec(2))
    claims = [scenes.device_claim(j, (j.ulid, j.ulid), serving_seen=0) for j in (one, two)]
    assert [a.word for a in await store.leases.claim("acme", claims, NOW, None, 1)] == ["OK", "OK"]


async def test_a_job_that_waits_for_its_time_is_not_claimed(store: Store) -> None:
    await scenes.submit(store, job := spec(not_before=NOW + 1000))
    assert (await scenes.claim(store, job)).grants == ()


async def test_a_job_of_another_group_is_not_claimed(store: Store) -> None:
    await scenes.submit(store, job := spec(1), spec(2, app_version_id="v2"))
    other = names.group_id("v2", Target.EMULATOR)
    assert (await scenes.claim(store, job, gid=other)).grants == ()
    assert (await scenes.get(store, job)).status is Status.QUEUED


@pytest.mark.parametrize("why", ["gone", "another group", "held", "over", "later", "another queue"])
async def test_what_stands_on_a_queue_where_it_does_not_wait_is_taken_off_when_it_is_asked_for(
    store: Store, raw: Redis, why: str
) -> None:
    """Else it would be proposed first, and refused, for ever. What a script that failed half-way left may be such."""
    waiting, stray = spec(1), spec(2)
    await scenes.submit(store, waiting)
    if why == "another group":
        stray = spec(2, app_version_id="v2")
    if why == "later":
        stray = spec(2, not_before=NOW + 1000)
    if why != "gone":
        await scenes.submit(store, stray)
    if why in ("held", "over"):
        await scenes.claim(store, stray, (stray.ulid, "t-other"))
    if why == "over":
        await store.leases.finish("acme", [ending(stray.ulid, "t-other")], NOW)
    gid = names.group_id("v1", Target.EMULATOR)
    queue = f"{keys.org('acme')}q:{gid}:"
    if why == "another queue":
        queue += "old"
        raw.hset(f"{keys.org('acme')}g:{gid}", "q:old", "1")
    raw.zadd(queue, {f"{stray.ulid} 1234!": 0, f"{stray.ulid}": 1})
    for _ in range(2):
        claimed = await scenes.claim(store, waiting, (stray.ulid, "t1"), gid=gid, now=NOW + 5000)
        assert len(claimed.grants) == (why == "another queue")
    if why == "another queue":  # what was granted is refused to the next one that sees it there
        assert (await scenes.claim(store, waiting, (stray.ulid, "t2"), gid=gid, now=NOW + 10_000)).grants == ()
    assert raw.zcard(queue) == (why != "another queue"), "what waits there stays"
    if why == "another queue":
        raw.hdel(f"{keys.org('acme')}g:{gid}", "q:old")
    assert audit(raw) == []
    assert (await scenes.claim(store, waiting, (waiting.ulid, "t3"), gid=gid)).grants


async def test_what_others_have_just_been_granted_is_looked_for_on_no_queue(store: Store, raw: Redis) -> None:
    """Coordinators that plan at once ask for the same, and to look at all queues of a group costs many claims."""
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job, now=NOW)
    before = raw.info("commandstats").get("cmdstat_hkeys", {"calls": 0})["calls"]
    assert (await scenes.claim(store, job, (job.ulid, "late"), now=NOW + 4999)).grants == ()
    assert raw.info("commandstats").get("cmdstat_hkeys", {"calls": 0})["calls"] == before
    assert (await scenes.claim(store, job, (job.ulid, "late"), now=NOW + 5000)).grants == ()
    assert raw.info("commandstats")["cmdstat_hkeys"]["calls"] == before + 1


async def test_a_job_that_waits_stays_on_its_queue_however_often_it_is_refused(store: Store, raw: Redis) -> None:
    await scenes.submit(store, job := spec())
    other = names.group_id("v2", Target.EMULATOR)
    assert (await scenes.claim(store, job, quota=0)).over_quota == 1
    assert (await scenes.claim(store, job, gid=other)).grants == ()
    assert (await scenes.claim(store, job, serving_seen=5)).grants == ()
    assert audit(raw) == []
    assert (await scenes.claim(store, job)).grants


async def test_a_result_alone_tells_of_no_start_and_of_no_installation(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job)
    await store.leases.finish("acme", [ending(job.ulid, "t1")], NOW)
    told = [t.status for _, ts in await store.events.after("acme", "0-0", 100) for t in ts]
    assert told == [Status.QUEUED, Status.SCHEDULED, Status.COMPLETED]
    assert (await store.reads.counters("acme"))[1] == 1


# Cancel, retry, expire.


@pytest.mark.parametrize(
    ("how", "word"), [("passed", CancelWord.ILLEGAL), ("failed", CancelWord.ILLEGAL), ("cancelled", CancelWord.ALREADY)]
)
async def test_what_has_its_verdict_is_not_cancelled(store: Store, how: str, word: CancelWord) -> None:
    job = await scenes.running(store)
    if how == "cancelled":
        await cancel(store, job.ulid, 1)
    report = ending(job.ulid, "t1") if how == "passed" else unresolvable(job.ulid, "t1")
    await store.leases.finish("acme", [report], NOW)
    before = await scenes.get(store, job)
    assert await cancel(store, job.ulid, 1) == (word, None)
    assert await scenes.get(store, job) == before


async def test_a_cancel_that_means_no_round_means_this_one(store: Store) -> None:
    await scenes.submit(store, job := spec())
    assert await cancel(store, job.ulid, None) == (CancelWord.CANCELLED, None)


async def test_a_lease_is_revoked_once_and_stays_of_its_round(store: Store) -> None:
    job = await scenes.running(store)
    assert await cancel(store, job.ulid, 1) == (CancelWord.CANCELLED, "t1")
    await store.jobs.retry("acme", [(job.ulid, 1, None)], NOW)
    assert await cancel(store, job.ulid, 2) == (CancelWord.CANCELLED, None)
    assert [a.round for a in (await scenes.get(store, job)).attempts] == [1]


async def test_a_job_that_is_not_to_be_deduplicated_is_retried_beside_an_equal(store: Store) -> None:
    job = await scenes.running(store, spec(1, no_dedup=True, max_retries=0))
    await store.leases.finish("acme", [ending(job.ulid, "t1", Outcome.TEST_FAILED)], NOW)
    await scenes.submit(store, spec(2, test_path=job.test_path))
    (answer,) = await store.jobs.retry("acme", [(job.ulid, 1, None)], NOW)
    assert answer.word == RetryWord.QUEUED


async def test_a_job_whose_deadline_has_not_come_is_not_expired(store: Store) -> None:
    await scenes.submit(store, job := spec(queue_timeout_ms=1000))
    assert await store.jobs.expire("acme", [(job.ulid, WAITED)], NOW + 999) == [None]
    assert (await scenes.get(store, job)).status is Status.QUEUED


async def test_a_job_that_changed_since_it_was_judged_is_not_ended_for_want_of_a_build(store: Store) -> None:
    job, due = overflowing(1), spec(2, queue_timeout_ms=1000)
    await scenes.submit(store, job, due)
    await store.jobs.overflow("acme", [judged(job)], NOW)
    rows = [without_build(job), without_build(due, 2)]
    assert await store.jobs.reject("acme", rows, NOW + 1000) == [None, None]
    assert [(await scenes.get(store, j)).status for j in (job, due)] == [Status.QUEUED] * 2
    (done,) = await store.jobs.reject("acme", [without_build(job, 2)], NOW)
    assert done is not None
    assert (done.status, done.outcome, done.target) == (Status.FAILED, Outcome.PROVIDER_ERROR, Target.BROWSERSTACK)


async def test_a_job_is_not_ended_for_want_of_a_build_that_is_there(store: Store) -> None:
    jobs = [spec(1), spec(2), spec(3, app_version_id="v2")]
    await scenes.submit(store, *jobs)
    await builds.kept(store, builds.build())
    both = ("v1 android device", "v1 ios simulator")
    rows = [without_build(jobs[0]), without_build(jobs[1], lacking=both[::-1]), without_build(jobs[2])]
    done = await store.jobs.reject("acme", rows, NOW)
    assert [row and row.status for row in done] == [None, None, Status.FAILED]
    (done_,) = await store.jobs.reject("acme", [without_build(jobs[0], lacking=both[1:])], NOW)
    assert done_ is not None


async def test_a_job_that_runs_or_is_over_is_not_ended_for_want_of_a_build(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job)
    assert await store.jobs.reject("acme", [without_build(job, version) for version in (1, 2)], NOW) == [None, None]
    assert (await scenes.get(store, job)).status is Status.SCHEDULED


async def test_what_does_not_wait_any_more_is_not_looked_at_again(store: Store, raw: Redis) -> None:
    await scenes.submit(store, job := spec(queue_timeout_ms=1000))
    await scenes.claim(store, job)
    raw.zadd(f"{keys.org('acme')}qx", {"01JUNKNOWN": NOW})
    await store.jobs.expire("acme", [(job.ulid, WAITED), ("01JUNKNOWN", WAITED)], NOW + 2000)
    assert raw.zrange(f"{keys.org('acme')}qx", 0, -1) == []
    assert (await scenes.get(store, job)).status is Status.SCHEDULED

"""A tour of the protocol at the store: each test is a counterexample of the model, and the rule that prevents it.

The order follows docs/protocol.md, "Every rule and what breaks without it". A *handler* is a coordinator's side of one
session; it may be slow, so its calls may come after those of its successor. `t1`, `t2` are lease tokens.
"""

from __future__ import annotations

import pytest
from redis import Redis

from qgjob_coordinator.model.enums import Charge, ErrorClass, Outcome, Status
from qgjob_coordinator.model.jobs import Job, JobSpec
from qgjob_coordinator.policy.retry import RetryRules
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.asked import CancelWord, RetryWord
from qgjob_coordinator.store.types.endings import LeaseEnd, ReleaseCharge
from qgjob_coordinator.store.types.submissions import OperationReusedError
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, release, spec, unresolvable
from tests.fakes.store_audit import audit, leftovers

NO_JITTER = 0.0


async def cancel(store: Store, job: JobSpec, round_: int | None = 1) -> str:
    return (await store.jobs.cancel(job.org_id, [(job.ulid, round_)], NOW, reason="by hand"))[0].word


async def retry(store: Store, job: JobSpec, round_: int = 1) -> str:
    return (await store.jobs.retry(job.org_id, [(job.ulid, round_, None)], NOW))[0].word


async def finish(store: Store, job: JobSpec, token: str, outcome: Outcome = Outcome.PASSED) -> str:
    return (await store.leases.finish(job.org_id, [ending(job.ulid, token, outcome)], NOW))[0].word


async def status(store: Store, job: JobSpec) -> Status:
    return (await scenes.get(store, job)).status


async def lease_is(store: Store, job: JobSpec, token: str) -> bool:
    """Whether the job's lease has this token: a start is refused for any other."""
    return (await store.leases.start(job.org_id, [(job.ulid, token, NOW)], NOW))[0] != "STALE"


# Epochs: who may claim.


async def test_a_late_claim_of_a_closed_session_is_refused(store: Store) -> None:
    """Reaping raises the lowest epoch in the script that releases, so nothing can slip in between."""
    await scenes.open_session(store)
    await scenes.submit(store, job := spec())
    await store.sessions.observe("agent-1", 1, -1, "closed")
    await store.leases.sweep("acme", "agent-1", 1, NOW, NO_JITTER)
    assert (await scenes.claim(store, job)).word == "STALE"
    assert await status(store, job) is Status.QUEUED


async def test_a_late_claim_of_the_session_before_is_refused_after_connect(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await store.leases.adopt("acme", "agent-1", 2, [], NOW, NO_JITTER)
    assert (await scenes.claim(store, job, epoch=1)).word == "STALE"
    assert (await scenes.claim(store, job, epoch=2)).grants


async def test_an_epoch_that_claimed_once_ends_all_lower_ones(store: Store) -> None:
    await scenes.submit(store, first := spec(1), second := spec(2))
    assert (await scenes.claim(store, first, epoch=5)).grants
    assert (await scenes.claim(store, second, epoch=4)).word == "STALE"


async def test_the_lowest_epoch_never_goes_back(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await store.leases.sweep("acme", "agent-1", 7, NOW, NO_JITTER)
    await store.leases.sweep("acme", "agent-1", 2, NOW, NO_JITTER)
    await store.leases.adopt("acme", "agent-1", 3, [], NOW, NO_JITTER)
    assert (await scenes.claim(store, job, epoch=7)).word == "STALE"


async def test_the_org_joins_the_agents_orgs_before_the_claim_and_only_while_the_session_is_open(store: Store) -> None:
    """Whoever dies after its claim leaves a trace that the reaper follows."""
    await scenes.open_session(store, orgs=["acme"])
    assert await store.agent_orgs("agent-1") == {"acme"}
    await store.sessions.observe("agent-1", 1, -1, "timed_out")
    assert not await store.sessions.admit("agent-1", 1, ["globex"])
    await store.sessions.observe("agent-1", 1, -1, "closed")
    assert not await store.sessions.admit("agent-1", 1, ["globex"])
    assert not await store.sessions.admit("agent-1", 2, ["globex"])
    assert await store.agent_orgs("agent-1") == {"acme"}


async def test_a_session_is_closed_before_its_leases_are_released(store: Store) -> None:
    """After the close no heartbeat can confirm what the sweep is about to release."""
    await scenes.open_session(store)
    job = await scenes.running(store)
    assert await store.sessions.observe("agent-1", 1, -1, "closed")
    assert await store.sessions.renew("agent-1", 1, NOW) is None
    assert len(await store.leases.sweep("acme", "agent-1", 1, NOW, NO_JITTER)) == 1
    assert await finish(store, job, "t1") == "REPLAYED"
    assert await status(store, job) is Status.QUEUED


async def test_a_reaper_that_died_in_between_is_followed_by_another(store: Store) -> None:
    await scenes.open_session(store, orgs=["acme", "globex"])
    jobs = [await scenes.running(store, spec(1)), await scenes.running(store, spec(2, "globex"))]
    await store.sessions.observe("agent-1", 1, -1, "closed")
    await store.leases.sweep("acme", "agent-1", 1, NOW, NO_JITTER)
    # Here the first one dies.
    for agent_id, epoch in (await store.sessions.watch())[0]:
        orgs = sorted(await store.agent_orgs(agent_id))
        for org_id in orgs:
            await store.leases.sweep(org_id, agent_id, epoch, NOW, NO_JITTER)
        assert await store.sessions.swept(agent_id, epoch, store.epoch, orgs)
    assert [await status(store, j) for j in jobs] == [Status.QUEUED] * 2
    assert (await store.sessions.watch())[0] == []


async def test_a_handler_that_died_between_open_and_adoption_strands_nothing(store: Store) -> None:
    """Its session took the old one off the list to be swept, and is swept itself, with all lower epochs."""
    await scenes.open_session(store)
    job = await scenes.running(store)
    await store.sessions.observe("agent-1", 1, -1, "closed")
    await store.sessions.open("agent-1", "agent-1-life", 2, {}, "c-2", [], NOW)
    # Here it dies. Nobody renews its session, so that it is closed in its turn.
    await store.sessions.observe("agent-1", 2, -1, "closed")
    assert (await store.sessions.watch())[0] == [("agent-1", 2)]
    assert await store.agent_orgs("agent-1") == {"acme"}
    assert len(await store.leases.sweep("acme", "agent-1", 2, NOW, NO_JITTER)) == 1
    assert await status(store, job) is Status.QUEUED


# Connect: adoption and what was not shown.


async def test_adoption_rewrites_the_epoch_so_that_the_reaper_of_the_old_session_leaves_the_lease(store: Store) -> None:
    job = await scenes.running(store)
    assert await store.leases.adopt("acme", "agent-1", 2, [(job.ulid, "t1")], NOW, NO_JITTER) == ([], ["ADOPTED"])
    assert await store.leases.sweep("acme", "agent-1", 1, NOW, NO_JITTER) == []
    assert await finish(store, job, "t1") == "APPLIED"


async def test_a_slow_connect_of_the_session_before_takes_nothing_from_its_successor(store: Store) -> None:
    job = await scenes.running(store)
    await store.leases.adopt("acme", "agent-1", 3, [(job.ulid, "t1")], NOW, NO_JITTER)
    assert await store.leases.adopt("acme", "agent-1", 2, [(job.ulid, "t1")], NOW, NO_JITTER) == ([], ["GONE"])
    assert await store.leases.adopt("acme", "agent-1", 2, [], NOW, NO_JITTER) == ([], [])
    assert await lease_is(store, job, "t1")


async def test_spooled_results_shown_at_connect_are_adopted_and_count(store: Store) -> None:
    """The agent shows unstarted, running and spooled attempts alike."""
    await scenes.submit(store, unstarted := spec(1))
    await scenes.claim(store, unstarted)
    spooled = await scenes.running(store, spec(2), "t2")
    shown = [(unstarted.ulid, "t1"), (spooled.ulid, "t2")]
    assert await store.leases.adopt("acme", "agent-1", 2, shown, NOW, NO_JITTER) == ([], ["ADOPTED", "ADOPTED"])
    assert await finish(store, spooled, "t2") == "APPLIED"
    assert [await status(store, j) for j in (unstarted, spooled)] == [Status.SCHEDULED, Status.COMPLETED]


async def test_what_connect_does_not_show_is_released_and_only_what_had_started_is_charged(store: Store) -> None:
    await scenes.submit(store, unstarted := spec(1))
    await scenes.claim(store, unstarted)
    started = await scenes.running(store, spec(2), "t2")
    released, _ = await store.leases.adopt("acme", "agent-1", 2, [], NOW, NO_JITTER)
    assert [(s.lease, s.attempt) for s in released] == [(LeaseEnd.UNSTARTED, 1), (LeaseEnd.LOST, 1)]
    assert (await scenes.get(store, unstarted)).attempts == []
    assert [a.outcome for a in (await scenes.get(store, started)).attempts] == [Outcome.AGENT_LOST]


async def test_another_agents_lease_is_not_adopted(store: Store) -> None:
    job = await scenes.running(store)
    assert await store.leases.adopt("acme", "agent-2", 9, [(job.ulid, "t1")], NOW, NO_JITTER) == ([], ["GONE"])
    assert await lease_is(store, job, "t1")


async def test_a_revoked_lease_that_is_shown_is_adopted_to_be_killed(store: Store) -> None:
    """The device is not free before the tree is dead."""
    job = await scenes.running(store)
    await cancel(store, job)
    assert await store.leases.adopt("acme", "agent-1", 2, [(job.ulid, "t1")], NOW, NO_JITTER) == ([], ["REVOKED"])
    assert (await store.snapshots.org("acme", 8)).groups == ()
    assert [j.ulid for j in await store.reads.held("acme")] == [job.ulid]


# Reports: tokens.


async def test_a_replayed_report_of_an_old_token_changes_nothing(store: Store) -> None:
    job = await scenes.running(store)
    assert await finish(store, job, "t1", Outcome.TEST_FAILED) == "APPLIED"
    assert (await scenes.claim(store, job, (job.ulid, "t2"))).grants
    assert await finish(store, job, "t1") == "REPLAYED"
    assert (await store.leases.release("acme", [release(job.ulid, "t1")], NOW))[0] == ["REPLAYED"]
    assert await store.leases.start("acme", [(job.ulid, "t1", NOW)], NOW) == ["STALE"]
    assert await status(store, job) is Status.SCHEDULED
    assert await lease_is(store, job, "t2")


async def test_a_token_that_was_never_granted_changes_nothing(store: Store) -> None:
    job = await scenes.running(store)
    assert await finish(store, job, "t9") == "STALE"
    assert (await store.leases.release("acme", [release(job.ulid, "t9")], NOW))[0] == ["STALE"]
    assert await status(store, job) is Status.RUNNING


async def test_the_result_may_come_before_the_start(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job)
    assert await finish(store, job, "t1") == "APPLIED"
    assert await store.leases.start("acme", [(job.ulid, "t1", NOW)], NOW) == ["STALE"]
    done = await scenes.get(store, job)
    assert (done.status, done.started_at) == (Status.COMPLETED, NOW - 1000)


async def test_a_claim_by_the_same_token_is_granted_again(store: Store) -> None:
    """A coordinator that can't tell whether its claim succeeded repeats it."""
    await scenes.submit(store, job := spec())
    first = await scenes.claim(store, job)
    assert await scenes.claim(store, job) == first
    assert len((await scenes.get(store, job)).attempts) == 1
    assert (await scenes.claim(store, job, (job.ulid, "t2"))).grants == ()
    assert (await scenes.claim(store, job, agent_id="agent-2")).grants == ()


async def test_a_claim_that_is_repeated_after_a_cancel_and_a_retry_names_the_round_of_its_lease(store: Store) -> None:
    """Granted again, so that the agent hears of it and answers; but it is not the new round's attempt."""
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job)
    await cancel(store, job)
    await retry(store, job)
    (grant,) = (await scenes.claim(store, job)).grants
    assert (grant.attempt, grant.round) == (1, 1)


# Recall.


async def test_only_the_answer_to_a_recall_releases(store: Store) -> None:
    """The question has no script: the lease stays until the agent gives it back, and goes only once."""
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job)
    assert (await scenes.claim(store, job, (job.ulid, "t2"), device_id="emulator-2")).grants == ()
    assert (await store.leases.release("acme", [release(job.ulid, "t1")], NOW))[0] == ["APPLIED"]
    assert (await scenes.claim(store, job, (job.ulid, "t2"), device_id="emulator-2")).grants
    assert (await store.leases.release("acme", [release(job.ulid, "t1")], NOW))[0] == ["STALE"]
    assert await lease_is(store, job, "t2")


# Cancel and retry: rounds and revoked leases.


async def test_cancel_and_retry_of_another_round_are_refused(store: Store) -> None:
    """A delayed first delivery counts too: the round says which life of the job was meant."""
    await scenes.submit(store, job := spec())
    assert await retry(store, job) == RetryWord.ILLEGAL
    assert await cancel(store, job) == CancelWord.CANCELLED
    assert await retry(store, job) == RetryWord.QUEUED
    assert await cancel(store, job, 1) == CancelWord.ROUND
    assert await retry(store, job, 1) == RetryWord.ROUND
    assert await status(store, job) is Status.QUEUED


async def test_an_operation_id_answers_with_what_was_done_first(store: Store) -> None:
    await scenes.submit(store, job := spec())

    async def call() -> object:
        return await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="x", operation_id="op-1")

    assert await call() == await call()
    operation = {"operation_id": "op-2"}
    first = await store.jobs.retry("acme", [(job.ulid, 1, None)], NOW, **operation)
    assert await store.jobs.retry("acme", [(job.ulid, 1, None)], NOW, **operation) == first


async def test_an_operation_id_is_for_one_request(store: Store) -> None:
    """Used for another job it is refused and does nothing; a cancel never answers for a retry."""
    await scenes.submit(store, one := spec(1), two := spec(2))
    operation = {"operation_id": "op-1", "asked": one.ulid}
    await store.jobs.cancel("acme", [(one.ulid, 1)], NOW, reason="x", **operation)
    with pytest.raises(OperationReusedError):
        await store.jobs.cancel("acme", [(two.ulid, 1)], NOW, reason="x", operation_id="op-1", asked=two.ulid)
    assert await status(store, two) is Status.QUEUED
    (retried,) = await store.jobs.retry("acme", [(one.ulid, 1, None)], NOW, **operation)
    assert retried.word == RetryWord.QUEUED


async def test_a_repeated_operation_answers_for_the_jobs_of_its_first_time(store: Store) -> None:
    """A run that is cancelled again has other unfinished jobs by then, or none."""
    await scenes.submit(store, one := spec(1), two := spec(2))
    operation = {"operation_id": "op-1", "asked": "run-1"}
    first = await store.jobs.cancel("acme", [(one.ulid, 1)], NOW, reason="x", **operation)
    assert await store.jobs.cancel("acme", [(two.ulid, 1)], NOW, reason="x", **operation) == first
    assert await store.jobs.cancel("acme", [], NOW, reason="x", **operation) == first
    assert [c.ulid for c in first] == [one.ulid]
    assert await status(store, two) is Status.QUEUED


async def test_a_report_on_a_revoked_lease_gives_no_verdict(store: Store) -> None:
    job = await scenes.running(store)
    await cancel(store, job)
    assert await finish(store, job, "t1") == "STALE"
    over = await scenes.get(store, job)
    assert (over.status, over.outcome, over.result) == (Status.CANCELLED, Outcome.CANCELLED, None)
    assert over.completed_at == NOW
    assert [(a.outcome, a.ended_at) for a in over.attempts] == [(Outcome.CANCELLED, NOW)]


async def test_a_start_on_a_revoked_lease_is_stale(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job)
    await cancel(store, job)
    assert await store.leases.start("acme", [(job.ulid, "t1", NOW)], NOW) == ["STALE"]
    assert (await scenes.get(store, job)).started_at is None


async def test_cancel_keeps_the_lease_until_the_tree_is_dead(store: Store) -> None:
    job = await scenes.running(store)
    answer = (await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="by hand"))[0]
    assert (answer.agent_id, answer.token) == ("agent-1", "t1")
    assert await store.reads.revoked("acme", "agent-1") == ["t1"]
    assert [j.ulid for j in await store.reads.held("acme")] == [job.ulid]
    assert (await store.leases.release("acme", [release(job.ulid, "t1", now=NOW + 9)], NOW + 9))[0] == ["APPLIED"]
    assert await store.reads.held("acme") == []
    over = await scenes.get(store, job)
    assert (over.completed_at, over.attempts[0].ended_at) == (NOW, NOW + 9)


async def test_a_retry_is_not_claimed_beside_the_dying_tree(store: Store) -> None:
    """It is on no queue, and a claim that knows of it is refused, until the old lease ends."""
    job = await scenes.running(store)
    await cancel(store, job)
    assert await retry(store, job) == RetryWord.QUEUED
    (group,) = (await store.snapshots.org("acme", 8)).groups
    assert (group.waiting, group.unfinished, group.serving) == (0, 1, {"emulator-1": 1})
    other = {"agent_id": "agent-2", "device_id": "emulator-2"}
    assert (await scenes.claim(store, job, (job.ulid, "t2"), **other)).grants == ()
    await store.leases.release("acme", [release(job.ulid, "t1")], NOW)
    (group,) = (await store.snapshots.org("acme", 8)).groups
    assert (group.waiting, group.serving) == (1, {})
    (grant,) = (await scenes.claim(store, job, (job.ulid, "t2"), **other)).grants
    assert (grant.attempt, grant.round) == (2, 2)


async def test_the_end_of_the_old_tree_does_not_end_the_new_round(store: Store) -> None:
    job = await scenes.running(store)
    await cancel(store, job)
    await retry(store, job)
    assert await finish(store, job, "t1") == "STALE"
    waiting = await scenes.get(store, job)
    assert (waiting.status, waiting.outcome, waiting.round, waiting.completed_at) == (Status.QUEUED, None, 2, None)
    assert [(a.round, a.outcome) for a in waiting.attempts] == [(1, Outcome.CANCELLED)]


async def test_a_sweep_ends_revoked_leases_too(store: Store) -> None:
    job = await scenes.running(store)
    await cancel(store, job)
    assert len(await store.leases.sweep("acme", "agent-1", 1, NOW, NO_JITTER)) == 1
    assert await store.reads.revoked("acme", "agent-1") == []
    assert await status(store, job) is Status.CANCELLED


# Submissions that come twice.


async def test_the_dedup_entry_is_deleted_only_by_its_own_job(store: Store) -> None:
    """A job that is not deduplicated, and one whose equal took its place, leave the entry alone."""
    await scenes.submit(store, own := spec(1))
    twin = await scenes.running(store, spec(2, test_path=own.test_path, no_dedup=True), "t2")
    await finish(store, twin, "t2")
    assert [s.ulid for s in await scenes.submit(store, spec(3, test_path=own.test_path))] == [own.ulid]
    await cancel(store, own)
    assert [s.word for s in await scenes.submit(store, spec(4, test_path=own.test_path))] == ["NEW"]


async def test_an_entry_that_names_another_job_survives_the_finish_of_this_one(store: Store, raw: Redis) -> None:
    """The rules above leave no way to this; a store that lost its last second of writes may."""
    job = await scenes.running(store)
    (entry,) = raw.hgetall("qg:o:{acme}:dd")
    raw.hset("qg:o:{acme}:dd", entry, "01JANOTHER")
    await finish(store, job, "t1")
    assert raw.hgetall("qg:o:{acme}:dd") == {entry: "01JANOTHER"}


async def test_a_retry_is_refused_while_an_equal_job_is_unfinished(store: Store) -> None:
    await scenes.submit(store, old := spec(1))
    await cancel(store, old)
    await scenes.submit(store, equal := spec(2, test_path=old.test_path))
    (answer,) = await store.jobs.retry("acme", [(old.ulid, 1, None)], NOW)
    assert (answer.word, answer.equal) == (RetryWord.EQUAL, equal.ulid)
    await cancel(store, equal)
    assert await retry(store, old) == RetryWord.QUEUED
    assert await retry(store, equal) == RetryWord.EQUAL


async def test_a_late_replay_of_a_deduplicated_submit_makes_no_second_job(store: Store) -> None:
    """The proposed id is an alias of the job that was returned, also when that is finished."""
    first = await scenes.running(store, spec(1))
    await scenes.submit(store, proposed := spec(2, test_path=first.test_path))
    await finish(store, first, "t1")
    assert [(s.word, s.ulid) for s in await scenes.submit(store, proposed)] == [("DEDUP", first.ulid)]
    (found,) = await store.reads.get("acme", [proposed.ulid])
    assert found is not None
    assert found.ulid == first.ulid


async def test_an_idempotency_key_answers_with_its_first_job_also_when_that_was_removed(store: Store) -> None:
    first = await scenes.running(store, spec(1, idempotency_key="build 7, ✓"))
    again, late = (spec(n, test_path=first.test_path, idempotency_key="build 7, ✓") for n in (2, 3))
    assert [(s.word, s.ulid) for s in await scenes.submit(store, again)] == [("KEYED", first.ulid)]
    await finish(store, first, "t1")
    assert await store.jobs.retire("acme", Status.COMPLETED, NOW + 1, 0, 100) == (1, 1)
    (tombstone,) = await scenes.submit(store, late)
    assert (tombstone.word, tombstone.ulid, tombstone.removed_status) == ("KEYED", first.ulid, "completed")
    assert await store.reads.get("acme", [first.ulid]) == [None]


# Plans may be stale, commits may not be wrong.


async def test_a_cold_device_is_told_that_the_group_moved(store: Store) -> None:
    jobs = [spec(i) for i in range(1, 5)]
    await scenes.submit(store, *jobs)
    cold = scenes.device_claim(jobs[0], (jobs[0].ulid, "t1"), serving_seen=0, device_id="emulator-1")
    late = scenes.device_claim(jobs[0], (jobs[1].ulid, "t2"), serving_seen=0, device_id="emulator-2")
    after_it = scenes.device_claim(jobs[0], (jobs[2].ulid, "t3"), serving_seen=1, device_id="emulator-3")
    answers = await store.leases.claim("acme", [cold, late, after_it], NOW, None, None)
    assert [a.word for a in answers] == ["OK", "MOVED", "OK"]
    again = scenes.device_claim(jobs[0], (jobs[3].ulid, "t4"), serving_seen=0, device_id="emulator-1")
    assert (await store.leases.claim("acme", [again], NOW, None, None))[0].grants  # it serves the group already


async def test_two_coordinators_that_both_see_room_give_a_capped_group_one_device(store: Store) -> None:
    """Whoever is first: the other one is told that the group has moved."""
    await scenes.submit(store, a := spec(1), b := spec(2))
    mine = await scenes.claim(store, a, (a.ulid, "t1"), serving_seen=0, device_id="emulator-1")
    yours = await scenes.claim(store, b, (b.ulid, "t2"), serving_seen=0, device_id="emulator-2", agent_id="agent-2")
    assert (mine.word, yours.word) == ("OK", "MOVED")
    (group,) = (await store.snapshots.org("acme", 8)).groups
    assert group.serving == {"emulator-1": 1}


async def test_a_cap_is_held_exactly_by_the_claim(store: Store) -> None:
    """Also for devices that the plan saw serving the group, as these: another one may have come since."""
    jobs = [spec(i) for i in range(1, 6)]
    await scenes.submit(store, *jobs)

    async def claimed(n: int) -> str:
        job = jobs[n]
        return (await scenes.claim(store, job, (job.ulid, f"t{n}"), device_id=f"emulator-{n}", cap=2)).word

    assert [await claimed(n) for n in range(3)] == ["OK", "OK", "MOVED"]
    more = await scenes.claim(store, jobs[3], (jobs[3].ulid, "t3"), device_id="emulator-0", cap=2)
    assert more.word == "OK"
    await store.leases.finish("acme", [ending(jobs[1].ulid, "t1")], NOW)
    assert await claimed(4) == "OK"


async def test_a_quota_is_held_exactly_by_the_claim(store: Store) -> None:
    jobs = [spec(i) for i in range(1, 6)]
    await scenes.submit(store, *jobs)
    first = await scenes.claim(store, jobs[0], *((j.ulid, f"a{j.ulid}") for j in jobs), quota=3)
    assert (len(first.grants), first.over_quota) == (3, 2)
    second = await scenes.claim(store, jobs[0], *((j.ulid, f"b{j.ulid}") for j in jobs), quota=3)
    assert (len(second.grants), second.over_quota) == (0, 2)
    ended = first.grants[0]
    await store.leases.finish("acme", [ending(ended.ulid, ended.token)], NOW)
    third = await scenes.claim(store, jobs[0], *((j.ulid, f"c{j.ulid}") for j in jobs), quota=3)
    assert (len(third.grants), third.over_quota) == (1, 1)


async def test_two_claims_of_one_job_give_one_lease(store: Store) -> None:
    await scenes.submit(store, job := spec())
    claims = [scenes.device_claim(job, (job.ulid, f"t{i}"), device_id=f"emulator-{i}") for i in (1, 2)]
    answers = await store.leases.claim("acme", claims, NOW, None, None)
    assert [len(a.grants) for a in answers] == [1, 0]


# Whose budget a failed attempt uses up.


async def test_a_job_that_cost_two_agents_their_life_is_not_tried_on_a_third(store: Store) -> None:
    job = await scenes.running(store)
    await store.leases.sweep("acme", "agent-1", 1, NOW, NO_JITTER)
    assert await status(store, job) is Status.QUEUED
    await scenes.claim(store, job, (job.ulid, "t2"), agent_id="agent-2", device_id="emulator-2")
    await store.leases.start("acme", [(job.ulid, "t2", NOW)], NOW)
    await store.leases.sweep("acme", "agent-2", 1, NOW, NO_JITTER)
    poisoned = await scenes.get(store, job)
    assert (poisoned.status, poisoned.outcome) == (Status.FAILED, Outcome.AGENT_LOST)
    assert poisoned.error is not None
    assert poisoned.error.error_class is ErrorClass.POISON
    assert "agent-1, agent-2" in poisoned.error.message


async def test_what_only_ran_beside_a_poison_job_is_told_so_and_a_retry_holds_nothing_against_it(store: Store) -> None:
    """Nobody sees which attempt took a host down, so all of them count. Whoever reads it looks at the hosts too."""
    cause, beside = spec(1), spec(2)
    for n, agent_id in enumerate(("agent-1", "agent-2"), 1):
        for job in (cause, beside):
            device_id, token = f"{agent_id}.{job.ulid}", f"t{n}-{job.ulid}"
            await scenes.submit(store, job)
            claimed = await scenes.claim(store, job, (job.ulid, token), agent_id=agent_id, device_id=device_id)
            assert claimed.grants
            await store.leases.start("acme", [(job.ulid, token, NOW)], NOW)
        await store.leases.sweep("acme", agent_id, 1, NOW, NO_JITTER)
    for job in (cause, beside):
        stopped = await scenes.get(store, job)
        assert stopped.error is not None
        assert (stopped.status, stopped.error.error_class) == (Status.FAILED, ErrorClass.POISON)
        assert "or only have run beside it" in stopped.error.message
        assert "retry it by hand" in stopped.error.message
    assert [r.word for r in await store.jobs.retry("acme", [(beside.ulid, 1, None)], NOW)] == ["QUEUED"]
    await scenes.claim(store, beside, (beside.ulid, "t3"), agent_id="agent-3", device_id="emulator-3")
    await store.leases.start("acme", [(beside.ulid, "t3", NOW)], NOW)
    await store.leases.sweep("acme", "agent-3", 1, NOW, NO_JITTER)
    assert await status(store, beside) is Status.QUEUED, "one agent more is one, not the third"


async def test_one_agent_lost_twice_is_no_poison(store: Store) -> None:
    job = spec()
    await scenes.submit(store, job)
    for epoch in (1, 2):
        await scenes.claim(store, job, (job.ulid, f"t{epoch}"), epoch=epoch)
        await store.leases.start("acme", [(job.ulid, f"t{epoch}", NOW)], NOW)
        await store.leases.sweep("acme", "agent-1", epoch, NOW, NO_JITTER)
    assert await status(store, job) is Status.QUEUED


async def test_what_was_assigned_but_never_started_is_charged_to_nobody(store: Store) -> None:
    job = spec(max_retries=0)
    await scenes.submit(store, job)
    for epoch in range(1, 12):
        await scenes.claim(store, job, (job.ulid, f"t{epoch}"), epoch=epoch)
        await store.leases.sweep("acme", "agent-1", epoch, NOW, NO_JITTER)
    waiting = await scenes.get(store, job)
    assert (waiting.status, waiting.attempts, waiting.retry_count) == (Status.QUEUED, [], 0)
    assert (waiting.not_before, waiting.avoid_devices) == (None, ())
    (grant,) = (await scenes.claim(store, job, (job.ulid, "t99"), epoch=99)).grants
    assert grant.attempt == 1


async def test_a_started_attempt_that_is_given_back_is_charged_to_nobody(store: Store) -> None:
    job = await scenes.running(store, spec(max_retries=0))
    await store.leases.release("acme", [release(job.ulid, "t1", ReleaseCharge.NOBODY, share=1.0)], NOW)
    waiting = await scenes.get(store, job)
    assert (waiting.status, waiting.not_before, waiting.avoid_devices) == (Status.QUEUED, None, ())


async def lose_leases(store: Store, job: JobSpec, attempts: range, **changes: object) -> Job:
    """So many started attempts in turn whose agent got no heartbeat confirmed; the job after the last one."""
    for n in attempts:
        assert (await scenes.claim(store, job, (job.ulid, f"t{n}"), **changes)).grants
        await store.leases.start("acme", [(job.ulid, f"t{n}", NOW)], NOW)
        await store.leases.release("acme", [release(job.ulid, f"t{n}", ReleaseCharge.OUTAGE, share=1.0)], NOW)
        await store.jobs.promote("acme", NOW + 10**9)
    return await scenes.get(store, job)


async def test_outages_are_free_only_as_often_as_the_infrastructure_has_retries(store: Store) -> None:
    """Nobody can tell an outage of the store from a link of one host that breaks again and again."""
    await scenes.submit(store, job := spec(max_retries=0))
    free = await lose_leases(store, job, range(1, 6))
    assert (free.status, free.not_before, len(free.attempts)) == (Status.QUEUED, None, 5)
    assert (await lose_leases(store, job, range(6, 11))).status is Status.QUEUED
    over = await lose_leases(store, job, range(11, 12))
    assert (over.status, over.outcome, over.retry_count) == (Status.FAILED, Outcome.AGENT_LOST, 0)
    assert over.error is not None
    assert over.error.error_class is ErrorClass.INFRASTRUCTURE


async def test_an_outage_that_is_not_free_any_more_waits_and_is_no_poison(store: Store) -> None:
    """The agents were there, so the job cost none its life, whichever they were."""
    await scenes.submit(store, job := spec())
    await lose_leases(store, job, range(1, 6))
    await scenes.claim(store, job, (job.ulid, "t6"))
    await store.leases.start("acme", [(job.ulid, "t6", NOW)], NOW)
    await store.leases.release("acme", [release(job.ulid, "t6", ReleaseCharge.OUTAGE, share=1.0)], NOW)
    assert (await scenes.get(store, job)).not_before is not None
    await store.jobs.promote("acme", NOW + 10**9)
    assert (await lose_leases(store, job, range(7, 8), agent_id="agent-2")).status is Status.QUEUED


async def test_a_second_outage_leads_to_another_host_and_the_first_one_nowhere_else(store: Store) -> None:
    """One outage of the store takes attempts on all hosts at once: all would wait for the devices of some other."""
    await scenes.submit(store, job := spec())
    assert (await lose_leases(store, job, range(1, 2))).avoid_devices == ()
    assert (await lose_leases(store, job, range(2, 3))).avoid_devices == ("@agent-1",)


async def test_what_a_host_can_not_run_keeps_its_job_from_all_of_that_host(store: Store) -> None:
    """Its devices are well, so none of them takes up the place of a host among those that a retry remembers."""
    await scenes.submit(store, job := spec())
    await scenes.claim(store, job, (job.ulid, "t1"))
    failed = ending(job.ulid, "t1", Outcome.PROVIDER_ERROR, host_unfit=True)
    await store.leases.finish("acme", [failed], NOW)
    waiting = await scenes.get(store, job)
    assert (waiting.status, waiting.retry_count, waiting.avoid_devices) == (Status.QUEUED, 0, ("@agent-1",))


async def break_on(store: Store, job: JobSpec, n: int, agent_id: str, outcome: Outcome = Outcome.DEVICE_ERROR) -> Job:
    """The n-th attempt ends so on the n-th device, of this agent; then the wait for the next one is over."""
    await scenes.claim(store, job, (job.ulid, f"t{n}"), device_id=f"emulator-{n}", agent_id=agent_id)
    await finish(store, job, f"t{n}", outcome)
    await store.jobs.promote("acme", NOW + 10**9)
    return await scenes.get(store, job)


async def test_a_second_device_that_breaks_on_a_host_leads_to_another_host(store: Store) -> None:
    """One is the device's fault; two of one host may be the host's, and it may have many."""
    await scenes.submit(store, job := spec())
    assert (await break_on(store, job, 1, "agent-1")).avoid_devices == ("emulator-1",)
    assert (await break_on(store, job, 2, "agent-2")).avoid_devices == ("emulator-1", "emulator-2")
    third = await break_on(store, job, 3, "agent-1")
    assert third.avoid_devices == ("emulator-1", "emulator-2", "emulator-3", "@agent-1")


async def test_a_host_on_which_something_else_failed_before_is_not_suspected(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await break_on(store, job, 1, "agent-1", Outcome.TEST_FAILED)
    await break_on(store, job, 2, "agent-1", Outcome.PROVIDER_ERROR)
    assert (await break_on(store, job, 3, "agent-1")).avoid_devices == ("emulator-2", "emulator-3")
    assert (await break_on(store, job, 4, "agent-2", Outcome.PROVIDER_ERROR)).avoid_devices[-1] == "emulator-4"
    assert (await break_on(store, job, 5, "agent-1", Outcome.PROVIDER_ERROR)).avoid_devices[-1] == "emulator-5"


async def test_what_broke_on_a_host_in_an_earlier_round_says_nothing_of_it(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await break_on(store, job, 1, "agent-1")
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="x")
    await retry(store, job)
    assert (await break_on(store, job, 2, "agent-1")).avoid_devices == ("emulator-2",)


async def test_outages_are_free_anew_in_a_new_round(store: Store) -> None:
    await scenes.submit(store, job := spec())
    await lose_leases(store, job, range(1, 6))
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="x")
    await retry(store, job)
    free = await lose_leases(store, job, range(6, 7))
    assert (free.status, free.not_before, free.avoid_devices) == (Status.QUEUED, None, ())


async def test_a_device_that_went_away_is_charged_to_the_infrastructure(store: Store) -> None:
    job = await scenes.running(store)
    await store.leases.release("acme", [release(job.ulid, "t1", ReleaseCharge.INFRASTRUCTURE, share=1.0)], NOW)
    waiting = await scenes.get(store, job)
    assert (waiting.not_before, waiting.avoid_devices) == (NOW + 2000, ("emulator-1",))


async def test_one_attempt_is_free_where_the_infrastructure_has_no_retries(redis_url: str) -> None:
    store = Store(redis_url, rules=RetryRules(infra_max=0))
    try:
        await scenes.submit(store, job := spec())
        assert (await lose_leases(store, job, range(1, 2))).status is Status.QUEUED
        assert (await lose_leases(store, job, range(2, 3))).status is Status.FAILED
    finally:
        await store.close()


async def test_an_infrastructure_failure_never_counts_against_the_test(store: Store) -> None:
    job = await scenes.running(store, spec(max_retries=0))
    await finish(store, job, "t1", Outcome.DEVICE_ERROR)
    waiting = await scenes.get(store, job)
    assert (waiting.status, waiting.retry_count, waiting.avoid_devices) == (Status.QUEUED, 0, ("emulator-1",))


async def test_a_build_that_cannot_be_resolved_fails_at_once(store: Store) -> None:
    job = await scenes.running(store)
    report = unresolvable(job.ulid, "t1")
    assert report.charge is Charge.FINAL
    await store.leases.finish("acme", [report], NOW)
    failed = await scenes.get(store, job)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert failed.error.error_class is ErrorClass.BUILD


async def test_flaky_looks_at_the_round_only(store: Store) -> None:
    job = await scenes.running(store, spec(max_retries=1))
    await finish(store, job, "t1", Outcome.TEST_FAILED)
    await scenes.claim(store, job, (job.ulid, "t2"))
    await finish(store, job, "t2", Outcome.TEST_FAILED)
    assert await status(store, job) is Status.FAILED
    await retry(store, job)
    await scenes.claim(store, job, (job.ulid, "t3"))
    await finish(store, job, "t3")
    passed = await scenes.get(store, job)
    assert (passed.outcome, passed.round, [a.round for a in passed.attempts]) == (Outcome.PASSED, 2, [1, 1, 2])


async def test_a_pass_after_a_failed_test_is_flaky_and_after_a_broken_device_is_not(store: Store) -> None:
    outcomes = []
    for n, first in enumerate((Outcome.TEST_FAILED, Outcome.DEVICE_ERROR), start=1):
        job = await scenes.running(store, spec(n), f"a{n}")
        await finish(store, job, f"a{n}", first)
        await scenes.claim(store, job, (job.ulid, f"b{n}"))
        await finish(store, job, f"b{n}")
        outcomes.append((await scenes.get(store, job)).outcome)
    assert outcomes == [Outcome.FLAKY, Outcome.PASSED]


# The active set of orgs.


async def test_a_submit_leaves_its_org_on_the_active_set_and_in_the_registry(store: Store) -> None:
    await scenes.submit(store, spec())
    assert await store.active_orgs() == {"acme"}
    assert await store.all_orgs() == {"acme"}


# What is left.


@pytest.mark.parametrize("verdict", [Outcome.PASSED, Outcome.TEST_FAILED, Outcome.CANCELLED])
async def test_nothing_is_left_of_finished_jobs_but_what_is_for_ever(
    store: Store, raw: Redis, verdict: Outcome
) -> None:
    jobs = [spec(i, max_retries=0, run_id="run-1", queue_timeout_ms=60_000, idempotency_key=f"k{i}") for i in (1, 2)]
    await scenes.submit(store, *jobs)
    await scenes.submit(store, spec(9, test_path=jobs[0].test_path, run_id="run-2"))
    for job in jobs:
        await scenes.claim(store, job, (job.ulid, job.ulid))
        await store.leases.start("acme", [(job.ulid, job.ulid, NOW)], NOW)
        await store.logs.append("acme", [(job.ulid, job.ulid, 0, b"line\n")])
        if verdict is Outcome.CANCELLED:
            await cancel(store, job)
        await finish(store, job, job.ulid, Outcome.PASSED if verdict is Outcome.CANCELLED else verdict)
    assert audit(raw) == []
    removed = [(await store.jobs.retire("acme", s, NOW + 1, 0, 100))[1] for s in Status if s.final]
    assert sum(removed) == 2
    assert audit(raw) == []
    assert leftovers(raw, "acme") == []

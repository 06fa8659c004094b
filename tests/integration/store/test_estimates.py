"""Durations: learned from what ended, shown with what waits."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from bench.scheduling.durations import Durations
from bench.scheduling.learning import observe
from qgjob_coordinator.model.enums import Charge, ErrorClass, Outcome, Priority, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import JobError, JobSpec, TestResult
from qgjob_coordinator.policy.estimates.typical import ENOUGH
from qgjob_coordinator.policy.rank import queue_score
from qgjob_coordinator.policy.snapshot import TYPICAL_SECONDS, GroupView, Head
from qgjob_coordinator.store import estimates, keys, names
from qgjob_coordinator.store.fleet import Occupancy
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, release, spec, ulid
from tests.fakes.store_audit import audit

EST = f"{keys.org('acme')}est"
KEPT = 20_000
NOTHING_BUT_SKIPPED = TestResult(skipped=3)


async def ran(store: Store, job: JobSpec, ms: int, outcome: Outcome = Outcome.PASSED, **changes: Any) -> None:
    """The job runs to its end, and took so long."""
    await scenes.running(store, job)
    await store.leases.finish("acme", [ending(job.ulid, "t1", outcome, duration_ms=ms, **changes)], NOW)


async def group(store: Store, org_id: str = "acme") -> GroupView:
    """The only group of the org."""
    (found,) = (await store.snapshots.org(org_id, 64)).groups
    return found


async def heads(store: Store) -> list[Head]:
    """What waits on the only queue of the only group."""
    (queue,) = (await group(store)).queues
    return list(queue.heads)


def again(job: JobSpec, n: int, **changes: Any) -> JobSpec:
    """The same test, submitted as the n-th job."""
    return replace(job, ulid=ulid(n), **changes)


async def test_a_test_that_ran_is_expected_to_take_as_long_again(store: Store) -> None:
    await ran(store, spec(1), 12_500)
    await scenes.submit(store, again(spec(1), 2), spec(3))
    assert [(h.ulid, h.seconds) for h in await heads(store)] == [(ulid(2), 12.5), (ulid(3), None)]


@pytest.mark.parametrize(
    "path",
    ["a b.py", 'a"b.py', "a\\", 'a\\"', '\\\\"x\\\\', '","p":"b.py', "ü/\u2028.py", "a\tb.py", "*"],
    ids=repr,
)
async def test_a_test_is_known_by_any_path(store: Store, path: str) -> None:
    others = [spec(n, test_path=p) for n, p in enumerate(("a", 'a"', "\\", "b.py", 'a\\\\"'), start=10)]
    await ran(store, spec(1, test_path=path, labels={"p": "x"}, env={"p": '","p":"'}), 9000)
    await scenes.submit(store, spec(2, test_path=path), *others)
    assert [(h.ulid, h.seconds) for h in await heads(store) if h.seconds is not None] == [(ulid(2), 9.0)]


async def test_tests_are_known_by_target_and_org(store: Store) -> None:
    await ran(store, spec(1), 9000)
    await scenes.submit(store, again(spec(1), 2, target=Target.DEVICE))
    assert [h.seconds for h in await heads(store)] == [None]
    await scenes.submit(store, again(spec(1), 3, org_id="globex"))
    assert (await group(store, "globex")).queues[0].heads[0].seconds is None


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        (Outcome.PASSED, {"result": NOTHING_BUT_SKIPPED}),
        (Outcome.PASSED, {"duration_ms": -1}),
        (Outcome.PASSED, {"duration_ms": 10**12}),
        (Outcome.TIMED_OUT, {}),
        (Outcome.APP_CRASHED, {}),
        (Outcome.DEVICE_ERROR, {}),
        (Outcome.PROVIDER_ERROR, {}),
        (Outcome.DEVICE_ERROR, {"charge": Charge.FINAL}),
    ],
    ids=str,
)
async def test_what_measures_no_duration_changes_no_estimate(
    store: Store, raw: Redis, outcome: Outcome, changes: dict[str, Any]
) -> None:
    await ran(store, spec(1), 9000)
    await scenes.running(store, again(spec(1), 2))
    await store.leases.finish("acme", [ending(ulid(2), "t1", outcome, **{"duration_ms": 1} | changes)], NOW)
    text = raw.hget(EST, f"e{names.path_digest(spec(1).test_path)}")
    assert text is not None
    assert estimates.estimate(text) == observe(None, 9.0)


async def test_a_report_that_comes_again_is_learned_from_once(store: Store, raw: Redis) -> None:
    await scenes.running(store, spec(1))
    done = ending(ulid(1), "t1", duration_ms=5000)
    for _ in range(2):
        await store.leases.finish("acme", [done, done], NOW)
    assert raw.hget(EST, f"e{names.path_digest(spec(1).test_path)}") == "5000 2500 1"


async def test_an_attempt_that_was_cancelled_teaches_nothing(store: Store, raw: Redis) -> None:
    await scenes.running(store, spec(1))
    await store.jobs.cancel("acme", [(ulid(1), 1)], NOW, reason="x")
    await store.leases.finish("acme", [ending(ulid(1), "t1", duration_ms=5000)], NOW)
    assert not raw.exists(EST)


@pytest.mark.parametrize("outcome", [Outcome.TEST_FAILED, Outcome.TIMED_OUT, Outcome.APP_CRASHED])
async def test_what_failed_last_comes_first_until_it_passes(store: Store, outcome: Outcome) -> None:
    await ran(store, spec(1, max_retries=0), 9000, outcome)
    await scenes.submit(store, spec(2), again(spec(1), 3))
    assert [h.ulid for h in await heads(store)] == [ulid(3), ulid(2)]
    assert await store.reads.positions("acme", [ulid(2), ulid(3)]) == [2, 1]
    assert (await scenes.claim(store, spec(2), (ulid(3), "t3"))).grants
    await store.leases.finish("acme", [ending(ulid(3), "t3", duration_ms=9000)], NOW)
    await scenes.submit(store, again(spec(1), 4))
    assert [h.ulid for h in await heads(store)] == [ulid(2), ulid(4)]


@pytest.mark.parametrize("priority", list(Priority))
async def test_a_job_has_the_score_that_the_policy_gives_it(store: Store, raw: Redis, priority: Priority) -> None:
    """Head starts are told in Lua too. (`test_machine` compares those of the audit.)"""
    await ran(store, spec(1, max_retries=0), 9000, Outcome.TEST_FAILED)
    failed, other = again(spec(1), 2, priority=priority), spec(3, priority=priority)
    await scenes.submit(store, failed, other)
    found = {h.ulid: h.score for h in await heads(store)}
    orders = {
        j.ulid: int((raw.hget(f"{keys.org('acme')}j:{j.ulid}", "i") or "").split(" ")[1]) for j in (failed, other)
    }
    assert found == {
        failed.ulid: queue_score(priority, orders[failed.ulid], failed_last=True),
        other.ulid: queue_score(priority, orders[other.ulid]),
    }


async def test_a_job_keeps_its_place_on_every_way_back_to_its_queue(store: Store, raw: Redis) -> None:
    job = again(spec(1), 2, max_retries=1)
    await ran(store, spec(1, max_retries=0), 9000, Outcome.TEST_FAILED)
    await scenes.submit(store, job)
    (first,) = await heads(store)
    order = int((raw.hget(f"{keys.org('acme')}j:{job.ulid}", "i") or "").split(" ")[1])
    assert first.score == queue_score(job.priority, order, failed_last=True)
    await scenes.claim(store, job, (job.ulid, "a"))
    await store.leases.release("acme", [release(job.ulid, "a")], NOW)
    assert await heads(store) == [first]
    await scenes.claim(store, job, (job.ulid, "b"))
    await store.leases.finish("acme", [ending(job.ulid, "b", Outcome.TEST_FAILED, duration_ms=1, share=1.0)], NOW)
    assert (await group(store)).waiting == 0
    assert len(await store.jobs.promote("acme", NOW + 60_000)) == 1
    assert await heads(store) == [first]
    await store.jobs.cancel("acme", [(job.ulid, 1)], NOW, reason="x")
    await store.jobs.retry("acme", [(job.ulid, 1, None)], NOW)
    assert await heads(store) == [first]


async def test_a_group_is_known_by_its_own_then_by_its_orgs_then_by_the_fleets_tests(store: Store) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, spec(99))
    assert (await group(store)).typical_seconds == TYPICAL_SECONDS
    known = Durations()
    for n in range(ENOUGH):
        await ran(store, spec(n, test_path=f"{n}.py"), 4000 + n)
        known.observe("acme", "g", f"{n}.py", Target.EMULATOR, 4 + n / 1000)
    assert (await group(store)).typical_seconds == known.typical("acme", "g")
    await store.jobs.cancel("acme", [(ulid(99), 1)], NOW, reason="the group ends with it")
    await scenes.submit(store, spec(98, app_version_id="v2"))
    assert (await group(store)).typical_seconds == known.typical("acme", "g")  # the org's
    await scenes.submit(store, spec(97, org_id="globex"))
    assert (await group(store, "globex")).typical_seconds == TYPICAL_SECONDS
    await shown(store)
    await store.fleet.occupy("agent-1", 1, [Occupancy("d1", None, ran_ms=7000)], NOW)
    await store.estimates.read()
    assert (await group(store, "globex")).typical_seconds == pytest.approx(7.0)


async def shown(store: Store) -> None:
    """An emulator and a phone of agent-1."""
    emulator = DeviceInfo("d1", "u1", Target.EMULATOR, labels={"target": "device"})
    phone = DeviceInfo("d2", "u2", Target.DEVICE)
    assert await store.fleet.inventory("agent-1", 1, [emulator, phone], [], NOW, complete=True)


async def test_the_fleet_learns_what_installations_take_by_target_and_once(store: Store, raw: Redis) -> None:
    await scenes.open_session(store)
    await shown(store)
    rows = [
        Occupancy("d1", None, ("acme", "v1"), {"acme": 1}, install_ms=30_000),
        Occupancy("d2", None, ("acme", "v1"), {"acme": 1}, install_ms=90_000),
    ]
    for _ in range(2):
        assert await store.fleet.occupy("agent-1", 1, rows, NOW + 1)
    absurd = [Occupancy("d1", None, ("acme", "v1"), {"acme": 1}, install_ms=ms) for ms in (-1, 10**12)]
    for i, row in enumerate(absurd):
        assert await store.fleet.occupy("agent-1", 1, [row], NOW + 2 + i)
    await store.estimates.read()
    assert store.estimates.install_seconds == {Target.EMULATOR: 30.0, Target.DEVICE: 90.0}
    assert raw.hgetall(f"{keys.FLEET}ty") == {"e": "30000 15000 1", "d": "90000 45000 1"}


async def test_the_scripts_compute_what_the_policy_computes(store: Store) -> None:
    await scenes.open_session(store)
    await shown(store)
    rng = random.Random(5)  # noqa: S311 - a reproducible sample
    known, install = Durations(), None
    for i in range(300):
        usual = 1000 * 20 ** (i // 60 % 3)  # it changes now and then
        ms = rng.choice((usual, usual, int(usual * rng.uniform(0.9, 1.2)), int(10 ** rng.uniform(0, 7.9))))
        row = Occupancy("d1", None, ("acme", "v1"), {"acme": 1}, install_ms=ms, ran_ms=ms)
        assert await store.fleet.occupy("agent-1", 1, [row], NOW + 1 + i)
        install = observe(install, ms / 1000)
        known.observe("acme", "g", "t", Target.EMULATOR, ms / 1000)
        await store.estimates.read()
        assert install is not None
        assert store.estimates.install_seconds[Target.EMULATOR] == install.mean
        assert store.estimates.typical == known.wholes("acme", "g")[0]


async def test_the_scripts_judge_first_values_as_the_policy_does(store: Store, raw: Redis) -> None:
    """Tests of one to six runs, of which some are strange, and some tests take a hundred times the typical."""
    rng = random.Random(6)  # noqa: S311 - a reproducible sample
    known, runs = Durations(), 0
    for group in range(3):
        await scenes.submit(store, spec(9000 + group, app_version_id=f"v{group}"))  # the group lives on
        for test in range(40):
            path, usual = f"{group}-{test}.py", 1000 * rng.choice((20, 30, 60, 3000))
            for _ in range(rng.randrange(1, 7)):
                ms = rng.choice((usual, int(usual * rng.uniform(0.7, 1.4)), 80_000_000, 1))
                runs += 1
                await ran(store, spec(runs, test_path=path, app_version_id=f"v{group}", max_retries=0), ms)
                known.observe("acme", f"v{group}", path, Target.EMULATOR, ms / 1000)
                text = raw.hget(EST, f"e{names.path_digest(path)}")
                assert text is not None
                assert estimates.estimate(text) == known.estimate("acme", path, Target.EMULATOR)


@pytest.mark.parametrize("before", [KEPT - 2, KEPT - 1, KEPT, KEPT + 50])
async def test_so_many_tests_are_known_and_no_more(store: Store, raw: Redis, before: int) -> None:
    raw.hset(EST, mapping={f"e{n}": "1000 500 1" for n in range(before)})
    await ran(store, spec(1), 5000)  # the test and the org
    assert raw.hlen(EST) == KEPT
    assert audit(raw) == []


async def test_a_large_batch_is_learned_from_as_a_whole(store: Store, raw: Redis) -> None:
    jobs = [spec(n) for n in range(2500)]
    for i in range(0, len(jobs), 1000):
        await scenes.submit(store, *jobs[i : i + 1000])
    await scenes.open_session(store)
    await scenes.claim(store, jobs[0], *((j.ulid, f"t{j.ulid}") for j in jobs))
    done = [ending(j.ulid, f"t{j.ulid}", duration_ms=1000 + n) for n, j in enumerate(jobs)]
    assert {e.word for e in await store.leases.finish("acme", done, NOW)} == {"APPLIED"}
    known = {test: text.split()[0] for test, text in raw.hgetall(EST).items() if test != "*"}
    assert known == {f"e{names.path_digest(j.test_path)}": str(1000 + n) for n, j in enumerate(jobs)}


@pytest.mark.parametrize("how", ["cancelled", "expired", "raised"])
async def test_a_job_is_found_on_its_queue_by_what_is_expected_of_it(store: Store, raw: Redis, how: str) -> None:
    await ran(store, spec(1, max_retries=0), 5000, Outcome.TEST_FAILED)
    await scenes.submit(store, again(spec(1), 2, queue_timeout_ms=1000), spec(3, priority=Priority.HIGH))
    if how == "cancelled":
        await store.jobs.cancel("acme", [(ulid(2), 1)], NOW, reason="x")
    elif how == "expired":
        await store.jobs.expire("acme", [(ulid(2), JobError(ErrorClass.QUEUE_TIMEOUT, "late"))], NOW + 5000)
    else:
        await scenes.submit(store, again(spec(1), 4, priority=Priority.HIGH))
    waiting = [ulid(2), ulid(3)] if how == "raised" else [ulid(3)]
    assert [h.ulid for h in await heads(store)] == waiting
    assert audit(raw) == []


async def test_a_failure_without_a_duration_is_known_and_forgiven(store: Store, raw: Redis) -> None:
    await ran(store, spec(1, max_retries=0), 5000, Outcome.TIMED_OUT)
    await scenes.submit(store, again(spec(1), 2))
    (head,) = await heads(store)
    assert head.seconds is None
    await scenes.claim(store, spec(1), (ulid(2), "t2"))
    await store.leases.finish("acme", [ending(ulid(2), "t2", duration_ms=-1)], NOW)
    await scenes.submit(store, spec(3), again(spec(1), 4))
    assert [h.ulid for h in await heads(store)] == [ulid(3), ulid(4)]
    assert audit(raw) == []


async def test_a_test_that_took_less_than_a_millisecond_took_some_time(store: Store) -> None:
    await ran(store, spec(1), 0)
    await scenes.submit(store, again(spec(1), 2))
    assert [h.seconds for h in await heads(store)] == [0.001]

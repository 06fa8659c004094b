"""Each field of a job, lacking or garbled, under each script that reads it, with two good neighbours.

A script serves these, or ends before it has changed anything. Then the damaged job is found in one look, the others are
served without it, and when it is mended, all of it is as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from qgjob_coordinator.model.enums import ErrorClass, Outcome, Priority
from qgjob_coordinator.model.jobs import JobError, JobSpec
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.events import START
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.endings import Ending
from qgjob_coordinator.store.types.submissions import SubmitConflictError
from tests.fakes import scenes
from tests.fakes.jobs import NOW, ending, judged, overflowing, release, spec
from tests.fakes.store_audit import audit
from tests.integration.store.test_a_damaged_job_among_others import (
    JOBS,
    LATER,
    Call,
    cancelled,
    claimed,
    delayed,
    started,
    submitted,
    token,
    with_deadline,
)

ORG = keys.org("acme")
BAD = JOBS[1]
NEW = spec(50)
Act = Callable[[Store, Sequence[JobSpec]], Awaitable[object]]


def new_token(ulid: str) -> str:
    return f"second-{ulid}"


async def _claim_again(store: Store, tokens: Callable[[str], str], now: int) -> None:
    answer = await scenes.claim(store, JOBS[0], *((job.ulid, tokens(job.ulid)) for job in JOBS), now=now)
    assert len(answer.grants) == len(JOBS)
    await store.leases.start("acme", [(job.ulid, tokens(job.ulid), now) for job in JOBS], now)


async def second_attempts(store: Store) -> None:
    await delayed(store)
    await store.jobs.promote("acme", LATER)
    await _claim_again(store, new_token, LATER)


async def claimed_with_deadline(store: Store) -> None:
    await with_deadline(store)
    await _claim_again(store, token, NOW)


async def one_ended(store: Store) -> None:
    await started(store)
    await store.leases.finish("acme", _ends([BAD], Outcome.TEST_FAILED), NOW)


async def not_deduplicated(store: Store) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, *(replace(job, no_dedup=True) for job in JOBS))
    await _claim_again(store, token, NOW)


async def passed(store: Store) -> None:
    await started(store)
    await store.leases.finish("acme", _ends(JOBS), NOW)


async def revoked(store: Store) -> None:
    await started(store)
    await cancel(store, JOBS)


async def two_targets(store: Store) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, *(overflowing(n) for n in (1, 2, 3)))


async def two_targets_cancelled(store: Store) -> None:
    await two_targets(store)
    await cancel(store, JOBS)


def _ends(
    jobs: Sequence[JobSpec], outcome: Outcome = Outcome.PASSED, tokens: Callable[[str], str] = token
) -> list[Ending]:
    return [ending(job.ulid, tokens(job.ulid), outcome) for job in jobs]


async def claim(store: Store, jobs: Sequence[JobSpec]) -> object:
    claims = [scenes.device_claim(job, (job.ulid, token(job.ulid)), device_id=f"d{JOBS.index(job)}") for job in jobs]
    return await store.leases.claim("acme", claims, NOW, None, None)


async def start(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.leases.start("acme", [(job.ulid, token(job.ulid), NOW) for job in jobs], NOW)


async def progress(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.leases.progress("acme", [(job.ulid, token(job.ulid), 7) for job in JOBS if job in jobs], NOW)


def _keyed(job: JobSpec) -> JobSpec:
    return replace(job, no_dedup=True, idempotency_key=f"key-{job.ulid}")


async def submitted_under_keys(store: Store) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, *map(_keyed, JOBS))


async def submit_equal(store: Store, jobs: Sequence[JobSpec]) -> object:
    """Beside one that is new: with ids and a run of their own, and more urgent."""
    rows = [replace(job, ulid=spec(40 + JOBS.index(job)).ulid, run_id="r2", priority=Priority.HIGH) for job in jobs]
    return await scenes.submit(store, NEW, *rows)


async def submit_under_keys(store: Store, jobs: Sequence[JobSpec]) -> object:
    rows = [replace(_keyed(job), ulid=spec(40 + JOBS.index(job)).ulid, run_id="r2") for job in jobs]
    return await scenes.submit(store, NEW, *rows)


async def submit_again(store: Store, jobs: Sequence[JobSpec]) -> object:
    """An answer was lost."""
    return await scenes.submit(store, NEW, *jobs)


async def finish(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.leases.finish("acme", _ends(jobs), NOW)


async def fail(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.leases.finish("acme", _ends(jobs, Outcome.TEST_FAILED), NOW)


async def fail_again(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.leases.finish("acme", _ends(jobs, Outcome.TEST_FAILED, new_token), LATER)


async def break_device(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.leases.finish("acme", _ends(jobs, Outcome.DEVICE_ERROR), NOW)


async def give_back(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.leases.release("acme", [release(job.ulid, token(job.ulid)) for job in jobs], NOW)


async def sweep(store: Store, _jobs: Sequence[JobSpec]) -> object:
    return await store.leases.sweep("acme", scenes.AGENT, 1, NOW, 0.0)


async def adopt_one(store: Store, _jobs: Sequence[JobSpec]) -> object:
    shown = [(JOBS[2].ulid, token(JOBS[2].ulid))]
    return await store.leases.adopt("acme", scenes.AGENT, 2, shown, NOW, 0.0)


async def promote(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.jobs.promote("acme", LATER, without=[job.ulid for job in JOBS if job not in jobs])


async def expire(store: Store, jobs: Sequence[JobSpec]) -> object:
    error = JobError(ErrorClass.QUEUE_TIMEOUT, "too long")
    return await store.jobs.expire("acme", [(job.ulid, error) for job in jobs], LATER)


async def cancel(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.jobs.cancel("acme", [(job.ulid, 1) for job in jobs], NOW, reason="x")


async def retry(store: Store, jobs: Sequence[JobSpec]) -> object:
    return await store.jobs.retry("acme", [(job.ulid, 1, None) for job in jobs], NOW)


async def overflow(store: Store, jobs: Sequence[JobSpec]) -> object:
    rows = [judged(overflowing(JOBS.index(job) + 1)) for job in jobs]
    return await store.jobs.overflow("acme", rows, NOW)


CASES: dict[str, tuple[Call, Act]] = {
    "claim": (submitted, claim),
    "start": (claimed, start),
    "progress": (started, progress),
    "submit what is equal": (submitted, submit_equal),
    "submit what is equal to started ones": (started, submit_equal),
    "submit under keys": (submitted_under_keys, submit_under_keys),
    "submit again": (submitted, submit_again),
    "finish": (started, finish),
    "finish replayed": (passed, finish),
    "finish beside a repeated end": (one_ended, finish),
    "finish what is not deduplicated": (not_deduplicated, finish),
    "finish what was revoked": (revoked, finish),
    "fail": (started, fail),
    "fail again": (second_attempts, fail_again),
    "break a device": (started, break_device),
    "release": (claimed, give_back),
    "release started": (started, give_back),
    "release with a deadline": (claimed_with_deadline, give_back),
    "release beside a repeated end": (one_ended, give_back),
    "sweep started": (started, sweep),
    "adopt": (started, adopt_one),
    "promote": (delayed, promote),
    "expire": (with_deadline, expire),
    "cancel": (submitted, cancel),
    "cancel started": (started, cancel),
    "retry": (cancelled, retry),
    "retry with two targets": (two_targets_cancelled, retry),
    "overflow": (two_targets, overflow),
}
OF_AN_AGENT = {"sweep started", "adopt"}
"""These take all that the agent has, and so nothing before the damaged job is mended or taken out."""
OF_NOBODY = "part 2 of l garbled"
"""The lease names an agent that does not have it: the error names the job."""

NO_COUNTS = ("007", "1" * 25)
"""Digits only, and still no number that the store counts on with."""


def damages(raw: Redis) -> Iterator[tuple[str, Callable[[], object]]]:
    """What may be wrong with the job, by name, and how to bring that about."""
    record, text = f"{ORG}j:{BAD.ulid}", f"{ORG}d:{BAD.ulid}"
    for field in sorted(raw.hgetall(record)):
        yield f"{field} lacks", lambda field=field: raw.hdel(record, field)
        text_of_none = "garbage" if field == "ov" else "gar bage"  # any two words are a second target and a time
        yield f"{field} garbled", lambda field=field, value=text_of_none: raw.hset(record, field, value)
    for number in NO_COUNTS:
        yield f"n is {number}", lambda number=number: raw.hset(record, "n", number)
    for field in sorted({"i", "l"} & raw.hgetall(record).keys()):
        for n, _part in enumerate(str(raw.hget(record, field)).split(" ")):
            yield f"part {n} of {field} garbled", lambda field=field, n=n: raw.hset(record, field, _with(raw, field, n))
    yield "no text", lambda: raw.delete(text)
    yield "text of another type", lambda: (raw.delete(text), raw.rpush(text, "x"))
    yield "text without what each has", lambda: raw.set(text, "{}")
    yield "text garbled", lambda: raw.set(text, "no JSON")
    yield "no record", lambda: raw.delete(record)


def never_taken(case: str, raw: Redis) -> set[str]:
    """Damages with which the script ends: to go on would lose the place where the job stands, or what it holds."""
    record = raw.hgetall(f"{ORG}j:{BAD.ulid}")
    if case == "submit again":
        return {"h lacks"}
    found = {"s lacks"}
    if case != "progress":
        parts = 1 if case == "start" else 4  # it reads where the job counts, and nothing else
        found |= {"i lacks", "i garbled"} | {f"part {n} of i garbled" for n in range(parts)}
    if case != "claim":
        found.add("s garbled")
    if "l" in record and record["s"] != "c" and not case.startswith("submit"):
        found |= {"n lacks", "l garbled"}
        if record["s"] in ("s", "r"):
            found.add("l lacks")
        if case not in ("start", "progress"):
            found |= {"part 0 of l garbled", "part 4 of l garbled"}
        if case in OF_AN_AGENT:
            found.add(OF_NOBODY)
    return found


def _with(raw: Redis, field: str, n: int) -> str:
    parts = str(raw.hget(f"{ORG}j:{BAD.ulid}", field)).split(" ")
    return " ".join("?" if i == n else part for i, part in enumerate(parts))


def _piped(raw: Redis, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Many commands in one go: there are some hundred damages, each with its own store."""
    pipe = raw.pipeline(transaction=False)
    for call in calls:
        pipe.execute_command(*call)
    return list(pipe.execute())


class Kept:
    """A store as it was, brought back as often as one likes."""

    def __init__(self, raw: Redis) -> None:
        self._raw = raw
        self._dumps = everything(raw)
        left = _piped(raw, [("PTTL", key) for key in self._dumps])
        self._ttls = {key: max(ttl, 0) for key, ttl in zip(self._dumps, left, strict=True)}

    def restore(self, *names: str) -> None:
        """All of it, or some keys."""
        first = [] if names else [("FLUSHDB",)]
        rows = [("RESTORE", key, self._ttls[key], self._dumps[key], "REPLACE") for key in names or self._dumps]
        _piped(self._raw, first + rows)


def everything(raw: Redis) -> dict[str, bytes]:
    """All keys, as the store would write them."""
    names, pipe = sorted(raw.keys("*")), raw.pipeline(transaction=False)
    for name in names:
        pipe.dump(name)
    return dict(zip(names, pipe.execute(), strict=True))


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Keys that are not what they were, but for the lowest epochs that may claim: raising one again changes nothing."""
    return [key for key in before.keys() | after.keys() if before.get(key) != after.get(key) and key != f"{ORG}fl"]


def of_neighbours(raw: Redis) -> dict[str, Any]:
    """All that the store has of the two good ones: records, texts, and where their ids stand."""
    good = [job.ulid for job in JOBS if job is not BAD]
    found: dict[str, Any] = {f"j:{ulid}": raw.hgetall(f"{ORG}j:{ulid}") for ulid in good}
    found |= {f"d:{ulid}": raw.get(f"{ORG}d:{ulid}") for ulid in good}
    names = sorted(raw.keys(f"{ORG}*"))
    kinds = _piped(raw, [("TYPE", name) for name in names])
    sets = [name for name, kind in zip(names, kinds, strict=True) if kind == "set"]
    rows = [name for name, kind in zip(names, kinds, strict=True) if kind == "zset"]
    values = _piped(raw, [("SMEMBERS", x) for x in sets] + [("ZRANGE", x, 0, -1, "WITHSCORES") for x in rows])
    for name, value in zip(sets + rows, values, strict=True):
        found[name] = sorted(str(member) for member in value if str(member[0] if name in rows else member)[:26] in good)
    return {what: value for what, value in found.items() if value}


async def watched(store: Store) -> bool:
    """Whether all can be read that was told of the org's jobs."""
    try:
        await store.events.after("acme", START)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("case", CASES)
async def test_a_field_that_is_damaged_costs_no_other_job_anything(case: str, store: Store, raw: Redis) -> None:
    prepare, act = CASES[case]
    ulids = [job.ulid for job in JOBS]
    await prepare(store)
    kept, refused = Kept(raw), never_taken(case, raw)
    wrong = list(damages(raw))
    await act(store, JOBS)
    assert audit(raw) == []
    served = of_neighbours(raw)
    for what, damage in wrong:
        kept.restore()
        damage()
        before = everything(raw)
        try:
            await act(store, JOBS)
        except ResponseError:
            assert changed(before, everything(raw)) == [], f"{what}: something is half done"
            if what != OF_NOBODY:
                assert await store.reads.unusable("acme", ulids) == {BAD.ulid}, what
            if case not in OF_AN_AGENT:
                await act(store, [job for job in JOBS if job is not BAD])
                assert of_neighbours(raw) == served, what
            kept.restore(f"{ORG}j:{BAD.ulid}", f"{ORG}d:{BAD.ulid}")
            await act(store, JOBS)
            assert audit(raw) == [], what
        except SubmitConflictError:
            assert changed(before, everything(raw)) == [], what
            continue  # the caller is told
        except (ValueError, KeyError, AttributeError):  # of an answer: the script has served all
            assert await store.reads.unusable("acme", ulids) == {BAD.ulid}, what
        else:
            assert what not in refused, f"{what}: nobody is told"
            assert await watched(store), f"{what}: watchers are told what they can't read"
        assert of_neighbours(raw) == served, what

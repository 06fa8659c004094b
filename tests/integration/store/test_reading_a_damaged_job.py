"""A job that can't be read is an error that names it, to whoever asks for it; the others are read."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from qgjob_coordinator.errors import JobDamagedError
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.service.calls.jobs import JobService
from qgjob_coordinator.service.calls.submission import Defaults, Submission
from qgjob_coordinator.service.calls.submitting import Accepted, Submitter
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN
from qgjob_coordinator.service.views.overview import Overview
from qgjob_coordinator.service.views.pending import Pending
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.reads import CHUNK, MOST_DAMAGED
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry, alone
from tests.fakes import scenes
from tests.fakes.jobs import NOW, spec

ORG = keys.org("acme")
OLD, BAD, NEW = JOBS = [spec(n, run_id="r1") for n in (1, 2, 3)]
NAME = f"acme~{BAD.ulid}"
PAGE = "'An org whose data can't be used' in docs/operations.md"


def service(store: Store) -> JobService:
    pending = Pending(store, FleetReader(store), None, faults=OrgFaults())
    return JobService(store, Hub(), Telemetry(), pending, lambda *_: False, log_transitions=False)


def damage(raw: Redis, how: str) -> None:
    if how == "i is gone":
        raw.hdel(f"{ORG}j:{BAD.ulid}", "i")
    elif how == "i is short":
        raw.hset(f"{ORG}j:{BAD.ulid}", "i", "gar")
    elif how == "no text":
        raw.delete(f"{ORG}d:{BAD.ulid}")
    else:
        raw.delete(f"{ORG}{how}{BAD.ulid}")
        raw.rpush(f"{ORG}{how}{BAD.ulid}", "of another type")


HOW = ["i is gone", "i is short", "no text", "j:", "d:"]


@pytest.mark.parametrize("how", HOW)
async def test_the_error_names_the_job_and_where_the_repair_is_written(how: str, store: Store, raw: Redis) -> None:
    await scenes.submit(store, *JOBS)
    damage(raw, how)
    with pytest.raises(JobDamagedError) as met:
        await store.reads.get("acme", [job.ulid for job in JOBS])
    assert met.value.message.startswith(f"job {NAME} can't be read (")
    assert PAGE in met.value.message
    assert met.value.__cause__ is not None
    assert [job.ulid for job in await store.reads.get("acme", [OLD.ulid, NEW.ulid]) if job] == [OLD.ulid, NEW.ulid]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("call", ["get", "explain", "cancel", "retry"])
async def test_calls_on_it_say_so(how: str, call: str, store: Store, raw: Redis) -> None:
    await scenes.submit(store, *JOBS)
    damage(raw, how)
    more = {"round_": None} if call in ("cancel", "retry") else {}
    with pytest.raises(JobDamagedError, match=NAME):
        await getattr(service(store), call)(LOCAL_ADMIN, NAME, **more)


@pytest.mark.parametrize("how", HOW)
async def test_submitters_of_other_jobs_are_answered(how: str, store: Store, raw: Redis) -> None:
    """They are many callers, whose jobs are written together."""
    await scenes.submit(store, *JOBS)
    damage(raw, how)
    pending = Pending(store, FleetReader(store), None, faults=OrgFaults())
    jobs = Submitter(store, Hub(), Telemetry(), pending, Defaults(), log_transitions=False)
    paths = [OLD.test_path, BAD.test_path, *(f"tests/new{n}.spec.ts" for n in range(6))]
    sent = [Submission(org_id="acme", app_version_id="v1", test_path=path, target=Target.EMULATOR) for path in paths]
    equal, met, *new = await asyncio.gather(*(jobs.submit(LOCAL_ADMIN, x) for x in sent), return_exceptions=True)
    assert isinstance(met, JobDamagedError | ResponseError)
    assert isinstance(equal, Accepted)
    assert equal.job_id == f"acme~{OLD.ulid}"
    written = await store.reads.get("acme", [x.job.ulid for x in new if isinstance(x, Accepted)])
    assert [job.test_path for job in written if job] == paths[2:]


async def test_an_error_of_no_single_job_stays_what_it_is(store: Store, raw: Redis) -> None:
    await scenes.submit(store, *JOBS)
    raw.rpush(f"{ORG}al:x", "of another type")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await store.reads.get("acme", [OLD.ulid, "x"])


async def test_who_sets_the_org_aside_names_its_damaged_jobs(store: Store, raw: Redis) -> None:
    await scenes.submit(store, *JOBS)
    raw.hdel(f"{ORG}j:{BAD.ulid}", "i")
    raw.hset(f"{ORG}j:{NEW.ulid}", "s", "?")
    faults = OrgFaults(damaged_jobs=store.reads.damaged_jobs)
    overview = Overview(store, FleetReader(store), alone(Telemetry()), faults=faults)
    with capture_logs() as lines:
        await overview.stats(LOCAL_ADMIN, None)
    (told,) = [line for line in lines if line["event"] == "org_damaged"]
    assert told["jobs"] == [NAME, f"acme~{NEW.ulid}"]
    assert told["error"].startswith(f"job {NAME} can't be read (KeyError: 'i')")
    (aside,) = faults.damaged()
    assert aside.jobs == (NAME, f"acme~{NEW.ulid}")


async def test_of_many_damaged_jobs_the_first_few_are_named_wherever_they_stand(store: Store, raw: Redis) -> None:
    many = [spec(n) for n in range(1, 2 * CHUNK)]
    await scenes.submit(store, *many)
    assert await store.reads.damaged_jobs("acme") == []
    for job in many[CHUNK - 2 : CHUNK + MOST_DAMAGED]:
        raw.hdel(f"{ORG}j:{job.ulid}", "i")
    named = [f"acme~{job.ulid}" for job in many[CHUNK - 2 :][:MOST_DAMAGED]]
    assert await store.reads.damaged_jobs("acme") == named


async def test_damaged_jobs_with_a_verdict_are_named_too(store: Store, raw: Redis) -> None:
    await scenes.open_session(store)
    await scenes.submit(store, OLD, BAD)
    await store.jobs.cancel("acme", [(BAD.ulid, 1)], NOW, reason="x")
    raw.hset(f"{ORG}j:{BAD.ulid}", "i", "gar")
    assert await store.reads.damaged_jobs("acme") == [NAME]

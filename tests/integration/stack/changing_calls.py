"""The calls that change something, for tests in which they are made twice for once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from qgjob import AsyncClient, Bond, ConflictError, Device, Job, JobSpec, JobStatus, NotFoundError, QgjobError
from qgjob._wire_submit import write_spec
from tests.integration.stack.specs import again

AGENT, DEVICE = "cmd-1", "cmd-1-2"
RUN, NEW_RUN = "run-1", "run-2"
BOND = Bond(3600.0, "client-1")
UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=6)
LATER = UNTIL + timedelta(hours=1)
ULID = "01BX5ZZKBKACTAV9WEVGEMMVRZ"


@dataclass
class Scene:
    """Two jobs of a run and three that are to be submitted, none of which any device can serve; a free device.

    `gone` is an agent whose session is closed.
    """

    org: str
    jobs: tuple[Job, ...]
    new: list[JobSpec]
    gone: str

    @property
    def one(self) -> str:
        """The first of the jobs."""
        return self.jobs[0].job_id


Call = Callable[[AsyncClient, Scene], Awaitable[Any]]
Judge = Callable[[Any, Scene], object]


@dataclass(frozen=True)
class Case:
    """A call, what is made before it, and what the second of two calls is answered.

    `told` judges what the client's own repeat is answered, `anew` what a caller is who makes the call anew, where it is
    something else; an error is the kind of the one that is raised. A call that is `sent_once` the client does not
    repeat. `letters` are the transitions of the first job, `changes` what of the org's keys each call changes.
    """

    rpc: str
    call: Call
    told: Judge | type[QgjobError]
    anew: Judge | type[QgjobError] | None = None
    before: Call | None = None
    letters: str = "q"
    holds: Callable[[Device], object] | None = None
    sent_once: bool = False
    changes: tuple[str, ...] = ()
    name: str = ""

    def __str__(self) -> str:
        return f"{self.rpc}-{self.name}" if self.name else self.rpc


def submit_job(ulid: str | None) -> Call:
    """The call that the client library does not make, with the repeats that it has for all."""

    def call(client: AsyncClient, s: Scene) -> Awaitable[Any]:
        request = write_spec(s.new[0], f"{s.org}~{ulid}")
        if ulid is None:
            request.ClearField("job_id")
        return client._source.call("SubmitJob", request)

    return call


async def cancel_both(client: AsyncClient, s: Scene) -> None:
    for job in s.jobs:
        await client.cancel(job.job_id)


def both(selection: Any, s: Scene) -> bool:
    return selection.count == 2 and {j.job_id for j in selection.jobs} == {j.job_id for j in s.jobs}


def none(selection: Any, _: Scene) -> bool:
    return (selection.count, selection.detached, selection.equal, selection.jobs) == (0, 0, 0, ())


def bind(client: AsyncClient, s: Scene) -> Awaitable[Any]:
    return client.submit_many(s.new, bond=BOND)


def same_ids(jobs: tuple[Job, ...], s: Scene) -> bool:
    return [j.job_id for j in jobs] == [spec.job_id for spec in s.new]


def drained(d: Device) -> bool:
    return (d.state, d.reason, d.until) == ("draining", "lab move", UNTIL)


def free(d: Device) -> bool:
    return (d.state, d.reason, d.until) == ("idle", None, None) and d.health in ("good", "unknown")


def drain(client: AsyncClient, _: Scene) -> Awaitable[Any]:
    return client.drain(device_id=DEVICE, reason="lab move", until=UNTIL)


def reserve(client: AsyncClient, _: Scene) -> Awaitable[Any]:
    return client.reserve(DEVICE, until=UNTIL, reason="ann")


CASES = [
    Case("SubmitJob", submit_job(ULID), told=lambda a, s: a.job.job_id == f"{s.org}~{ULID}" and not a.created),
    Case("SubmitJob", submit_job(None), told=lambda a, _: a.job.deduplicated and not a.created, name="without-an-id"),
    Case(
        "SubmitJobs",
        lambda client, s: client.submit(again(s.new[0], job_id=None)),
        told=lambda job, s: job.org_id == s.org and not job.deduplicated,
        anew=lambda job, _: job.deduplicated,
        name="one",
    ),
    Case("SubmitJobs", bind, told=same_ids, name="bound", changes=("bo",)),
    Case(
        "SubmitJobs",
        lambda client, s: client.submit_many([again(spec, job_id=None, idempotency_key="key") for spec in s.new[:1]]),
        told=lambda jobs, _: len(jobs) == 1,
        name="by-key",
    ),
    Case(
        "CancelJob",
        lambda client, s: client.cancel(s.one, round=1, reason="no more"),
        told=lambda job, _: (job.status, job.round, job.error.message) == (JobStatus.CANCELLED, 1, "no more"),
        letters="qx",
    ),
    Case(
        "CancelJobs",
        lambda client, s: client.cancel_many(s.org, run_id=RUN, reason="no more"),
        told=both,
        anew=none,
        letters="qx",
    ),
    Case(
        "KeepRun", lambda client, s: client.keep_run(s.org, NEW_RUN, BOND), lambda *_: True, None, bind, changes=("bo",)
    ),
    Case(
        "KeepRun",
        lambda client, s: client.keep_run(s.org, NEW_RUN, BOND, release=True),
        told=lambda *_: True,
        before=bind,
        name="release",
    ),
    Case(
        "RetryJob",
        lambda client, s: client.retry(s.one, round=1),
        told=lambda job, _: (job.status, job.round) == (JobStatus.QUEUED, 2),
        anew=ConflictError,
        before=cancel_both,
        letters="qxq",
    ),
    Case(
        "RetryJobs",
        lambda client, s: client.retry_many(s.org, RUN),
        told=both,
        anew=none,
        before=cancel_both,
        letters="qxq",
    ),
    Case("Drain", drain, told=lambda devices, _: [d.device_id for d in devices] == [DEVICE], holds=drained),
    Case(
        "Drain",
        lambda client, _: client.drain(agent_id=AGENT, reason="lab move", until=UNTIL),
        told=lambda devices, _: len(devices) == 2,
        holds=drained,
        name="agent",
    ),
    Case(
        "Resume",
        lambda client, _: client.resume(device_id=DEVICE),
        told=lambda devices, _: [d.device_id for d in devices] == [DEVICE],
        before=drain,
        holds=free,
        sent_once=True,
    ),
    Case(
        "SetDeviceHealth",
        lambda client, _: client.set_device_health(DEVICE, "maintenance", reason="glue", until=UNTIL),
        told=lambda d, _: d.device_id == DEVICE,
        holds=lambda d: (d.health, d.reason, d.until) == ("maintenance", "glue", UNTIL),
    ),
    Case(
        "ReserveDevice",
        reserve,
        told=ConflictError,  # by itself: another person may have said the same words
        holds=lambda d: (d.state, d.reason, d.until) == ("reserved", "ann", UNTIL),
        sent_once=True,
    ),
    Case(
        "ReserveDevice",
        lambda client, _: client.reserve(DEVICE, until=LATER, extend=True),
        told=lambda d, _: (d.reason, d.until) == ("ann", LATER),
        before=reserve,
        holds=lambda d: (d.state, d.reason, d.until) == ("reserved", "ann", LATER),
        sent_once=True,
        name="extended",
    ),
    Case(
        "ReleaseDevice",
        lambda client, _: client.release(DEVICE),
        told=ConflictError,
        before=reserve,
        holds=free,
        sent_once=True,
    ),
    Case(
        "SetDeviceLabels",
        lambda client, s: client.set_labels(DEVICE, {"room": s.org}),
        told=lambda d, s: d.labels["room"] == s.org,
        holds=lambda d: set(d.labels) == {"room", "runner"},  # the second one is its agent's word
    ),
    Case("ForgetAgent", lambda client, s: client.forget_agent(s.gone), told=NotFoundError, sent_once=True),
]

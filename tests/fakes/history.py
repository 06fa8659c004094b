"""Reads what happened to jobs, and says what may never happen: the promises P1 to P4, over any faults.

`check` takes the jobs that were acknowledged, as the API shows them at the end, and the transitions that the store's
event stream kept. It knows nothing of how the stack got there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from redis import Redis

from qgjob import AsyncClient, Attempt, Job, JobStatus, Outcome

_FINAL = {"c": JobStatus.COMPLETED, "f": JobStatus.FAILED, "x": JobStatus.CANCELLED}
_STATUS_OF = {
    Outcome.PASSED: JobStatus.COMPLETED,
    Outcome.FLAKY: JobStatus.COMPLETED,
    Outcome.CANCELLED: JobStatus.CANCELLED,
}


@dataclass(frozen=True)
class Transition:
    """One line of an org's event stream."""

    job_id: str
    version: int
    letter: str
    outcome: str | None


def transitions(raw: Redis, org_id: str) -> list[Transition]:
    """All transitions of an org that the stream still has, in order."""
    found = []
    for _, fields in raw.xrange(f"qg:o:{{{org_id}}}:ev"):
        for line in fields["e"].split("\n"):
            ulid, version, letter, _, outcome, _, _ = line.split(" ")
            found.append(Transition(f"{org_id}~{ulid}", int(version), letter, None if outcome == "-" else outcome))
    return found


async def check(client: AsyncClient, raw: Redis, org_ids: Iterable[str], acknowledged: Sequence[str] = ()) -> None:
    """Raises AssertionError with everything that is wrong with the jobs of these orgs."""
    jobs: dict[str, Job] = {}
    events: list[Transition] = []
    for org_id in org_ids:
        jobs |= {job.job_id: job async for job in client.list(org_id, page_size=1000)}
        events += transitions(raw, org_id)
    wrong = faults(jobs, events, acknowledged)
    assert not wrong, "\n".join(wrong)


def faults(jobs: dict[str, Job], events: Sequence[Transition], acknowledged: Sequence[str] = ()) -> list[str]:
    """What is wrong, in words."""
    wrong = [f"P1: {job_id} was acknowledged and is lost" for job_id in acknowledged if job_id not in jobs]
    by_job: dict[str, list[Transition]] = defaultdict(list)
    for event in events:
        by_job[event.job_id].append(event)
    for job_id, job in jobs.items():
        wrong += _verdicts(job, by_job[job_id])
        wrong += _attempts(job)
    return wrong + _overlaps(jobs.values())


def _verdicts(job: Job, events: Sequence[Transition]) -> list[str]:
    """P1 and P2: a verdict for each round, one verdict, and never back without a new round."""
    wrong = []
    if not job.final:
        return [f"P1: {job.job_id} has no verdict, it is {job.status.value}"]
    if job.outcome is None or _STATUS_OF.get(job.outcome, JobStatus.FAILED) is not job.status:
        wrong.append(f"P2: {job.job_id} is {job.status.value} with outcome {job.outcome}")
    verdicts = [e for e in events if e.outcome is not None]
    if len(verdicts) != job.round:
        wrong.append(f"P2: {job.job_id} has {len(verdicts)} verdicts in {job.round} rounds: {verdicts}")
    elif _FINAL.get(verdicts[-1].letter) is not job.status or verdicts[-1].outcome != job.outcome:
        wrong.append(f"P2: {job.job_id} is {job.status.value} ({job.outcome}), its verdict was {verdicts[-1]}")
    versions = [e.version for e in events]
    if versions != sorted(set(versions)):
        wrong.append(f"P3: versions of {job.job_id} are not growing: {versions}")
    return wrong


def _attempts(job: Job) -> list[str]:
    """P2 and P3: attempts are numbered without a gap, and the last one of the round decided."""
    wrong = []
    if [a.attempt for a in job.attempts] != list(range(1, len(job.attempts) + 1)):
        wrong.append(f"P3: attempts of {job.job_id} are {[a.attempt for a in job.attempts]}")
    for a in job.attempts:
        if a.outcome is None or a.ended_at is None:
            wrong.append(f"P1: attempt {a.attempt} of {job.job_id} has not ended")
        elif a.started_at is not None and a.ended_at < a.started_at:
            wrong.append(f"P4: attempt {a.attempt} of {job.job_id} ended before it started")
    mine = [a.outcome for a in job.attempts if a.round == job.round]
    if job.status is JobStatus.COMPLETED and (mine.count(Outcome.PASSED) != 1 or mine[-1] is not Outcome.PASSED):
        wrong.append(f"P2: {job.job_id} is completed by attempts {mine}")
    if job.status is not JobStatus.COMPLETED and Outcome.PASSED in mine:
        wrong.append(f"P2: {job.job_id} is {job.status.value}, and an attempt of this round passed: {mine}")
    return wrong


def _overlaps(jobs: Iterable[Job]) -> list[str]:
    """P4: on one device the next attempt starts when the one before has ended, or later."""
    by_device: dict[str, list[tuple[datetime, datetime, str]]] = defaultdict(list)
    for job in jobs:
        for a in job.attempts:
            if a.started_at is not None and a.ended_at is not None:
                by_device[a.device_id].append((a.started_at, a.ended_at, _name(job, a)))
    wrong = []
    for device_id, spans in by_device.items():
        spans.sort()
        for before, after in pairwise(spans):
            if after[0] < before[1]:
                wrong.append(f"P4: on {device_id} {after[2]} began before {before[2]} had ended")
    return wrong


def _name(job: Job, a: Attempt) -> str:
    return f"{job.job_id}#{a.attempt} [{a.started_at:%H:%M:%S.%f}, {a.ended_at:%H:%M:%S.%f}] ({a.outcome})"

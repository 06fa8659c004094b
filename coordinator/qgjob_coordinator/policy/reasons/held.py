"""A job that has a device, in words: what it does there, or what becomes of it where its agent is not heard."""

from __future__ import annotations

from dataclasses import dataclass

from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.reasons.words import clock, span

_MS = 1000


@dataclass(frozen=True, slots=True)
class Holder:
    """The agent that holds a job. `heard`: its session lives; else it was heard last at `seen_at` (ms), if it is known.

    `device_online`: it has the device. `current_job_id` is what the device runs, as far as the caller may know.
    """

    agent_id: str
    heard: bool
    seen_at: int | None
    device_online: bool
    current_job_id: str | None


def held(job: Job, holder: Holder, now: int, give_up_ms: int) -> str:
    """What a scheduled or running job does, or waits for. `now` in ms; an agent is given up after `give_up_ms`."""
    if not holder.heard:
        return _unheard(job, holder, now, give_up_ms)
    if not holder.device_online:
        return f"{job.device_id} is offline; its agent {holder.agent_id} is online, and tells what becomes of the job"
    if job.status is Status.RUNNING:
        return f"it runs on {job.device_id}"
    if holder.current_job_id not in (None, job.job_id):
        return f"it is in hand at {job.device_id}, which runs {holder.current_job_id} before"
    return f"it is in hand at {job.device_id}, which is about to start it"


def _unheard(job: Job, holder: Holder, now: int, give_up_ms: int) -> str:
    lost = "the attempt is lost, and tried again as its retries allow"
    then = lost if job.status is Status.RUNNING else "the job is queued again"
    if holder.seen_at is None:
        return f"its agent {holder.agent_id} is not heard; unless it comes back it is given up, and then {then}"
    last = f"its agent {holder.agent_id} was last heard {span((now - holder.seen_at) / _MS)} ago"
    at = holder.seen_at + give_up_ms
    left = f"at {clock(at, now)}, in about {span((at - now) / _MS)}" if at > now else "any moment"
    return f"{last}; unless it is heard before, it is given up {left}, and then {then}"

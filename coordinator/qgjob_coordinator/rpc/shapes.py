"""Jobs, their groups and runs, and statistics as the API's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import Stats
from qgjob_coordinator.model.jobs import Attempt, Group, Job, JobError, Overflow, PendingReason, Run, TestResult
from qgjob_coordinator.policy.reasons.considered import Considered
from qgjob_coordinator.policy.reasons.overflow import overflow_words
from qgjob_coordinator.rpc.numbers import (
    ERROR_CLASS,
    OUTCOME,
    PENDING,
    STATUS,
    TARGET,
)
from qgjob_coordinator.service.calls.submitting import Accepted
from qgjob_coordinator.service.views.pending import Explanation
from qgjob_proto.v1 import jobs_pb2, types_pb2


def time_out(ms: int | None) -> Timestamp | None:
    """A time in ms as a Timestamp."""
    return None if ms is None else Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def _error(e: JobError) -> types_pb2.JobError:
    return types_pb2.JobError(error_class=ERROR_CLASS[e.error_class], message=e.message)  # type: ignore[arg-type]


def _result(r: TestResult) -> types_pb2.TestResult:
    return types_pb2.TestResult(
        passed=r.passed, failed=r.failed, skipped=r.skipped, duration_ms=r.duration_ms, summary=r.summary
    )


def _attempt(a: Attempt) -> types_pb2.Attempt:
    return types_pb2.Attempt(
        attempt=a.attempt,
        round=a.round,
        agent_id=a.agent_id,
        device_id=a.device_id,
        outcome=OUTCOME[a.outcome] if a.outcome else None,  # type: ignore[arg-type]
        scheduled_at=time_out(a.scheduled_at),
        started_at=time_out(a.started_at),
        ended_at=time_out(a.ended_at),
        install_ms=a.install_ms,
        duration_ms=a.duration_ms,
        error=_error(a.error) if a.error else None,
        result=_result(a.result) if a.result else None,
    )


def _pending(p: PendingReason) -> types_pb2.PendingReason:
    return types_pb2.PendingReason(
        code=PENDING[p.code],  # type: ignore[arg-type]
        message=p.message,
        position=p.position,
        estimated_start_at=time_out(p.estimated_start_at),
        retry_at=time_out(p.retry_at),
    )


def _overflow(o: Overflow) -> types_pb2.Overflow:
    return types_pb2.Overflow(
        target=TARGET[o.target],  # type: ignore[arg-type]
        after_seconds=o.after_ms / 1000,
        moved_from=None if o.moved_from is None else TARGET[o.moved_from],  # type: ignore[arg-type]
        moved_at=time_out(o.moved_at),
        expected_wait_seconds=None if o.expected_wait_ms is None else o.expected_wait_ms / 1000,
        message=overflow_words(o),
    )


def job_out(j: Job) -> types_pb2.Job:
    """A job in full."""
    m = types_pb2.Job(
        job_id=j.job_id,
        org_id=j.org_id,
        app_version_id=j.app_version_id,
        test_path=j.test_path,
        priority=j.priority,  # type: ignore[arg-type]
        target=TARGET[j.target],  # type: ignore[arg-type]
        status=STATUS[j.status],  # type: ignore[arg-type]
        round=j.round,
        created_at=time_out(j.created_at),
        updated_at=time_out(j.updated_at),
        max_retries=j.max_retries,
        retry_count=j.retry_count,
        requirements=types_pb2.Requirements(),
    )
    r = j.requirements
    for name, value in (
        ("platform", r.platform),
        ("os_version", r.os_version),
        ("device_model", r.device_model),
        ("device_id", r.device_id),
    ):
        if value is not None:
            setattr(m.requirements, name, value)
    if r.labels:
        m.requirements.labels.update(dict(r.labels))
    if j.run_ids:
        m.run_ids.extend(j.run_ids)
    if j.labels:
        m.labels.update(j.labels)
    if j.deduplicated is not None:
        m.deduplicated = j.deduplicated
    if j.version > 1:
        _history(j, m)
    if j.suite_digest is not None:
        m.suite_digest = j.suite_digest
    if j.overflow is not None:
        m.overflow.CopyFrom(_overflow(j.overflow))
    if j.not_before is not None:
        m.not_before.CopyFrom(_time(j.not_before))
    if j.pending_reason is not None:
        m.pending_reason.MergeFrom(_pending(j.pending_reason))
    return m


def _time(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)


def _history(j: Job, m: types_pb2.Job) -> None:
    """What only a job has that was changed since its submission."""
    m.progress = j.progress
    if j.outcome is not None:
        m.outcome = OUTCOME[j.outcome]  # type: ignore[assignment]
    if j.agent_id is not None:
        m.agent_id = j.agent_id
    if j.device_id is not None:
        m.device_id = j.device_id
    for name in ("scheduled_at", "started_at", "completed_at"):
        ms = getattr(j, name)
        if ms is not None:
            getattr(m, name).CopyFrom(_time(ms))
    m.attempts.extend(_attempt(a) for a in j.attempts)
    if j.result is not None:
        m.result.CopyFrom(_result(j.result))
    if j.error is not None:
        m.error.MergeFrom(_error(j.error))


# What plain new jobs of one target and one time have in common.
_SHARED = (
    "target",
    "status",
    "round",
    "created_at",
    "updated_at",
    "retry_count",
    "requirements",
    "deduplicated",
    "pending_reason",
)


def add_ids(jobs: Any, accepted: Sequence[Accepted]) -> None:
    """Adds accepted jobs by their ids only. In place: what is made first and added then is copied."""
    add = jobs.add
    for a in accepted:
        add(job_id=a.job_id, org_id=a.spec.org_id, status=STATUS[a.status], deduplicated=a.deduplicated)


def add_jobs(jobs: Any, accepted: Sequence[Accepted]) -> None:
    """Adds accepted jobs in full, in place too. What the plain new ones have in common is made once."""
    add = jobs.add
    common: dict[tuple[Target, int], dict[str, Any]] = {}
    for a in accepted:
        spec = a.spec
        if not (a.created and spec.plain):
            jobs.append(job_out(a.job))
            continue
        shared = common.get((spec.target, a.accepted_at))
        if shared is None:
            m = job_out(a.job)
            shared = {name: getattr(m, name) for name in _SHARED}
            common[spec.target, a.accepted_at] = shared
        add(
            job_id=spec.job_id,
            org_id=spec.org_id,
            app_version_id=spec.app_version_id,
            test_path=spec.test_path,
            suite_digest=spec.suite_digest,
            priority=spec.priority,
            max_retries=spec.max_retries,
            run_ids=(spec.run_id,) if spec.run_id else (),
            **shared,
        )


def group_out(g: Group) -> types_pb2.Group:
    """A group."""
    return types_pb2.Group(
        group_id=g.group_id,
        org_id=g.org_id,
        app_version_id=g.app_version_id,
        target=TARGET[g.target],  # type: ignore[arg-type]
        queued=g.queued,
        scheduled=g.scheduled,
        running=g.running,
        device_ids=g.device_ids,
        installs=g.installs,
        estimated_end_at=time_out(g.estimated_end_at),
    )


def run_out(r: Run) -> types_pb2.Run:
    """A run."""
    return types_pb2.Run(
        run_id=r.run_id,
        org_id=r.org_id,
        status_counts=r.status_counts,
        outcome_counts=r.outcome_counts,
        installs=r.installs,
        started_at=time_out(r.started_at),
        completed_at=time_out(r.completed_at),
    )


def stats_out(s: Stats) -> types_pb2.Stats:
    """Statistics."""
    q, c = s.queue, s.scheduler
    return types_pb2.Stats(
        queue=types_pb2.QueueStats(
            queued=q.queued,
            scheduled=q.scheduled,
            running=q.running,
            completed=q.completed,
            failed=q.failed,
            cancelled=q.cancelled,
            retry_wait=q.retry_wait,
            oldest_queued_age_seconds=q.oldest_queued_age_seconds,
        ),
        scheduler=types_pb2.SchedulerStats(
            agents_online=c.agents_online,
            devices=types_pb2.DeviceCounts(
                total=c.devices_total,
                idle=c.devices_idle,
                busy=c.devices_busy,
                offline=c.devices_offline,
                bad=c.devices_bad,
            ),
            groups=c.groups,
            installs=c.installs,
            installs_saved=c.installs_saved,
            plans=c.plans,
            plan_ms_p50=c.plan_ms_p50,
        ),
        timestamp=time_out(s.timestamp),
    )


def explanation_out(e: Explanation) -> jobs_pb2.ExplainJobResponse:
    """A job with every device's verdict on it."""
    return jobs_pb2.ExplainJobResponse(
        job=job_out(e.job),
        devices=[_considered(c) for c in e.devices],
        summary=e.summary,
        earliest_start_at=time_out(e.estimate.earliest_at if e.estimate else None),
        latest_start_at=time_out(e.estimate.latest_at if e.estimate else None),
        expires_at=time_out(e.expires_at),
    )


def _considered(c: Considered) -> jobs_pb2.ConsideredDevice:
    return jobs_pb2.ConsideredDevice(
        device_id=c.device_id,
        feasible=c.feasible,
        message=c.message,
        unmet=c.unmet,
        code=None if c.code is None else PENDING[c.code],  # type: ignore[arg-type]
        free_at=time_out(c.free_at),
    )

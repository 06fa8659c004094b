"""The model as JSON: every field of CONTRACT's shapes, in its order, null when unset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qgjob_coordinator.http import times
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.model.fleet import Device, QueueStats, SchedulerStats, Stats
from qgjob_coordinator.model.jobs import (
    Attempt,
    Group,
    Job,
    JobError,
    Overflow,
    PendingReason,
    Requirements,
    TestResult,
)
from qgjob_coordinator.policy.reasons.overflow import overflow_words

Json = dict[str, Any]


def _time(ms: int | None) -> str | None:
    return None if ms is None else times.text(ms)


def requirements(r: Requirements) -> Json:
    """What a device must be."""
    return {
        "platform": r.platform,
        "os_version": r.os_version,
        "device_model": r.device_model,
        "device_id": r.device_id,
        "labels": dict(r.labels),
    }


def error(e: JobError | None) -> Json | None:
    """Why something did not pass."""
    return None if e is None else {"class": e.error_class.value, "message": e.message}


def result(r: TestResult | None) -> Json | None:
    """What was counted."""
    if r is None:
        return None
    return {
        "passed": r.passed,
        "failed": r.failed,
        "skipped": r.skipped,
        "duration_ms": r.duration_ms,
        "summary": r.summary or None,
    }


def pending_reason(p: PendingReason | None) -> Json | None:
    """Why a job waits."""
    if p is None:
        return None
    return {
        "code": p.code.value,
        "message": p.message,
        "position": p.position,
        "estimated_start_at": _time(p.estimated_start_at),
        "retry_at": _time(p.retry_at),
    }


def overflow(o: Overflow | None) -> Json | None:
    """A second target."""
    if o is None:
        return None
    return {
        "target": o.target.value,
        "after_seconds": o.after_ms / 1000,
        "moved_from": None if o.moved_from is None else o.moved_from.value,
        "moved_at": _time(o.moved_at),
        "expected_wait_seconds": None if o.expected_wait_ms is None else o.expected_wait_ms / 1000,
        "message": overflow_words(o),
    }


def attempt(a: Attempt) -> Json:
    """One try."""
    return {
        "attempt": a.attempt,
        "round": a.round,
        "agent_id": a.agent_id,
        "device_id": a.device_id,
        "outcome": a.outcome.value if a.outcome else None,
        "scheduled_at": times.text(a.scheduled_at),
        "started_at": _time(a.started_at),
        "ended_at": _time(a.ended_at),
        "install_ms": a.install_ms,
        "duration_ms": a.duration_ms,
        "error": error(a.error),
        "result": result(a.result),
    }


def job(j: Job) -> Json:
    """A job as it is read."""
    return {
        "job_id": j.job_id,
        "org_id": j.org_id,
        "app_version_id": j.app_version_id,
        "test_path": j.test_path,
        "priority": j.priority.word,
        "target": j.target.value,
        "status": j.status.value,
        "outcome": j.outcome.value if j.outcome else None,
        "round": j.round,
        "run_ids": list(j.run_ids),
        "labels": dict(j.labels),
        "requirements": requirements(j.requirements),
        "suite_digest": j.suite_digest,
        "overflow": overflow(j.overflow),
        "created_at": times.text(j.created_at),
        "updated_at": times.text(j.updated_at),
        "not_before": _time(j.not_before),
        "scheduled_at": _time(j.scheduled_at),
        "started_at": _time(j.started_at),
        "completed_at": _time(j.completed_at),
        "attempts": [attempt(a) for a in j.attempts],
        "retry_count": j.retry_count,
        "max_retries": j.max_retries,
        "agent_id": j.agent_id,
        "device_id": j.device_id,
        "progress": j.progress,
        "result": result(j.result),
        "error": error(j.error),
        "pending_reason": pending_reason(j.pending_reason),
    }


def submitted(j: Job) -> Json:
    """A job as the answer to its submission."""
    return {**job(j), "deduplicated": bool(j.deduplicated)}


def device(d: Device) -> Json:
    """A device."""
    return {
        "device_id": d.device_id,
        "agent_id": d.agent_id,
        "udid": d.udid,
        "target": d.target.value,
        "platform": d.platform,
        "os_version": d.os_version,
        "model": d.model,
        "state": d.state.value,
        "health": d.health.value,
        "reason": d.reason,
        "until": _time(d.until),
        "current_job_id": d.current_job_id,
        "org_id": d.org_id,
        "app_version_id": d.app_version_id,
        "labels": dict(d.labels),
        "installs": d.installs,
        "last_seen_at": _time(d.last_seen_at),
    }


def group(g: Group) -> Json:
    """A group."""
    return {
        "group_id": g.group_id,
        "org_id": g.org_id,
        "app_version_id": g.app_version_id,
        "target": g.target.value,
        "queued": g.queued,
        "scheduled": g.scheduled,
        "running": g.running,
        "device_ids": list(g.device_ids),
        "installs": g.installs,
        "estimated_end_at": _time(g.estimated_end_at),
    }


def queue(q: QueueStats) -> Json:
    """Jobs by status."""
    return {
        "queued": q.queued,
        "scheduled": q.scheduled,
        "running": q.running,
        "completed": q.completed,
        "failed": q.failed,
        "cancelled": q.cancelled,
        "retry_wait": q.retry_wait,
        "oldest_queued_age_seconds": q.oldest_queued_age_seconds,
    }


def scheduler(s: SchedulerStats) -> Json:
    """Fleet and planning."""
    return {
        "agents_online": s.agents_online,
        "devices": {
            "total": s.devices_total,
            "idle": s.devices_idle,
            "busy": s.devices_busy,
            "offline": s.devices_offline,
            "bad": s.devices_bad,
        },
        "groups": s.groups,
        "installs": s.installs,
        "installs_saved": s.installs_saved,
        "plans": s.plans,
        "plan_ms_p50": s.plan_ms_p50,
    }


def stats(s: Stats) -> Json:
    """Statistics."""
    return {"queue": queue(s.queue), "scheduler": scheduler(s.scheduler), "timestamp": times.text(s.timestamp)}


def finding(f: Finding) -> Json:
    """What a check found."""
    return {
        "check": f.check,
        "level": f.level.value,
        "subject": f.subject,
        "found": f.found,
        "advice": f.advice,
    }


def page(name: str, items: Sequence[Json], next_page_token: str) -> Json:
    """One page of a list; `next_page_token` is null on the last."""
    return {"count": len(items), name: list(items), "next_page_token": next_page_token or None}


def job_list(jobs: Sequence[Job], next_page_token: str, org_id: str, status: Status | None) -> Json:
    """One page of an org's jobs."""
    return {
        **page("jobs", [job(j) for j in jobs], next_page_token),
        "org_id": org_id,
        "status_filter": status.value if status else "all",
    }

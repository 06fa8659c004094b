"""Jobs for people: tables, one in full, a line for each transition, and what became of those of a run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import RenderableType
from rich.text import Text

from qgjob._enums import JobStatus
from qgjob._models import Attempt, Job
from qgjob.cli.clean import clean
from qgjob.cli.job_words import (
    advance_words,
    note_words,
    pairs,
    requirement_words,
    result_words,
    retry_words,
    test_words,
)
from qgjob.cli.moments import brief, clock, dated
from qgjob.cli.render import STYLES, facts, grid
from qgjob.cli.results import End, TestReport
from qgjob.cli.tables import Column


def job_table(jobs: Sequence[Job], now: datetime | None = None) -> RenderableType:
    """Jobs, a line each. What they require has a column when one of them requires something."""
    now = now or datetime.now(UTC)
    columns = [
        Column("JOB"),
        Column("TEST", spare=3, least=19, keeps_end=True),
        Column("STATUS", spare=1),
        Column("OUTCOME", spare=2),
        Column("TARGET", spare=8),
        Column("PRIORITY", spare=9),
        Column("DEVICE", spare=5),
        Column("TRIES", spare=10),
        Column("CREATED", spare=7),
        Column("NOTE", spare=6, least=16, missed=True),
    ]
    rows = [_job_row(job, now) for job in jobs]
    required = [requirement_words(job) for job in jobs]
    if any(required):
        place = next(index for index, column in enumerate(columns) if column.header == "TARGET") + 1
        names_a_device = any(job.requirements.device_id for job in jobs)  # an id is not cut
        columns.insert(place, Column("REQUIRES", spare=4, least=None if names_a_device else 12))
        for row, words in zip(rows, required, strict=True):
            row.insert(place, words)
    return grid(columns, rows, now)


def _job_row(job: Job, now: datetime) -> list[object]:
    notes = ["deduplicated" if job.deduplicated else None, note_words(job, now)]
    return [
        job.job_id,
        job.test_path,
        job.status,
        job.outcome,
        job.target,
        job.priority,
        job.device_id,
        len(job.attempts),
        job.created_at,
        "; ".join(filter(None, notes)),
    ]


def job_facts(job: Job, now: datetime | None = None, held: str | None = None) -> RenderableType:
    """One job in full. `held` is what its coordinator says of the agent that has it."""
    advance = advance_words(job, now or datetime.now(UTC)) if job.status is JobStatus.RUNNING else None
    rows: list[tuple[str, object]] = [
        ("job_id", job.job_id),
        ("test_path", job.test_path),
        ("status", job.status),
        ("outcome", job.outcome),
        ("progress", advance),
        ("now", held),
        ("pending", _pending(job)),
        ("error", f"{job.error.error_class}: {job.error.message}" if job.error else None),
        ("result", result_words(job.result, job.outcome) if job.result else None),
        ("org_id", job.org_id),
        ("app_version_id", job.app_version_id),
        ("target", job.target),
        ("priority", job.priority),
        ("requirements", requirement_words(job)),
        ("suite_digest", job.suite_digest),
        ("overflow", job.overflow.message if job.overflow is not None else None),
        ("labels", pairs({"labels": dict(job.labels)})),
        ("runs", ", ".join(job.run_ids)),
        ("agent_id", job.agent_id),
        ("device_id", job.device_id),
        ("round", job.round),
        ("retries", retry_words(job)),
        ("created_at", job.created_at),
        ("not_before", job.not_before),
        ("scheduled_at", job.scheduled_at),
        ("started_at", job.started_at),
        ("completed_at", job.completed_at),
        ("deduplicated", "yes" if job.deduplicated else None),
    ]
    rows += [(f"attempt {each.attempt}", _attempt(each)) for each in job.attempts]
    return facts(rows)


def _attempt(attempt: Attempt) -> str:
    parts = [attempt.outcome or "unfinished", f"on {attempt.device_id}"]
    if attempt.duration_ms is not None:
        parts.append(f"in {brief(attempt.duration_ms)}")
    if attempt.install_ms is not None:
        parts.append(f"after an install of {brief(attempt.install_ms)}")
    why = attempt.error.message if attempt.error else None
    if why is None and attempt.result:
        why = result_words(attempt.result, attempt.outcome)
        if why.startswith(f"{attempt.outcome} after "):
            why = None  # that is said already
    if why:
        parts.append(f"- {why}")
    return " ".join(parts)


def _pending(job: Job) -> str | None:
    reason = job.pending_reason
    if reason is None:
        return None
    place = f", place {reason.position}" if reason.position is not None else ""
    start = f", starts about {dated(reason.estimated_start_at)}" if reason.estimated_start_at else ""
    retry = f", not before {dated(reason.retry_at)}" if reason.retry_at else ""
    return f"{reason.code}{place}{start}{retry}: {reason.message}"


def transition_text(job: Job, words: str, now: datetime) -> Text:
    """One line that says in these words what became of a job, and when."""
    parts = [clock(_since(job) or now, now), clean(job.job_id), clean(test_words(job)), clean(words)]
    return Text(" ".join(parts), style=STYLES.get(job.status, ""))


def _since(job: Job) -> datetime | None:
    """Since when the job is in its state; progress within a state is none of it."""
    if job.final:
        return job.completed_at or job.updated_at
    if job.status is JobStatus.QUEUED:
        moved_at = job.overflow.moved_at if job.overflow is not None else None
        return job.updated_at if job.attempts else moved_at or job.created_at
    return (job.started_at if job.status is JobStatus.RUNNING else job.scheduled_at) or job.updated_at


def report_table(reports: Sequence[TestReport]) -> RenderableType:
    """What became of the jobs of a run, those first that did not pass."""
    columns = [
        Column("TEST", spare=2, least=16, keeps_end=True),
        Column("TARGET", spare=3),
        Column("OUTCOME"),
        Column("ATTEMPTS"),
        Column("TESTS"),
        Column("DEVICE", spare=4),
        Column("WHY", spare=1, least=12),
    ]
    order = {End.FAILED: 0, End.BROKEN: 1, End.FLAKY: 2}
    rows = [
        [
            each.test_path, each.target, each.outcome or each.status, each.attempts, _cases(each), each.device_id,
            clean(each.message) if each.message else None,
        ]
        for each in sorted(reports, key=lambda one: order.get(one.end, 3))
    ]  # fmt: skip
    return grid(columns, rows)


def _cases(report: TestReport) -> str:
    """`3 of 4`, those that passed; of a file whose own tests nobody knows it is the file."""
    passed = sum(each.end in (End.PASSED, End.FLAKY) for each in report.tests)
    return f"{passed} of {len(report.tests)}"

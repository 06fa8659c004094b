"""Tables for people: every model as Rich shows it. `printer` decides between these and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, datetime

from rich.console import RenderableType
from rich.text import Text

from qgjob._artifacts import Artifact
from qgjob._builds import Build, PushedBuild
from qgjob._enums import JobStatus, Outcome
from qgjob._fleet import Agent, Device, Group, Health, Stats
from qgjob._models import Attempt, Job
from qgjob._suites import PushedSuite, Suite
from qgjob.cli.clean import clean
from qgjob.cli.evidence import Kept
from qgjob.cli.job_words import (
    advance_words,
    note_words,
    pairs,
    progress_words,
    requirement_words,
    result_words,
    retry_words,
    test_words,
)
from qgjob.cli.moments import brief, clock, dated, when
from qgjob.cli.results import End, TestReport
from qgjob.cli.settings import Setting
from qgjob.cli.sizes import size_words
from qgjob.cli.tables import Column, Facts, Grid

_STYLES: dict[str, str] = {
    JobStatus.QUEUED: "dim",
    JobStatus.SCHEDULED: "cyan",
    JobStatus.RUNNING: "blue",
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
    Outcome.PASSED: "green",
    Outcome.FLAKY: "yellow",
    "idle": "green",
    "busy": "blue",
    "offline": "red",
    "online": "green",
    "good": "green",
    "bad": "red",
}


# --- cells ------------------------------------------------------------------------------------------------------------


def grid(columns: Sequence[Column], rows: Iterable[Sequence[object]], now: datetime | None = None) -> Grid:
    """A table that fits where it is drawn; see `tables`."""
    return Grid(columns, rows, now, _STYLES)


def facts(rows: Iterable[tuple[str, object]]) -> Facts:
    """Names and values of one thing; what is unset is left out."""
    return Facts(rows, _STYLES)


# --- tables -----------------------------------------------------------------------------------------------------------


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


def transition_text(job: Job, now: datetime) -> Text:
    """One line that says what became of a job, and when."""
    parts = [clock(_since(job) or now, now), clean(job.job_id), clean(test_words(job)), clean(progress_words(job))]
    return Text(" ".join(parts), style=_STYLES.get(job.status, ""))


def _since(job: Job) -> datetime | None:
    """Since when the job is in its state; progress within a state is none of it."""
    if job.final:
        return job.completed_at or job.updated_at
    if job.status is JobStatus.QUEUED:
        return job.updated_at if job.attempts else job.created_at
    return (job.started_at if job.status is JobStatus.RUNNING else job.scheduled_at) or job.updated_at


def device_table(devices: Sequence[Device]) -> RenderableType:
    """Devices, a line each."""
    columns = [
        Column("DEVICE"),
        Column("AGENT", spare=8),
        Column("TARGET", spare=5),
        Column("STATE", spare=1),
        Column("HEALTH", spare=2),
        Column("INSTALLED", spare=7),
        Column("INSTALLS", spare=9),
        Column("JOB", spare=6),
        Column("UNTIL", spare=4),
        Column("REASON", spare=3, least=12),
    ]
    return grid(columns, [_device_row(device) for device in devices])


def _device_row(device: Device) -> list[object]:
    installed = f"{device.org_id}/{device.app_version_id}" if device.app_version_id else None
    return [
        device.device_id,
        device.agent_id,
        device.target,
        device.state,
        device.health,
        installed,
        device.installs,
        device.current_job_id,
        device.until,
        device.reason or "",
    ]


def device_facts(device: Device) -> RenderableType:
    """One device in full."""
    shown = [each.name for each in fields(device) if each.name != "labels"]
    labels = pairs({"labels": dict(device.labels)})
    return facts([*((name, getattr(device, name)) for name in shown), ("labels", labels)])


def agent_table(agents: Sequence[Agent]) -> RenderableType:
    """Agents, a line each."""
    rows = [
        [each.agent_id, each.state, each.devices, each.version, each.host, each.connected_at, each.last_seen_at]
        for each in agents
    ]
    columns = [
        Column("AGENT"),
        Column("STATE", spare=1),
        Column("DEVICES", spare=2),
        Column("VERSION", spare=6),
        Column("HOST", spare=4),
        Column("CONNECTED", spare=5),
        Column("LAST SEEN", spare=3),
    ]
    return grid(columns, rows)


def build_table(builds: Sequence[Build]) -> RenderableType:
    """Builds, a line each."""
    columns = [
        Column("APP VERSION"),
        Column("PLATFORM"),
        Column("KIND"),
        Column("PACKAGE", spare=2),
        Column("VERSION", spare=3, least=8),
        Column("FILE", spare=4, least=12, keeps_end=True),
        Column("SIZE", spare=5),
        Column("PUSHED", spare=1),
        Column("DIGEST", spare=6, least=12),
    ]
    rows = [
        [
            each.app_version_id, each.platform, each.kind, each.package, _version(each), each.file_name,
            size_words(each.size_bytes), each.pushed_at, each.digest,
        ]
        for each in builds
    ]  # fmt: skip
    return grid(columns, rows)


def artifact_table(artifacts: Sequence[Artifact]) -> RenderableType:
    """Files of attempts, a line each."""
    columns = [
        Column("JOB"),
        Column("ATTEMPT"),
        Column("KIND"),
        Column("NAME", spare=3, least=12, keeps_end=True),
        Column("SIZE", spare=4),
        Column("PUSHED", spare=1),
        Column("DIGEST", spare=5, least=12),
    ]
    rows = [
        [each.job_id, each.attempt, each.kind, each.name, size_words(each.size_bytes), each.pushed_at, each.digest]
        for each in artifacts
    ]
    return grid(columns, rows)


def kept_table(kept: Sequence[Kept]) -> RenderableType:
    """Files on this machine, a line each."""
    columns = [Column("KIND"), Column("SIZE", spare=1), Column("FILE", spare=2, least=20, keeps_end=True)]
    rows = [[each.artifact.kind, size_words(each.artifact.size_bytes), str(each.path)] for each in kept]
    return grid(columns, rows)


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


def _version(build: Build) -> str | None:
    number = f"({build.version_code})" if build.version_code else None
    return " ".join(filter(None, (build.version_name, number))) or None


def pushed_facts(pushed: PushedBuild) -> RenderableType:
    """A build that was pushed, in full."""
    build = pushed.build
    return facts([("outcome", pushed.outcome), *((each.name, getattr(build, each.name)) for each in fields(build))])


def suite_table(suites: Sequence[Suite]) -> RenderableType:
    """Suites, a line each."""
    columns = [
        Column("NAME", spare=1, least=12),
        Column("FILES"),
        Column("SIZE"),
        Column("PUSHED"),
        Column("DIGEST", spare=2, least=12),
    ]
    rows = [[s.name, s.file_count, size_words(s.size_bytes), s.pushed_at, s.digest] for s in suites]
    return grid(columns, rows)


def suite_facts(pushed: PushedSuite) -> RenderableType:
    """A suite that was pushed, in full."""
    suite = pushed.suite
    return facts([(each.name, getattr(suite, each.name)) for each in fields(suite)])


def group_table(groups: Sequence[Group], now: datetime) -> RenderableType:
    """Groups, a line each."""
    columns = [
        Column("ORG"),
        Column("APP VERSION"),
        Column("TARGET", spare=1),
        Column("QUEUED", spare=2),
        Column("SCHEDULED", spare=5),
        Column("RUNNING", spare=3),
        Column("DEVICES", spare=6, least=16, wraps=True),
        Column("INSTALLS", spare=7),
        Column("ENDS ABOUT", spare=4),
    ]
    rows = [
        [
            each.org_id, each.app_version_id, each.target, each.queued, each.scheduled, each.running,
            ", ".join(each.device_ids) or None, each.installs,
            _soon(each.estimated_end_at, now),
        ]
        for each in groups
    ]  # fmt: skip
    return grid(columns, rows, now)


def _soon(moment: datetime | None, now: datetime) -> str | None:
    """An estimate as people read it; one that is over is due."""
    if moment is None:
        return None
    return when(moment, now) if moment > now else "any moment"


def stats_facts(stats: Stats) -> RenderableType:
    """Counts."""
    queue, scheduler = stats.queue.to_dict(), stats.scheduler.to_dict()
    devices = {f"devices {name}": count for name, count in scheduler.pop("devices").items()}
    agents = {"agents online": scheduler.pop("agents_online")}
    return facts((name.replace("_", " "), value) for name, value in (queue | agents | devices | scheduler).items())


def settings_table(settings: Sequence[Setting]) -> RenderableType:
    """Settings, a line each, with where they were set."""
    rows = [[setting.name, setting.value, setting.origin] for setting in settings]
    return grid([Column("SETTING"), Column("VALUE"), Column("ORIGIN")], rows)


def health_facts(health: Health, stats: Stats | None) -> RenderableType:
    """What a coordinator says of itself, and how much it has to do."""
    rows: list[tuple[str, object]] = [("address", health.address), ("status", health.status)]
    if health.reason is not None:
        rows.append(("reason", health.reason))
    if stats is not None:
        devices = stats.scheduler.devices
        rows += [
            ("jobs", f"{stats.queue.queued} queued, {stats.queue.scheduled} scheduled, {stats.queue.running} running"),
            ("agents online", stats.scheduler.agents_online),
            ("devices", f"{devices.total} ({devices.idle} idle, {devices.busy} busy, {devices.offline} offline)"),
        ]
    return facts(rows)

"""From what a caller sends to what the store accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, JobSpec, Requirements
from qgjob_coordinator.service import ulid, validation

MAX_RETRIES = 100
MAX_TIMEOUT_SECONDS = 86_400
MAX_QUEUE_TIMEOUT_SECONDS = 604_800
MAX_NOT_BEFORE_MS = 366 * 86_400 * 1000
MAX_KEY = 256
PLATFORMS = ("android", "ios")


@dataclass(slots=True)
class Submission:
    """A job as it came, before any check. None means: the default."""

    org_id: object = None
    app_version_id: object = None
    test_path: object = None
    priority: Priority | None = None
    target: Target | None = None
    job_id: object = None
    run_id: object = None
    labels: Mapping[str, object] | None = None
    requirements: Mapping[str, object] | None = None
    env: Mapping[str, object] | None = None
    max_retries: object = None
    idempotency_key: object = None
    not_before: int | None = None
    timeout_seconds: object = None
    queue_timeout_seconds: object = None
    no_dedup: bool = False


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the coordinator fills in."""

    priority: Priority = Priority.MEDIUM
    target: Target = Target.EMULATOR
    max_retries: int = 3


def requirements(value: Mapping[str, object]) -> Requirements:
    """Checked requirements. Raises InvalidError."""
    labels = value.get("labels") or {}
    if not isinstance(labels, Mapping):
        raise InvalidError("requirements.labels", "must be an object of texts")
    texts = {}
    for name in ("platform", "os_version", "device_model"):
        given = value.get(name)
        texts[name] = None if given in (None, "") else validation.check_text(f"requirements.{name}", given, 128)
    if texts["platform"] is not None and texts["platform"] not in PLATFORMS:
        raise InvalidError(
            "requirements.platform", f"{validation.shown(texts['platform'])} is unknown; use {' or '.join(PLATFORMS)}"
        )
    if texts["os_version"] is not None:
        validation.check_version("requirements.os_version", texts["os_version"])
    device = value.get("device_id")
    pinned = None if device in (None, "") else validation.check_id("requirements.device_id", device)
    checked = validation.check_required_labels("requirements.labels", labels)
    return Requirements(
        texts["platform"], texts["os_version"], texts["device_model"], pinned, tuple(sorted(checked.items()))
    )


def admit(s: Submission, defaults: Defaults, now: int) -> tuple[JobSpec, bool]:
    """A checked spec with all defaults, and whether the caller chose the id. Raises InvalidError; `now` in ms."""
    org_id = validation.check_id("org_id", s.org_id)
    app_version_id = validation.check_id("app_version_id", s.app_version_id)
    test_path = validation.check_path("test_path", s.test_path)
    own = s.job_id not in (None, "")
    if own:
        id_org, name = validation.split_job_id(s.job_id)
        if id_org != org_id:
            raise InvalidError("job_id", f"belongs to org {id_org}, not to {org_id}")
    else:
        name = ulid.make(now)
    spec = JobSpec(
        org_id=org_id,
        ulid=name,
        app_version_id=app_version_id,
        test_path=test_path,
        priority=s.priority or defaults.priority,
        target=s.target or defaults.target,
        max_retries=defaults.max_retries,
        no_dedup=s.no_dedup,
        own_priority=s.priority is not None,
        own_max_retries=s.max_retries is not None,
    )
    _options(s, spec, now)
    return spec, own


def _options(s: Submission, spec: JobSpec, now: int) -> None:
    """What most jobs leave unset."""
    if s.run_id not in (None, ""):
        spec.run_id = validation.check_id("run_id", s.run_id)
    if s.labels:
        spec.labels = validation.check_labels("labels", s.labels)
    if s.env:
        spec.env = validation.check_env("env", s.env)
    spec.requirements = requirements(s.requirements) if s.requirements else ANY_DEVICE
    if s.max_retries is not None:
        spec.max_retries = validation.check_int("max_retries", s.max_retries, 0, MAX_RETRIES)
    if s.idempotency_key not in (None, ""):
        spec.idempotency_key = validation.check_text("idempotency_key", s.idempotency_key, MAX_KEY)
    if s.not_before is not None:
        if not 0 <= s.not_before <= now + MAX_NOT_BEFORE_MS:
            raise InvalidError("not_before", "is more than a year ahead, or before 1970")
        spec.not_before = s.not_before
    if s.timeout_seconds is not None:
        seconds = validation.check_number("timeout_seconds", s.timeout_seconds, 1, MAX_TIMEOUT_SECONDS)
        spec.timeout_ms = round(seconds * 1000)
    if s.queue_timeout_seconds is not None:
        seconds = validation.check_number(
            "queue_timeout_seconds", s.queue_timeout_seconds, 1, MAX_QUEUE_TIMEOUT_SECONDS
        )
        spec.queue_timeout_ms = round(seconds * 1000)

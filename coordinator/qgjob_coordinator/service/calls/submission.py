"""From what a caller sends to what the store accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, JobSpec, Overflow, Requirements
from qgjob_coordinator.service import ulid, validation

MAX_RETRIES = 100
MAX_TIMEOUT_SECONDS = 86_400
MAX_QUEUE_TIMEOUT_SECONDS = 604_800
MAX_NOT_BEFORE_MS = 366 * 86_400 * 1000
MAX_KEY = 256


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
    supersede: object = None
    not_before: int | None = None
    timeout_seconds: object = None
    queue_timeout_seconds: object = None
    no_dedup: bool = False
    suite_digest: object = None
    overflow_target: Target | None = None
    overflow_after_seconds: object = None


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
    found = {}
    for name, check in _OF_A_DEVICE.items():
        given = value.get(name)
        found[name] = None if given is None else check(f"requirements.{name}", given)
    checked = validation.check_required_labels("requirements.labels", labels)
    return Requirements(**found, labels=tuple(sorted(checked.items())))


_OF_A_DEVICE: dict[str, Callable[[str, object], str]] = {
    "platform": validation.check_platform,
    "os_version": validation.check_version,
    "device_model": validation.check_model,
    "device_id": validation.check_id,
}


def admit(s: Submission, defaults: Defaults, now: int) -> tuple[JobSpec, bool]:
    """A checked spec with all defaults, and whether the caller chose the id. Raises InvalidError; `now` in ms."""
    org_id = validation.check_id("org_id", s.org_id)
    app_version_id = validation.check_id("app_version_id", s.app_version_id)
    test_path = validation.check_path("test_path", s.test_path)
    own = s.job_id is not None
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
        suite_digest=None if s.suite_digest is None else validation.check_digest("suite_digest", s.suite_digest),
        own_priority=s.priority is not None,
        own_max_retries=s.max_retries is not None,
    )
    _options(s, spec, now)
    return spec, own


def _options(s: Submission, spec: JobSpec, now: int) -> None:
    """What most jobs leave unset."""
    if s.run_id is not None:
        spec.run_id = validation.check_id("run_id", s.run_id)
    if s.labels:
        spec.labels = validation.check_labels("labels", s.labels)
    if s.env:
        spec.env = validation.check_env("env", s.env)
    spec.requirements = requirements(s.requirements) if s.requirements else ANY_DEVICE
    if s.max_retries is not None:
        spec.max_retries = validation.check_int("max_retries", s.max_retries, 0, MAX_RETRIES)
    if s.idempotency_key is not None:
        spec.idempotency_key = validation.check_given("idempotency_key", s.idempotency_key, MAX_KEY)
    if s.supersede is not None:
        spec.supersede = validation.check_given("supersede", s.supersede, MAX_KEY)
        if spec.run_id is None:
            raise InvalidError(
                "run_id", "is required with supersede: it names the run that takes the older one's place"
            )
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
    spec.overflow = _overflow(s.overflow_target, s.overflow_after_seconds, spec)


def _overflow(target: Target | None, after_seconds: object, spec: JobSpec) -> Overflow | None:
    """A checked second target, if there is one. Raises InvalidError."""
    if target is None and after_seconds is None:
        return None
    if target is None:
        raise InvalidError("overflow_target", "is required with overflow_after_seconds; name the second target")
    if after_seconds is None:
        raise InvalidError(
            "overflow_after_seconds", "is required with overflow_target; say how long the job may be expected to wait"
        )
    if target == spec.target:
        raise InvalidError("overflow_target", f"{target.value} is the job's target already; name another one")
    if spec.requirements.device_id is not None:
        device = spec.requirements.device_id
        raise InvalidError(
            "overflow_target",
            f"{target.value} can't be where the job is pinned to {device}; leave one of them out",
        )
    seconds = validation.check_number("overflow_after_seconds", after_seconds, 1, MAX_QUEUE_TIMEOUT_SECONDS)
    return Overflow(target, round(seconds * 1000))

"""Builders of submissions and endings with plain defaults."""

from __future__ import annotations

from typing import Any

from qgjob_coordinator.model.enums import Charge, ErrorClass, Outcome, Priority, Target
from qgjob_coordinator.model.failures import charge_of, error_class_of
from qgjob_coordinator.model.jobs import JobError, JobSpec, Overflow
from qgjob_coordinator.store.types.endings import Ending, Release, ReleaseCharge
from qgjob_coordinator.store.types.waiting import Judged, Unbuilt

NOW = 1_800_000_000_000
"""A moment in 2027, in ms."""


def ulid(n: int) -> str:
    """The n-th of a row of ids that sort like their numbers."""
    return f"01J{n:023d}"


def spec(n: int = 1, org_id: str = "acme", **changes: Any) -> JobSpec:
    """A submission; each n has an id and a test path of its own."""
    values: dict[str, Any] = {
        "org_id": org_id,
        "ulid": ulid(n),
        "app_version_id": "v1",
        "test_path": f"tests/t{n}.spec.ts",
        "priority": Priority.MEDIUM,
        "target": Target.EMULATOR,
        "max_retries": 3,
    }
    return JobSpec(**values | changes)


def overflowing(n: int = 1, **changes: Any) -> JobSpec:
    """A submission that goes to a cloud device when it would wait for more than a minute."""
    return spec(n, **{"overflow": Overflow(Target.BROWSERSTACK, 60_000)} | changes)


def judged(job: JobSpec, version: int = 1, *, moves: bool = True, wait: int | None = 340_000, again: int = 0) -> Judged:
    """It is to go to its second target, or stays."""
    to = None if job.overflow is None or not moves else job.overflow.target
    return Judged(job.ulid, version, job.app_version_id, to, wait, again or NOW + 5000)


def without_build(job: JobSpec, version: int = 1, *, lacking: tuple[str, ...] | None = None) -> Unbuilt:
    """It is to end, unless there is a build by now; else of its app version for Android."""
    names = (f"{job.app_version_id} android device",) if lacking is None else lacking
    return Unbuilt(job.ulid, version, names, JobError(ErrorClass.BUILD, "push it"))


def ending(ulid_: str, token: str, outcome: Outcome = Outcome.PASSED, now: int = NOW, **changes: Any) -> Ending:
    """The report of an attempt that ended now, after a second."""
    charge: Charge | None = None if outcome is Outcome.PASSED else charge_of(outcome)
    error = None if charge is None else JobError(error_class_of(charge), f"it {outcome.value}")
    values: dict[str, Any] = {
        "ulid": ulid_,
        "token": token,
        "outcome": outcome,
        "charge": charge,
        "started_at": now - 1000,
        "ended_at": now,
        "duration_ms": 1000,
        "share": 0.0,
        "error": error,
    }
    return Ending(**values | changes)


def unresolvable(ulid_: str, token: str, now: int = NOW) -> Ending:
    """The report that the build of an attempt does not exist."""
    error = JobError(ErrorClass.BUILD, "no such build")
    return ending(ulid_, token, Outcome.DEVICE_ERROR, now, charge=Charge.FINAL, error=error)


def release(
    ulid_: str, token: str, charge: ReleaseCharge = ReleaseCharge.NOBODY, now: int = NOW, share: float = 0.0
) -> Release:
    """A lease given back now."""
    return Release(ulid_, token, now, charge, "given back", share)

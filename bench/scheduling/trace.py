"""A trace: devices, what is known of tests from before, and jobs with the times that they come and take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import Priority, Target

TestKey = tuple[str, str, Target]
"""(org, test path, target): what durations are known by."""


@dataclass(frozen=True, slots=True)
class TraceDevice:
    """A device that is there from the beginning to the end, cold at first."""

    device_id: str
    target: Target
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class TraceJob:
    """A job. `at` (s) is when it is submitted, `seconds` what its test takes, which no policy sees."""

    at: float
    org_id: str
    app_version_id: str
    target: Target
    priority: Priority
    test_path: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Trace:
    """What is simulated. Jobs are known by their index in `jobs`."""

    install_seconds: float
    devices: tuple[TraceDevice, ...]
    jobs: tuple[TraceJob, ...]
    history: Mapping[TestKey, tuple[float, ...]] = field(default_factory=dict)

"""A trace: devices, what is known of tests from before, and jobs with the times that they come and take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements

TestKey = tuple[str, str, Target]
"""(org, test path, target): what durations are known by."""


@dataclass(frozen=True, slots=True)
class TraceDevice:
    """A device that is there from the beginning to the end, cold at first. Files tell its platform alone.

    `installs` and `busy_hours` are its wear from before.
    """

    device_id: str
    target: Target
    platform: str | None = None
    os_version: str | None = None
    model: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    installs: int = 0
    busy_hours: float = 0.0


@dataclass(frozen=True, slots=True)
class TraceJob:
    """A job. `at` (s) is when it is submitted, `seconds` what its test takes, which no policy sees.

    Files tell no `requirements`.
    """

    at: float
    org_id: str
    app_version_id: str
    target: Target
    priority: Priority
    test_path: str
    seconds: float
    requirements: Requirements = ANY_DEVICE


@dataclass(frozen=True, slots=True)
class Trace:
    """What is simulated. Jobs are known by their index in `jobs`."""

    install_seconds: float
    devices: tuple[TraceDevice, ...]
    jobs: tuple[TraceJob, ...]
    history: Mapping[TestKey, tuple[float, ...]] = field(default_factory=dict)

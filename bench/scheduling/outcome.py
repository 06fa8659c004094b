"""What a simulation saw."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Run:
    """A job that ran: on which device, from when to when (s)."""

    device_id: str
    began: float
    ended: float


@dataclass(slots=True)
class Install:
    """An installation of an app version on a device (s)."""

    device_id: str
    org_id: str
    app_version_id: str
    began: float
    ended: float


@dataclass(slots=True)
class GivenBack:
    """Jobs that a device had not begun, and held no more from then on (s)."""

    device_id: str
    at: float
    jobs: tuple[int, ...]


@dataclass(slots=True)
class Outcome:
    """What a simulation saw, by index of the job: how it ran, and when its start was expected at submission (s).

    The starts of jobs that began `at_once`, at most behind an installation, were no forecasts.
    """

    runs: dict[int, Run] = field(default_factory=dict)
    installs: list[Install] = field(default_factory=list)
    given_back: list[GivenBack] = field(default_factory=list)
    plan_ms: list[float] = field(default_factory=list)
    estimated_starts: dict[int, float] = field(default_factory=dict)
    at_once: set[int] = field(default_factory=set)

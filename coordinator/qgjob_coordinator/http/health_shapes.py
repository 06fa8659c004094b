"""CONTRACT's shapes of the probes, for /openapi.json: as `shapes`."""

from __future__ import annotations

from typing import Literal

from qgjob_coordinator.http.schemas import Time
from qgjob_coordinator.http.shapes import Answer, QueueShape, SchedulerShape

Level = Literal["ok", "note", "warning", "problem"]


class HealthShape(Answer):
    """Whether the coordinator can serve."""

    status: Literal["healthy", "unhealthy"]
    timestamp: Time
    version: str


class UnhealthyShape(HealthShape):
    """Health's answer and the error body in one."""

    error: str
    message: str


class StoreHealthShape(Answer):
    """The store as the coordinator sees it."""

    status: Literal["up", "down"]
    message: str | None
    version: str | None
    latency_ms: float | None


class FindingShape(Answer):
    """What a check of the diagnosis found, and what to do about it."""

    check: str
    level: Level
    subject: str | None
    found: str
    advice: str | None


class DetailedHealthShape(HealthShape):
    """Every part. `queue` and `scheduler` are null while the store is away; `level` is that of the worst finding."""

    uptime_seconds: float
    reasons: list[str]
    store: StoreHealthShape
    queue: QueueShape | None
    scheduler: SchedulerShape | None
    level: Level
    findings: list[FindingShape]


class ReadyShape(Answer):
    """Whether calls should be sent here; if not, why."""

    status: Literal["ready", "not_ready"]
    timestamp: Time
    reasons: list[str]


class NotReadyShape(ReadyShape):
    """Ready's answer and the error body in one."""

    error: str
    message: str


class LiveShape(Answer):
    """The process turns."""

    status: Literal["alive"]
    timestamp: Time

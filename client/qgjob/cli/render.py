"""How tables for people look: what fits where they are drawn, with a colour for each state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from qgjob._enums import JobStatus, Outcome
from qgjob.cli.tables import Column, Facts, Grid

STYLES: dict[str, str] = {
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


def grid(columns: Sequence[Column], rows: Iterable[Sequence[object]], now: datetime | None = None) -> Grid:
    """A table that fits where it is drawn; see `tables`."""
    return Grid(columns, rows, now, STYLES)


def facts(rows: Iterable[tuple[str, object]]) -> Facts:
    """Names and values of one thing; what is unset is left out."""
    return Facts(rows, STYLES)

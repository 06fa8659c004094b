"""What becomes of jobs that wait."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import JobError


@dataclass(slots=True)
class Promoted:
    """A job whose time has come; it had so many attempts before."""

    ulid: str
    attempts: int


class OverflowWord(StrEnum):
    """What became of a job whose overflow was judged."""

    MOVED = "MOVED"
    STAYS = "STAYS"
    CHANGED = "CHANGED"
    """It has another version than the one that was judged; it is judged anew."""
    GONE = "GONE"
    """It is not queued any more, or is past its first attempt."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A queued job whose overflow was judged, at a version. It goes to `move_to`, or stays (None) and is judged `again`
    at that time (ms). `expected_wait_ms`: None where no start was to be expected.
    """

    ulid: str
    version: int
    app_version_id: str
    move_to: Target | None
    expected_wait_ms: int | None
    again: int


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A queued job that ends with `error`, if it has still the `version` at which it was judged, and none of the builds
    is there that are `lacking`, by their names (see store/builds.py)."""

    ulid: str
    version: int
    lacking: tuple[str, ...]
    error: JobError

"""Evidence of attempts: the files that they left, and what of them nobody kept."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_FILES = 1000
"""Of one attempt."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept of one attempt at most, however many pushes bring it."""

    size_bytes: int
    files: int = MAX_FILES


class ArtifactKind(StrEnum):
    """What a file shows."""

    LOG = "log"
    JUNIT = "junit"
    SCREENSHOT = "screenshot"
    VIDEO = "video"
    TRACE = "trace"
    DEVICE_LOG = "device_log"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class OfferedFile:
    """A file as it is announced. `digest` is SHA-256 in lower-case hexadecimal."""

    name: str
    kind: ArtifactKind
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of an attempt that is kept. `pushed_at` in ms since the epoch."""

    job_id: str
    attempt: int
    file: OfferedFile
    pushed_at: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that an attempt left and that were not kept, and why. `files` is 0 where something could not be made."""

    files: int
    size_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Omission:
    """What was left out of an attempt's evidence."""

    job_id: str
    attempt: int
    left_out: LeftOut


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is kept of a job, by attempt and name, and what is not.

    `owners`: whose files bear no prefix, by attempt. `complete`: attempts of which all has come.
    """

    artifacts: tuple[Artifact, ...] = ()
    omissions: tuple[Omission, ...] = ()
    owners: tuple[tuple[int, str], ...] = ()
    complete: tuple[int, ...] = ()

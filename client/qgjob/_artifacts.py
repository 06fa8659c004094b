"""Files that attempts left. Times are aware datetimes in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob._shape import Shape, to_json

if TYPE_CHECKING:
    from datetime import datetime

    from qgjob._enums import ArtifactKind


@dataclass(frozen=True, slots=True)
class Artifact(Shape):
    """A file that is kept of an attempt. `name` is its path among the attempt's files, `digest` its SHA-256."""

    job_id: str
    attempt: int
    name: str
    kind: ArtifactKind
    digest: str
    size_bytes: int
    pushed_at: datetime


@dataclass(frozen=True, slots=True)
class ArtifactOmission(Shape):
    """What an attempt left and nobody kept, and why. `files` is 0 where something could not be made."""

    job_id: str
    attempt: int
    files: int
    size_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class ArtifactPage(Shape):
    """One page of what is kept of some jobs. What is not of one file is told on the first one only.

    `complete` are (job id, attempt) of which all has come.
    """

    next_page_token: str | None
    artifacts: tuple[Artifact, ...]
    omissions: tuple[ArtifactOmission, ...]
    complete: tuple[tuple[str, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The contract's list: `{count, artifacts, omissions, next_page_token}`."""
        return {
            "count": len(self.artifacts),
            "artifacts": to_json(self.artifacts),
            "omissions": to_json(self.omissions),
            "next_page_token": self.next_page_token,
        }

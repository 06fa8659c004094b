"""Suites. Times are aware datetimes in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob._shape import Shape, to_json

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Suite(Shape):
    """A test project that an org has pushed. `digest` is the SHA-256 of its archive, `name` that of its folder."""

    org_id: str
    digest: str
    size_bytes: int
    file_count: int
    name: str
    pushed_at: datetime


@dataclass(frozen=True, slots=True)
class PushedSuite(Shape):
    """What a push did. `uploaded` is False where the org had the suite already."""

    suite: Suite
    uploaded: bool


@dataclass(frozen=True, slots=True)
class SuitePage(Shape):
    """One page of suites. `next_page_token` is None on the last one."""

    next_page_token: str | None
    suites: tuple[Suite, ...]

    def to_dict(self) -> dict[str, Any]:
        """The contract's list: `{count, suites, next_page_token}`."""
        return {"count": len(self.suites), "suites": to_json(self.suites), "next_page_token": self.next_page_token}

"""What cancels and retries that people ask for do to jobs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qgjob_coordinator.model.enums import Status, Target


class CancelWord(StrEnum):
    """What a cancel did to one job."""

    CANCELLED = "CANCELLED"
    ALREADY = "ALREADY"
    ILLEGAL = "ILLEGAL"
    ROUND = "ROUND"
    MISSING = "MISSING"
    DETACHED = "DETACHED"
    OUTSIDE = "OUTSIDE"


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel did; `agent_id` and `token` name the lease to revoke."""

    ulid: str
    word: CancelWord
    status: Status | None
    round: int | None
    agent_id: str | None
    token: str | None
    target: Target | None = None


class RetryWord(StrEnum):
    """What a manual retry did to one job."""

    QUEUED = "QUEUED"
    ILLEGAL = "ILLEGAL"
    ROUND = "ROUND"
    MISSING = "MISSING"
    EQUAL = "EQUAL"


@dataclass(frozen=True, slots=True)
class Retried:
    """What a manual retry did; `equal` names the unfinished job that stands in the way."""

    ulid: str
    word: RetryWord
    status: Status | None
    round: int | None
    equal: str | None

"""How attempts and leases end, with an outcome and without one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qgjob_coordinator.model.enums import Charge, Outcome, Status, Target
from qgjob_coordinator.model.jobs import JobError, TestResult


class ReportWord(StrEnum):
    """What a report did."""

    APPLIED = "APPLIED"
    REPLAYED = "REPLAYED"
    STALE = "STALE"


@dataclass(slots=True)
class Ending:
    """An attempt that ended with an outcome of its own. `share` (0..1) is the jitter of a possible backoff.

    `with_start`: the report of its start came together with it, and is written with it. `elsewhere`: a retry is to
    keep away from its device, though it was the test that failed; `host_unfit`: from all of its host, where it was the
    infrastructure.
    """

    ulid: str
    token: str
    outcome: Outcome
    charge: Charge | None  # None: passed
    started_at: int
    ended_at: int
    duration_ms: int
    share: float
    install_ms: int | None = None
    result: TestResult | None = None
    error: JobError | None = None
    has_log: bool = False
    with_start: bool = False
    elsewhere: bool = False
    host_unfit: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """What the report of an Ending did: the job's status after it, and when a retry is due or its outcome.

    `released`: the lease was revoked before, so the outcome is STALE, but the lease ended with it.
    """

    word: ReportWord
    status: Status | None
    not_before: int | None
    outcome: Outcome | None = None
    target: Target | None = None
    released: Settled | None = None


class ReleaseCharge(StrEnum):
    """Whose budget a started attempt uses up that ends without an outcome."""

    LOST = "L"  # infrastructure, and the agent is counted as lost to this job
    OUTAGE = (
        "O"  # nobody, as long as a round has few of them: its agent was there, and the store or the way to it was not
    )
    INFRASTRUCTURE = "I"
    NOBODY = "N"


@dataclass(slots=True)
class Release:
    """A lease that ends without an outcome."""

    ulid: str
    token: str
    ended_at: int
    charge: ReleaseCharge
    message: str
    share: float


class LeaseEnd(StrEnum):
    """How a lease ended that no outcome counted for."""

    REVOKED = "R"  # its tree is dead, its attempt cancelled; the job has moved on before
    UNSTARTED = "U"
    LOST = "L"  # started
    NONE = "N"  # the job had none


@dataclass(frozen=True, slots=True)
class Settled:
    """Where a job stands after something was done to it that no report of an outcome asked for.

    `attempt`, `agent_id` and `device_id` are of the lease that ended.
    """

    ulid: str
    status: Status
    target: Target
    outcome: Outcome | None
    attempt: int
    lease: LeaseEnd
    agent_id: str | None = None
    device_id: str | None = None
    not_before: int | None = None

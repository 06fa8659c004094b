"""What the store's functions take and answer.

Those that are made once for each job of a batch are not frozen: frozen ones take several times as long to make.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from qgjob_coordinator.model.builds import Build, BuildFacts
from qgjob_coordinator.model.enums import Charge, Outcome, Status, Target
from qgjob_coordinator.model.fleet import Hold
from qgjob_coordinator.model.jobs import JobError, TestResult
from qgjob_coordinator.model.suites import Suite


class SubmitWord(StrEnum):
    """What became of a submitted job."""

    NEW = "NEW"
    REPLAYED = "REPLAYED"
    DEDUP = "DEDUP"
    KEYED = "KEYED"


@dataclass(slots=True)
class Submitted:
    """The job that a submission got; `removed_status` when only its tombstone is left."""

    word: SubmitWord
    ulid: str
    removed_status: str | None = None


class SubmitConflictError(Exception):
    """The job at `index` has the id, or the idempotency key, of one with another content. Nothing was changed.

    `field` says which of them. `holder` is the ulid of the job that the key stands for, None where that is no job yet.
    """

    def __init__(self, index: int, key_of: str | None = None) -> None:
        """`key_of` is None for an id; for a key its job, empty when that came with the same call."""
        super().__init__(index)
        self.index = index
        self.field = "job_id" if key_of is None else "idempotency_key"
        self.holder = key_of or None


@dataclass(frozen=True, slots=True)
class BoundTo:
    """The client to whose life the runs of a submission are bound, and how long it may be silent."""

    client_id: str
    after_ms: int


@dataclass(frozen=True, slots=True)
class Manner:
    """How a call submits, beside its jobs. `more_follows`: more calls with jobs of the same runs come after it."""

    more_follows: bool = False
    bound_to: BoundTo | None = None


class OperationReusedError(Exception):
    """The operation id was used for something else within its time. Nothing was changed."""

    def __init__(self, operation_id: str) -> None:
        super().__init__(operation_id)
        self.operation_id = operation_id


class HoldRule(StrEnum):
    """On what condition holds are set or ended."""

    NONE = ""
    RESERVE = "reserve"
    """No reservation is in force."""
    EXTEND = "extend"
    """One is, of which the reason stays where none is given."""
    RELEASE = "release"
    """One is."""
    RESUME = "resume"
    """A reservation is not all that is in force."""


class HoldWord(StrEnum):
    """What became of a word on a device or an agent."""

    OK = "OK"
    UNKNOWN = "UNKNOWN"
    RESERVED = "RESERVED"
    FREE = "FREE"


@dataclass(frozen=True, slots=True)
class Held:
    """The answer to an operator's word. OK: the sequence number of the holds, and the agent that it concerns.

    RESERVED (a reservation is in the way, which is `reservation`), FREE (there is none to end) and UNKNOWN (no such
    device or agent) changed nothing.
    """

    word: HoldWord
    number: int = 0
    agent_id: str = ""
    reservation: Hold | None = None


class ForgetWord(StrEnum):
    """What became of the wish to forget an agent; all but OK changed nothing."""

    OK = "OK"
    UNKNOWN = "UNKNOWN"
    OPEN = "OPEN"
    """Its session is not closed."""
    LEASES = "LEASES"
    """Its session is closed, and its leases are still to be released."""
    HEARD = "HEARD"
    """It was heard too lately."""
    HELD = "HELD"
    """A hold of it, or of a device of it, is in force."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The answer to the wish to forget an agent, with its devices."""

    word: ForgetWord
    devices: tuple[str, ...] = ()


class ClaimWord(StrEnum):
    """Whether a device got its batch."""

    OK = "OK"
    STALE = "STALE"
    MOVED = "MOVED"


@dataclass(slots=True)
class DeviceClaim:
    """A batch that a plan gives to one device. `serving_seen` is None for a warm device.

    `build` is which build the device needs, as `store.builds.name` has it; empty where that is not known.
    """

    agent_id: str
    epoch: int
    device_id: str
    gid: str
    serving_seen: int | None
    jobs: list[tuple[str, str]]  # ulid, token
    build: str = ""


@dataclass(slots=True)
class Grant:
    """A lease. `spec` is line 1 of the job's text, decoded."""

    ulid: str
    token: str
    attempt: int
    round: int
    created_at: int
    spec: dict[str, object]


class NameWord(StrEnum):
    """What giving a name to a content did."""

    NEW = "NEW"
    SAME = "SAME"
    REPLACED = "REPLACED"
    CONFLICT = "CONFLICT"
    LEAVING = "LEAVING"


class UploadWord(StrEnum):
    """How an upload to the store of a provider of devices stands, for the agent that asks."""

    YOURS = "YOURS"
    TAKEN = "TAKEN"
    KNOWN = "KNOWN"
    STALE = "STALE"
    FREE = "FREE"


@dataclass(frozen=True, slots=True)
class NamedBuild:
    """A build that an app version has, when it was last used (ms), and the value that says so in the store."""

    build: Build
    used_at: int
    found: str


@dataclass(frozen=True, slots=True)
class NamedSuite:
    """A suite that an org has, when it was last used (ms), and the value that says so in the store."""

    suite: Suite
    used_at: int
    found: str


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that an org has, or had. `since` (ms) is when their names changed last, `facts` None for a suite.

    While they are removed `since` is None, and `leaving_at` (ms) is when that began.
    """

    digest: str
    names: int
    since: int | None
    size_bytes: int
    facts: BuildFacts | None
    found: str
    leaving_at: int | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of one DeviceClaim; jobs that are in neither list had changed since the plan.

    `floor` is the lowest epoch that may claim, after STALE. `build` is what the device is to install, where one was
    pushed.
    """

    word: ClaimWord
    grants: tuple[Grant, ...] = ()
    over_quota: int = 0
    floor: int = 0
    build: NamedBuild | None = None


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


class ShownWord(StrEnum):
    """What a new session is told of an attempt that it shows."""

    ADOPTED = "ADOPTED"
    REVOKED = "REVOKED"
    GONE = "GONE"


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


class OpenWord(StrEnum):
    """Whether a session was opened."""

    OPENED = "OPENED"
    STALE = "STALE"
    IN_USE = "IN_USE"
    DEVICE = "DEVICE"


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer to an attempt to open a session; `other` names who stands in the way.

    Leases of sessions below `came_back_below` that the agent does not show came back with an older state of the store:
    it had a session before this life of the store and was not restarted since, so it knows that they are over.
    """

    word: OpenWord
    stored_epoch: int
    other: str
    came_back_below: int = 0


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What a reaper watches of one session. `seen_at` (ms) is when its agent was heard last, inf if nobody knows."""

    agent_id: str
    epoch: int
    counter: int
    state: str
    seen_at: float = field(default=math.inf, compare=False)


@dataclass(frozen=True, slots=True)
class Transition:
    """One line of the event stream."""

    ulid: str
    version: int
    status: Status
    attempt: int
    outcome: Outcome | None
    device_id: str | None
    agent_id: str | None

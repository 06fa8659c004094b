"""The nouns of the core: what the coordinator assigns, what a device is, and what is reported.

Treat every instance as immutable. They are plain slotted dataclasses and not frozen ones because an agent makes several
for each attempt, and a frozen dataclass costs three times as much to make.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Target(Enum):
    """The class of device that a job asks for."""

    EMULATOR = "emulator"
    DEVICE = "device"
    BROWSERSTACK = "browserstack"


class Health(Enum):
    """Whether a device can be trusted with work."""

    UNKNOWN = "unknown"
    GOOD = "good"
    BAD = "bad"
    MAINTENANCE = "maintenance"


class Outcome(Enum):
    """How an attempt or an installation ended."""

    PASSED = "passed"
    TEST_FAILED = "test_failed"
    TIMED_OUT = "timed_out"
    APP_CRASHED = "app_crashed"
    DEVICE_ERROR = "device_error"
    PROVIDER_ERROR = "provider_error"


class DeathCause(Enum):
    """Why an attempt was killed or dropped without a verdict of its own."""

    REVOKED = "revoked"
    LEASE_LOST = "lease_lost"
    SHUTDOWN = "shutdown"
    DEVICE_LOST = "device_lost"
    DISK_FULL = "disk_full"  # the agent's
    AGENT_LOST = "agent_lost"  # it did not outlive the end of the agent's host, or the agent stood still for too long


class Phase(Enum):
    """Where an attempt stands on this agent."""

    UNSTARTED = "unstarted"  # accepted, not begun: can be recalled
    RUNNING = "running"  # its installation or process tree lives
    DYING = "dying"  # told to end, and not known dead yet
    SPOOLED = "spooled"  # its last report is written down and not acknowledged


class Verdict(Enum):
    """The coordinator's answer to a report. Each of them lets the report leave the spool."""

    APPLIED = "applied"
    REPLAYED = "replayed"
    STALE = "stale"


class App(NamedTuple):
    """An org's app version and, where it was pushed, the digest of the build that it is now; None: not known."""

    org_id: str
    app_version_id: str
    digest: str | None = None

    def serves(self, wanted: App) -> bool:
        """Whether a device that has this needs no installation for what is wanted."""
        return self == wanted or (wanted.digest is None and self[:2] == wanted[:2])


@dataclass(slots=True, eq=False)
class Assignment:
    """One attempt to carry out. Times are milliseconds; `expected_ms` is 0 when unknown."""

    job_id: str
    token: str
    attempt: int
    round: int
    device_id: str
    org_id: str
    app_version_id: str
    test_path: str
    target: Target | None = None
    env: dict[str, str] = field(default_factory=dict)
    build_digest: str | None = None
    suite_digest: str | None = None
    timeout_ms: int = 0
    silence_timeout_ms: int = 0
    expected_ms: int = 0
    # With build_digest: what the file is (apk, aab, ipa, app), its package or bundle id, and its size.
    build_format: str = ""
    build_package: str = ""
    build_size_bytes: int = 0
    suite_size_bytes: int = 0  # with suite_digest
    # Of the installation that it waited for here: kept with what is begun, so that the next daemon can tell it.
    install_ms: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a device is. `device_id` is unique in the fleet, `udid` is the raw serial."""

    device_id: str
    udid: str
    target: Target
    platform: str | None = None
    os_version: str | None = None
    model: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    health: Health = Health.GOOD
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device as the coordinator is told of it: its facts, what is installed, and whether it can take work."""

    facts: DeviceFacts
    installed: App | None
    health: Health
    reason: str | None
    pushed_builds_only: bool = False


@dataclass(slots=True, eq=False)
class TestResult:
    """What a finished attempt counted. `summary` is one line for people, at most 500 characters."""

    __test__ = False  # pytest would take it for a class of tests

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    duration_ms: int = 0
    summary: str = ""


@dataclass(slots=True, eq=False)
class Started:
    """The test itself began, its build being installed. Milliseconds since the epoch."""

    started_at_ms: int


@dataclass(slots=True, eq=False)
class Progress:
    """0 to 100. Lossy: only the latest is worth sending."""

    percent: int


@dataclass(slots=True, eq=False)
class Finished:
    """The attempt ended by itself or by one of its limits, and its process tree is dead."""

    outcome: Outcome
    started_at_ms: int
    ended_at_ms: int
    duration_ms: int
    result: TestResult | None = None
    error: str | None = None
    install_ms: int | None = None
    unresolvable: bool = False
    begun: bool = False  # the test itself had begun: this report stands for its Started too, if that was not sent
    unfetched: bool = False  # what it needs could not be had at the moment, so the device did nothing
    host_unfit: bool = False  # it would end so on all of this host: it is unfetched, or nothing can be started


@dataclass(slots=True, eq=False)
class TreeDead:
    """The attempt was killed or dropped, and its process tree is dead. `started` is False if it was never begun."""

    cause: DeathCause
    ended_at_ms: int
    started: bool


class LivingProcess(NamedTuple):
    """A process that SIGKILL did not end. `state` is the kernel's letter: D or U waits within it, for a disk maybe."""

    pid: int
    state: str
    name: str


class LivingTree(NamedTuple):
    """What SIGKILL did not end of the tree of an execution, which is killed since that time (ms since the epoch)."""

    since_ms: int
    processes: tuple[LivingProcess, ...]


@dataclass(slots=True, eq=False)
class Installation:
    """One installation that ended, counted on the attempt that waited for it."""

    device_id: str
    org_id: str
    app_version_id: str
    outcome: Outcome
    install_ms: int
    job_id: str
    token: str


ReportBody = Started | Progress | Finished | TreeDead


@dataclass(slots=True, eq=False)
class SpooledReport:
    """A last report as it is found in the spool after a restart."""

    report_id: int
    job_id: str
    token: str
    attempt: int
    device_id: str
    body: Finished | TreeDead


@dataclass(slots=True, eq=False)
class HeldAttempt:
    """An attempt as it is shown to the coordinator. DYING is shown as RUNNING: its tree may live."""

    job_id: str
    token: str
    attempt: int
    phase: Phase
    device_id: str


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """Who the agent is. `instance_id` is random, one for each process life.

    `pushed_builds_only`: no build can be installed here that nobody pushed. `runner` is a label of its devices; empty:
    they have none.
    """

    agent_id: str
    instance_id: str
    version: str
    host: str
    pushed_builds_only: bool = False
    runner: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers that shape the core's behaviour. Times are seconds."""

    credit: int
    attempts_per_execution: int = 1
    flush_seconds: float = 0.002
    flush_reports: int = 512
    kill_grace_seconds: float = 10.0
    spool_retry_seconds: float = 1.0
    farewell_seconds: float = 5.0
    give_up_seconds: float = 10.0  # trees that outlive their grace by so much are left to their supervisors at the end
    lease_window: float = 0.8  # share of a lease in which this agent may start and run
    lease_grace: float = 0.1  # share of a lease that an execution gets between TERM and KILL at lease end
    overcommit: int = 4  # refuses assignments beyond so many times its credit
    min_free_bytes: int = 0  # of the disk; with less no new work is taken

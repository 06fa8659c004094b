"""What a diagnosis is made from. None in a field: it could not be learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import Agent, Device


@dataclass(frozen=True, slots=True)
class Replica:
    """A copy of the store: whether it keeps up, and how many seconds it was behind when it was last heard."""

    online: bool
    lag_seconds: int


@dataclass(frozen=True, slots=True)
class SlowCall:
    """A call that the store logged as slow: the script or command, how long it took, how long ago it was."""

    name: str
    took_ms: float
    ago_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFacts:
    """One look at the store. `version` is its own, `compatible` the Redis version that it answers to.

    `clock_ahead_ms` is its clock less the coordinator's, known to within `clock_error_ms`. `fsync` is that of the
    append-only file. `fails_over`: another server is to take its place when it dies; `wanted_replicas` is how many
    have to keep up for it to take writes. Counts are since the start of its process.
    """

    server: str
    version: tuple[int, ...]
    compatible: tuple[int, ...]
    uptime_seconds: int
    ping_ms: tuple[float, ...]
    clock_ahead_ms: float
    clock_error_ms: float
    eviction: str
    evicted_keys: int
    used_bytes: int
    max_bytes: int
    machine_bytes: int
    clients: int
    max_clients: int
    aof: bool
    fsync: str | None
    aof_written: bool
    aof_rewritten: bool
    aof_delayed: int
    snapshot_saved: bool
    primary: bool
    replicas: tuple[Replica, ...] = ()
    fails_over: bool = False
    wanted_replicas: int | None = None
    slow: tuple[SlowCall, ...] | None = None
    coordinators: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorFacts:
    """A coordinator's own state and settings. `lag_seconds`: how late its event loop was at worst in a minute."""

    version: str
    uptime_seconds: float
    lag_seconds: float
    stopping: bool
    host: str
    exposed: bool
    store: str
    durability: str
    heartbeat_seconds: float
    session_timeout_seconds: float
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """An agent whose latest Hello was refused by this coordinator, at a time in ms."""

    agent_id: str
    why: str
    at: int


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """The fleet at `now` (ms), and what this coordinator alone knows of its agents.

    `opened` is how many sessions each agent opened here lately, `clock_ahead_ms` its clock less the coordinator's.
    `unstarted` is how many jobs could not be started on an agent's host, where they are enough to tell of.
    """

    now: int
    agents: Sequence[Agent]
    devices: Sequence[Device]
    refusals: Sequence[Refusal] = ()
    opened: Mapping[str, int] = field(default_factory=dict)
    clock_ahead_ms: Mapping[str, float] = field(default_factory=dict)
    unstarted: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Damaged:
    """An org that is set aside: by which parts of the coordinator, what one of them met, and for how long (s).

    `jobs` are ids of some that can't be used, where any were found.
    """

    org_id: str
    parts: tuple[str, ...]
    error: str
    seconds: float
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unserved:
    """Jobs of one group that wait and ask the same, which no known device could serve, of their second target neither.

    `asks` is what they ask in words.
    """

    org_id: str
    app_version_id: str
    target: Target
    asks: str
    jobs: int


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """Jobs that wait, those of them whose time has not come, and since when the oldest does."""

    queued: int
    not_yet: int
    oldest_age_seconds: float
    unserved: Sequence[Unserved] = ()


@dataclass(frozen=True, slots=True)
class MissingBuild:
    """A build that the store names and whose bytes are not in the blob store. `slot` is that of `model.builds`."""

    org_id: str
    app_version_id: str
    slot: str


@dataclass(frozen=True, slots=True)
class BlobFacts:
    """The blob store: why it is `away`, or how many builds were looked at, which is all of them where `whole`."""

    away: str | None
    builds: int = 0
    missing: Sequence[MissingBuild] = ()
    whole: bool = True

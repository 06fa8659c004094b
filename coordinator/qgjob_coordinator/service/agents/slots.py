"""What one session knows of its devices and of the attempts they hold. Pure bookkeeping; the truth is in the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import DeviceHealth
from qgjob_coordinator.model.fleet import DeviceInfo, Hold, in_force
from qgjob_coordinator.policy.snapshot import AHEAD_SECONDS, TYPICAL_SECONDS, Asked, DeviceView, free_in

# Looked up once: every free device is asked in every round.
_BAD, _MAINTENANCE = DeviceHealth.BAD, DeviceHealth.MAINTENANCE
_AHEAD_MS = 1000 * AHEAD_SECONDS


@dataclass(slots=True)
class Lease:
    """An attempt that an agent holds, expected to take `seconds`. `asks` is what its job asks of the device, if known.

    `unseen_beats` counts heartbeats in a row that did not show it, and `asked` is the question that the agent was sent
    about it then (0: none).
    """

    org_id: str
    ulid: str
    token: str
    gid: str
    device_id: str
    attempt: int
    seconds: float = TYPICAL_SECONDS
    score: int = 0
    asks: Asked | None = None
    started: bool = False
    has_log: bool = False
    unseen_beats: int = 0
    asked: int = 0
    recalled: bool = False


@dataclass(slots=True)
class Slot:
    """A device of a session. `leases` are in the order in which they are carried out."""

    info: DeviceInfo
    labels: dict[str, str] = field(default_factory=dict)
    operator_labels: dict[str, str] = field(default_factory=dict)
    holds: Sequence[Hold] = ()
    # The one that its own failures led to, which a probe ends.
    quarantine: Hold | None = None
    # So much failed on it that another device should try what fails next.
    suspect: bool = False
    installed: tuple[str, str] | None = None
    leases: dict[str, Lease] = field(default_factory=dict)
    # Tokens that the agent holds and the store does not grant: the device is not free until their end is reported.
    strays: set[str] = field(default_factory=set)
    # When what it holds is expected to be done, since when it has what is installed, and nothing to do; in ms.
    free_at: int = 0
    home_since: int = 0
    idle_since: int = 0
    # How long it had had nothing to do before it was given what it holds.
    idled_ms: int = 0
    # Its wear, and how much of the second the store was not told yet.
    installs: int = 0
    busy_ms: int = 0
    untold_ms: int = 0
    _busy_since: int = 0
    _seconds: float = 0.0  # what all its leases take
    _view: DeviceView | None = None

    def changed(self) -> None:
        """Something that the policy sees changed."""
        self._view = None

    def gain(self, lease: Lease, now: int, install_seconds: float = 0.0) -> None:
        """Another attempt is held, behind an installation of so many seconds."""
        if not self.leases:
            self.free_at = self._busy_since = now
            self.idled_ms = now - self.idle_since
        self.leases[lease.token] = lease
        self._seconds += lease.seconds
        self.free_at += round((install_seconds + lease.seconds) * 1000)
        self.changed()

    def begin(self, token: str, now: int) -> None:
        """An attempt runs from now on, however long the installation before it was expected to take."""
        if token == next(iter(self.leases), None):
            self.free_at = now + round(1000 * self._seconds)
            self.changed()

    def lose(self, token: str, now: int) -> None:
        """An attempt is over, and the next one begins; or one behind it is held no more."""
        runs = next(iter(self.leases), None)
        lease = self.leases.pop(token, None)
        if lease is None:
            return
        self._seconds = self._seconds - lease.seconds if self.leases else 0.0
        if token == runs:
            self.free_at = now + round(1000 * self._seconds)
            worked = max(0, now - self._busy_since)
            self.busy_ms, self.untold_ms, self._busy_since = self.busy_ms + worked, self.untold_ms + worked, now
        else:
            self.free_at -= round(1000 * lease.seconds)
        if not self.leases:
            self.idle_since = now
        self.changed()

    def worn(self, installs: int, busy_ms: int) -> None:
        """What the store knows of its wear, which may be a moment behind."""
        self.installs, self.busy_ms = max(self.installs, installs), max(self.busy_ms, busy_ms)
        self.changed()

    def install(self, what: tuple[str, str] | None, now: int, done: int) -> None:
        """`what`, (org, app version), lies on the device from now on, after `done` installations."""
        self.installs += done
        if what != self.installed:
            self.installed, self.home_since = what, now
        self.changed()

    def wants(self, most: int, now: int) -> bool:
        """Whether it takes more: it holds at most so many attempts, and will be done with them in a moment."""
        if not self.leases:
            return True
        if self.free_at - now >= _AHEAD_MS:  # as most that work, and never done sooner than that
            return False
        return len(self.leases) <= most and free_in(self.free_at, self._next_at(), now) < AHEAD_SECONDS

    def _next_at(self) -> int:
        """When what it runs is expected to be done."""
        runs = next(iter(self.leases.values()), None)
        return self.free_at if runs is None else self.free_at - round(1000 * (self._seconds - runs.seconds))

    def takes_work(self, now: int) -> bool:
        """Whether health and holds allow new work."""
        health = self.info.health
        if self.strays or self.quarantine is not None or health is _BAD or health is _MAINTENANCE:
            return False
        return not self.holds or not in_force(self.holds, now)

    def view(self, agent_id: str) -> DeviceView:
        """The device as the policy sees it; made anew only after a change."""
        view = self._view
        if view is None:
            view = self._view = self._look(agent_id)
        return view

    def _look(self, agent_id: str) -> DeviceView:
        i = self.info
        leases = iter(self.leases.values())
        first, second = next(leases, None), next(leases, None)
        held = len(self.leases)
        return DeviceView(
            i.device_id,
            agent_id,
            i.target,
            i.platform,
            i.os_version,
            i.model,
            self.labels,
            self.installed,
            held,
            None if first is None else (first.org_id, first.gid),
            self.free_at,
            self.home_since,
            self.idle_since,
            self.installs,
            self.busy_ms / 3_600_000,
            max(0, held - 1),
            self._next_at(),
            0 if second is None else second.score,
            None if second is None else second.asks,
            self.idled_ms,
            i.build_slot,
        )

"""The plan: which device takes which jobs now. Deterministic: the same snapshot gives the same plan in whatever order
its parts come.

The stages: `feasible` (who may serve what), `rank` (the order of jobs), `switching` (when a warm device leaves its
group), `fanout` (whether one more device is worth an installation), `fairness` (shares of orgs), `batch` (how much at
once).
"""

from __future__ import annotations

from operator import attrgetter

from qgjob_coordinator.policy.batch import batch
from qgjob_coordinator.policy.fairness import share
from qgjob_coordinator.policy.fanout import worth_joining
from qgjob_coordinator.policy.rank import ORDERS_PER_MS, urgency
from qgjob_coordinator.policy.snapshot import Assignment, DeviceView, Head, Plan, Snapshot
from qgjob_coordinator.policy.switching import leaves_for
from qgjob_coordinator.policy.work import Books, Work

EVEN_SECONDS = 30
"""Jobs whose ages differ by less are of the same age where groups are compared."""

_by_id = attrgetter("device_id")


class _Planner:
    """One round."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._books = Books(snapshot)
        self._now = snapshot.now
        self.assignments: list[Assignment] = []

    def run(self, devices: tuple[DeviceView, ...]) -> Plan:
        """Warm devices first, so that no cold one takes what a warm one would serve without an install."""
        cold: list[DeviceView] = []
        for device in sorted(devices, key=_by_id):
            home = self._books.home(device)
            if not self._stay(device, home) and device.held == 0:
                cold.append(device)
        self._serve_cold(cold)
        return Plan(tuple(self.assignments))

    def _stay(self, device: DeviceView, home: Work | None) -> bool:
        """Gives a warm device work of its group, unless a rule moves it; whether it got some."""
        if home is None or not home.left or not self._joinable(home, device):
            return False
        first = self._books.next_for(home, device)
        if first is None:
            return False
        if device.held == 0:
            there = self._called_away(device, home, first)
            if there is not None:
                return self._assign(device, there)
        return self._assign(device, home)

    def _called_away(self, device: DeviceView, home: Work, first: Head) -> Work | None:
        """The group that the device leaves its own for."""
        best: tuple[object, Work] | None = None
        for work in self._books.by_target[device.target]:
            if work is home or not work.left or not self._joinable(work, device):
                continue
            head = self._books.next_for(work, device)
            if head is None or not leaves_for(self._books, device, home, first, work, head):
                continue
            rank = self._rank(work, head)
            if best is None or rank < best[0]:  # type: ignore[operator]
                best = (rank, work)
        return best[1] if best else None

    def _joinable(self, work: Work, device: DeviceView) -> bool:
        return self._books.has_room(work) and self._books.may_join(work, device)

    def _rank(self, work: Work, head: Head) -> tuple[int, float, int, float, int, tuple[str, str]]:
        """Which group a device should join first: urgency, then the smaller share, the older job, the most work."""
        age = head.score // (EVEN_SECONDS * 1000 * ORDERS_PER_MS)
        most = -work.per_device(1)
        return (-urgency(head, self._now), share(self._books, work.key[0], 1), age, most, head.score, work.key)

    def _serve_cold(self, devices: list[DeviceView]) -> None:
        """Devices without work of their own, one after the other, to the best group for each."""
        for device in sorted(devices, key=self._missed_least):
            if not self._books.left:
                return
            best: tuple[object, Work] | None = None
            for work in self._books.by_target[device.target]:
                if not work.left or not self._joinable(work, device):
                    continue
                head = self._books.next_for(work, device)
                if head is None or not worth_joining(self._books, work, head):
                    continue
                rank = self._rank(work, head)
                if best is None or rank < best[0]:  # type: ignore[operator]
                    best = (rank, work)
            if best is not None:
                self._assign(device, best[1])

    def _missed_least(self, device: DeviceView) -> tuple[object, ...]:
        """Which of several cold devices goes first: the one whose installation is of least use, then the least worn."""
        version = None if device.installed is None else (*device.installed, device.target)
        alive = version is not None and version in self._books.alive
        return (version is not None, alive, device.idle_since, device.installs, device.busy_hours, device.device_id)

    def _assign(self, device: DeviceView, work: Work) -> bool:
        """Takes a batch for the device; False when there is nothing for it to take."""
        books = self._books
        joining = device.device_id not in work.serving
        seen = len(work.serving) if joining else None
        warm = books.home(device) is work
        heads = batch(books, work, device)
        if not heads:
            return False
        books.left -= len(heads)
        if device.held == 0:
            books.idle[device.target] -= 1
            books.devices_of_org[work.key[0]] += 1
            if not warm:
                work.joined(device.device_id)
        if work.key[0] in books.room:
            books.room[work.key[0]] -= len(heads)
        self.assignments.append(
            Assignment(
                device.device_id,
                device.agent_id,
                *work.key,
                tuple(h.ulid for h in heads),
                seen,
                tuple(work.seconds_of(h) for h in heads),
                0.0 if warm else work.install,
            )
        )
        return True


def plan(snapshot: Snapshot) -> Plan:
    """Proposes batches for the devices of a snapshot. Commits may refuse them; a plan may be stale, never wrong."""
    return _Planner(snapshot).run(snapshot.devices)

"""The plan: which device takes which jobs now. Deterministic: the same snapshot gives the same plan in whatever order
its parts come.

The stages: `feasible` (who may serve what), `rank` (the order of jobs), `switching` (when a warm device leaves its
group) and `calling` (for which other one), `joining` (which group a cold one takes), `precedence` (which of several
groups comes first), `preference` (which of several devices), `fanout` (whether one more device is worth an
installation), `fairness` (shares of orgs), `places` (limits of orgs and groups), `batch` (how much at once). What they
read, and what was decided so far, stands in `books`.
"""

from __future__ import annotations

from collections import defaultdict

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.planning.batch import batch
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.calling import Callers
from qgjob_coordinator.policy.planning.joining import Offers
from qgjob_coordinator.policy.planning.places import may_take
from qgjob_coordinator.policy.planning.preference import Preference
from qgjob_coordinator.policy.planning.work import Work
from qgjob_coordinator.policy.proposals import Assignment, Plan
from qgjob_coordinator.policy.snapshot import DeviceView, Head, Snapshot


class _Planner:
    """One round."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._preference = Preference(books.snapshot, books.groups)
        self._callers: dict[Target, Callers] = {}
        self.assignments: list[Assignment] = []

    def run(self, devices: tuple[DeviceView, ...]) -> Plan:
        """Warm devices first, so that no cold one takes what a warm one would serve without an install; of these first
        those that have nothing to do, so that no job waits behind another one that might begin.
        """
        cold: list[DeviceView] = []
        homes = [(device, self._books.home(device)) for device in self._preference.warm(devices)]
        for device, home in homes:
            if home is not None and not device.held:
                self._books.fleet.to_be_asked(device, home.key[0])
        for device, home in homes:
            if home is not None and not device.held:
                self._books.fleet.asked(device, home.key[0])
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
        there = self._called(device, home, first)
        if there is None:
            return self._assign(device, home)
        # One that still runs something gets nothing ahead: it is called away when it is done.
        return device.held == 0 and self._assign(device, there)

    def _called(self, device: DeviceView, home: Work, first: Head) -> Work | None:
        """The group that calls the device away from its own, now or when it has done what it holds."""
        books = self._books
        if len(books.groups.of(device.target)) == 1:
            return None
        callers = self._callers.get(device.target)
        if callers is None:
            callers = self._callers[device.target] = Callers(books, device.target)
        if not callers.any_for(home, first):
            return None
        if device.held == 0:
            return callers.best(device, home, first)
        with books.done(device, home):
            return callers.best(device, home, first)

    def _joinable(self, work: Work, device: DeviceView) -> bool:
        return may_take(self._books, work, device)

    def _serve_cold(self, devices: list[DeviceView]) -> None:
        """Devices without work of their own, one after the other, to the best group for each."""
        by_target: dict[Target, list[DeviceView]] = defaultdict(list)
        for device in devices:
            by_target[device.target].append(device)
        for target, cold in sorted(by_target.items()):
            offers = Offers(self._books, target)
            for device in self._preference.cold(target, cold):
                work = offers.best(device)
                if work is not None:
                    self._assign(device, work)
                if not offers:
                    break

    def _assign(self, device: DeviceView, work: Work) -> bool:
        """Takes a batch for the device; False when there is nothing for it to take."""
        books = self._books
        joining = device.device_id not in work.serving
        seen = len(work.serving) if joining else None
        warm = books.home(device) is work
        heads = batch(books, work, device)
        if not heads:
            return False
        if device.held == 0:
            books.serves(device, work.key[0])
            if not warm:
                work.joined(device.device_id)
        books.holds(work.key[0], len(heads))
        scores, ulids, _ = zip(*heads, strict=True)
        seconds = tuple([work.seconds_of(h) for h in heads])
        install = 0.0 if warm else work.install
        self.assignments.append(
            Assignment(
                device.device_id,
                device.agent_id,
                *work.key,
                ulids,
                seen,
                seconds,
                install,
                scores,
                work.asked(heads),
                work.group.app_version_id,
            )
        )
        return True


def plan(snapshot: Snapshot) -> Plan:
    """Proposes batches for the devices of a snapshot. Commits may refuse them; a plan may be stale, never wrong."""
    return planned(snapshot)[0]


def planned(snapshot: Snapshot) -> tuple[Plan, Books]:
    """The plan, and the books as it leaves them: they tell why it gave a device nothing."""
    books = Books(snapshot)
    return _Planner(books).run(snapshot.devices), books

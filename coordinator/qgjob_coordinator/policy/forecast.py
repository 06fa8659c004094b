"""When waiting jobs will start and groups will end, as far as anybody can tell now.

The plan is played forward with groups as fluids: each device that serves a group drains it at a second of work a
second; one whose group runs dry goes where the plan would send it, installs, and drains that group, and one whose
group has no urgent job left may be called away to another that has. Shares of orgs are left out, and so is what will be
submitted later. It costs a step for each device and each group that runs dry, whatever the number of jobs.

Groups to join are kept in a heap, as in `joining`: while a group drains and gets devices it ranks lower and is worth
less, so none ranks better than the heap says. One that a device was called away from is put there again.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.joining import EVEN_SECONDS
from qgjob_coordinator.policy.rank import CLASS_SECONDS, ORDERS_PER_MS, URGENT, urgency, waited
from qgjob_coordinator.policy.snapshot import DeviceView, Snapshot
from qgjob_coordinator.policy.switching import PATIENCE_INSTALLS, STAY_INSTALLS
from qgjob_coordinator.policy.work import Books, GroupKey, Work

RUNNING_SHARE = 0.9
"""Of what jobs take, the part that those which run now have still before them, on average: the mean residual life
(1 + cv^2) / 2 of a renewal process, for durations whose deviation is nine tenths of their mean."""
SPREAD = 0.9
"""Deviation of a job's duration, as a share of what it is expected to take, where that is known from its group only."""
LEAST = 1e-6
"""Less work than this is none."""
CHECK = -2
"""The version of events that look whether devices of a group are called away."""
SURE = 0.1
"""A start is told no closer than to this share of the time until then."""


Rank = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Expected:
    """A time from now, and the band that most such times lie in; seconds."""

    seconds: float
    least: float
    most: float


@dataclass(slots=True)
class _Flow:
    """A group as it drains. `times` and `served` (s) go together: how much of its work is done by when.

    `urgent` is how much of its work is urgent from the beginning; that is done first.
    """

    work: Work
    left: float
    urgent: float
    serving: int = 0
    draining: int = 0
    times: list[float] = field(default_factory=lambda: [0.0])
    served: list[float] = field(default_factory=lambda: [0.0])
    rates: list[int] = field(default_factory=lambda: [0])
    version: int = 0

    def advance(self, now: float) -> None:
        """Drains up to `now`."""
        passed = now - self.times[-1]
        if passed <= 0:
            return
        done = min(self.left, passed * self.draining)
        self.left -= done
        self.times.append(now)
        self.served.append(self.served[-1] + done)
        self.rates.append(self.draining)

    @property
    def urgent_left(self) -> float:
        """Urgent work that waits."""
        return max(0.0, self.urgent - self.served[-1])

    def begins(self) -> float:
        """When its first device begins."""
        return next((t for t, rate in zip(self.times, self.rates[1:], strict=False) if rate), self.times[-1])

    def when(self, amount: float) -> tuple[float, int] | None:
        """When so much work is done, and by how many devices then; None if never."""
        i = bisect_left(self.served, amount)
        if i == len(self.served):
            return None
        if i == 0:
            return self.times[0], max(1, self.draining)
        share = (amount - self.served[i - 1]) / (self.served[i] - self.served[i - 1])
        return self.times[i - 1] + share * (self.times[i] - self.times[i - 1]), max(1, self.rates[i])


class Forecast:
    """One look ahead from a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._now = snapshot.now
        self._books = Books(snapshot)
        self._fan_out = snapshot.limits.fan_out
        self._flows = {key: _Flow(work, work.seconds, self._urgent(work)) for key, work in self._books.works.items()}
        self._firsts = {key: work.first(range(len(work.group.queues))) for key, work in self._books.works.items()}
        self._events: list[tuple[float, int, GroupKey | None, DeviceView | None, int]] = []
        self._number = count()
        self._at: dict[GroupKey, list[DeviceView]] = {key: [] for key in self._flows}
        self._offers: dict[Target, list[tuple[Rank, GroupKey]]] = defaultdict(list)
        self._picky = [flow for flow in self._flows.values() if not flow.work.plain]
        self._callers = [flow for flow in self._flows.values() if flow.urgent > LEAST]
        for device in sorted(chain(snapshot.busy, snapshot.devices), key=lambda d: d.device_id):
            home = self._books.home(device)
            if home is not None:
                self._flows[home.key].serving += 1
            self._push(self._books.free_in(device), home.key if home else None, device)
        for key, flow in self._flows.items():
            self._push(self._patient_until(key), key, None, CHECK)
            self._offer(flow)
        self._run()

    def start(self, key: GroupKey, ahead: float, position: int) -> Expected | None:
        """When the `position`-th job of a group starts, with so much work (s) before it; None: not known."""
        flow = self._flows.get(key)
        if flow is None:
            return None
        typical = flow.work.seconds / max(1, flow.work.left)
        found = flow.when(0.0 if position <= 1 else max(0.0, ahead))
        if found is None:
            return None
        at, rate = found
        # A job starts when those before it have been given out, which is before they are done.
        at = max(flow.begins(), at - RUNNING_SHARE * typical / 2)
        spread = SPREAD * typical * math.sqrt(position) / rate + SURE * at + typical / rate / 2
        return Expected(at, max(0.0, at - spread), at + spread)

    def end(self, key: GroupKey) -> Expected | None:
        """When the group's waiting work is done."""
        flow = self._flows.get(key)
        if flow is None or flow.left > 1e-6:
            return None
        at = flow.times[bisect_left(flow.served, flow.served[-1])]
        spread = SPREAD * flow.work.group.typical_seconds * math.sqrt(flow.work.left) + SURE * at
        return Expected(at, max(0.0, at - spread), at + spread)

    def work(self, key: GroupKey) -> Work | None:
        """A group with waiting jobs."""
        return self._books.works.get(key)

    def groups(self) -> Sequence[GroupKey]:
        """Groups with waiting jobs."""
        return list(self._flows)

    # ---- playing it forward ----

    def _push(self, at: float, key: GroupKey | None, device: DeviceView | None, version: int = -1) -> None:
        heapq.heappush(self._events, (at, next(self._number), key, device, version))

    def _run(self) -> None:
        while self._events:
            now, _, key, device, version = heapq.heappop(self._events)
            if device is None:
                flow = self._flows[key]  # type: ignore[index]
                if version == CHECK:
                    self._call_away(flow, now)
                elif flow.version == version:
                    self._dry(flow, now)
            elif key is not None and self._flows[key].left > 0:
                self._drain(self._flows[key], device, now)
            else:
                if key is not None:
                    self._flows[key].serving -= 1
                self._choose(device, now)

    def _drain(self, flow: _Flow, device: DeviceView, now: float) -> None:
        flow.advance(now)
        flow.draining += 1
        self._at[flow.work.key].append(device)
        self._predict(flow, now)
        self._push(now, flow.work.key, None, CHECK)

    def _predict(self, flow: _Flow, now: float) -> None:
        flow.version += 1
        if flow.draining:
            self._push(now + flow.left / flow.draining, flow.work.key, None, flow.version)
            if flow.urgent_left:
                self._push(now + flow.urgent_left / flow.draining, flow.work.key, None, CHECK)

    def _dry(self, flow: _Flow, now: float) -> None:
        flow.advance(now)
        flow.left = 0.0
        devices, self._at[flow.work.key] = self._at[flow.work.key], []
        flow.draining = 0
        flow.serving -= len(devices)
        for device in devices:
            self._choose(device, now)

    def _choose(self, device: DeviceView, now: float) -> None:
        best = self._best_offer(device.target, now)
        for flow in self._picky:
            if flow.work.group.target is not device.target or not self._books.lines(flow.work, device):
                continue
            if self._worth(flow, now):
                offer = self._rank(flow), flow.work.key
                best = offer if best is None else min(best, offer)
        if best is not None:
            self._send(device, self._flows[best[1]], now)

    def _offer(self, flow: _Flow) -> None:
        if flow.work.plain:
            heapq.heappush(self._offers[flow.work.group.target], (self._rank(flow), flow.work.key))

    def _best_offer(self, target: Target, now: float) -> tuple[Rank, GroupKey] | None:
        """The best of the groups that any device of the target may serve."""
        heap = self._offers[target]
        while heap:
            told, key = heap[0]
            flow = self._flows[key]
            if not self._worth(flow, now):
                heapq.heappop(heap)
                continue
            ranked = self._rank(flow)
            if ranked == told:
                return heap[0]
            heapq.heapreplace(heap, (ranked, key))
        return None

    def _worth(self, flow: _Flow, now: float) -> bool:
        """Whether one more device is worth its installation; what drains is drained up to `now`."""
        if flow.left <= 0:
            return False
        flow.advance(now)
        return flow.serving <= 0 or flow.left / flow.serving >= self._fan_out * flow.work.install

    def _send(self, device: DeviceView, flow: _Flow, now: float) -> None:
        flow.serving += 1
        self._push(now + flow.work.install, flow.work.key, device)

    def _rank(self, flow: _Flow) -> Rank:
        """As joining.rank, for what is left of the group."""
        head = self._firsts[flow.work.key]
        if head is None:
            return (0, 0, 0)
        first = urgency(head, self._now)
        now = first if first < URGENT or flow.urgent_left > LEAST else URGENT - 1
        return (-now, head.score // (EVEN_SECONDS * 1000 * ORDERS_PER_MS), -flow.left / (flow.serving + 1))

    # ---- the class rule of switching ----

    def _urgent(self, work: Work) -> float:
        heads = (h for q in work.group.queues for h in q.heads)
        return sum(work.seconds_of(h) for h in heads if urgency(h, self._now) >= URGENT)

    def _patient_until(self, key: GroupKey) -> float:
        """From when on the group's urgent jobs call devices away."""
        head = self._firsts[key]
        if head is None:
            return 0.0
        urgent_for = waited(head, self._now) - URGENT * CLASS_SECONDS
        return max(0.0, PATIENCE_INSTALLS * self._flows[key].work.install - urgent_for)

    def _call_away(self, flow: _Flow, now: float) -> None:
        """Devices whose group has nothing urgent left, to groups that have and that nobody serves."""
        flow.advance(now)
        while flow.draining and flow.urgent_left <= LEAST and flow.left > LEAST:
            if flow.serving == 1 and flow.left < STAY_INSTALLS * flow.work.install:
                return
            callers = [
                other
                for other in self._callers
                if other.serving <= 0
                and other.urgent_left > LEAST
                and other.work.group.target is flow.work.group.target
                and self._patient_until(other.work.key) <= now + LEAST
            ]
            if not callers:
                return
            device = self._at[flow.work.key].pop()
            flow.draining -= 1
            flow.serving -= 1
            self._predict(flow, now)
            self._offer(flow)
            self._send(device, min(callers, key=self._rank), now)

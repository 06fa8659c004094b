"""Waiting jobs as a fluid: jobs of a group that the same devices may serve, drained a second of work a second by each.

Starts and ends are read from how much of a flow is `served` by when. Times are seconds from the snapshot's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from qgjob_coordinator.policy.forecast.expected import RUNNING_SHARE, SPREAD, SURE, Expected, around
from qgjob_coordinator.policy.forecast.reach import DeviceIds
from qgjob_coordinator.policy.forecast.served import Served
from qgjob_coordinator.policy.planning.fairness import PATIENCE_INSTALLS
from qgjob_coordinator.policy.planning.precedence import EVEN
from qgjob_coordinator.policy.planning.work import GroupKey, Work
from qgjob_coordinator.policy.rank import URGENT, urgency, urgent_for
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head

LEAST = 1e-6
"""Less work than this is none."""

Rank = tuple[float, float, float]


@dataclass(slots=True, eq=False)
class Server:
    """A device: what is installed on it, the group that it serves or is on its way to, and the org it works for.

    `sets` are the numbers of the sets of devices that it is in: it may serve flows of these.
    """

    view: DeviceView
    sets: tuple[int, ...]
    build: tuple[str, str] | None
    group: Serving | None = None
    org_id: str | None = None


@dataclass(slots=True, eq=False)
class Serving:
    """A group as it is served: its flows, and how many devices serve it or are on their way.

    One more is worth its installation (of `install` s) when each has `enough` seconds before it, and if there are fewer
    than `most`. `remaining` is what is left (s), when its flows were looked at last.
    """

    key: GroupKey
    build: tuple[str, str]
    install: float
    enough: float
    most: float
    flows: list[Flow] = field(default_factory=list)
    serving: int = 0
    remaining: float = 0.0

    def left(self, now: float) -> float:
        """Work (s) that waits."""
        for flow in self.flows:
            if flow.servers:
                flow.advance(now)
        return self.remaining

    @property
    def full(self) -> bool:
        """It may have no more devices."""
        return self.serving >= self.most

    def count(self, server: Server, more: int) -> None:
        """So many `more` devices like this one: the group has them, and the flows that it may serve."""
        self.serving += more
        for flow in self.flows:
            if server.view.device_id in flow.devices:
                flow.serving += more

    def flow_for(self, server: Server) -> Flow | None:
        """The flow that a device drains, of those that it may serve."""
        mine = [f for f in self.flows if f.left > 0 and server.view.device_id in f.devices]
        return min(mine, key=Flow.turn_of, default=None)


class Flow:
    """Jobs of a group that the same devices may serve.

    `left` is the work (s) that is not done by `served.until`; `urgent` is how much is urgent from the beginning, and
    done first. `serving` devices that may serve it serve its group, or are on their way; `servers` drain it now.
    """

    __slots__ = (
        "_age",
        "_shown",
        "_sums",
        "_turns",
        "_urgency",
        "devices",
        "group",
        "left",
        "offer",
        "patient_until",
        "served",
        "servers",
        "serving",
        "urgent",
        "version",
        "work",
    )

    def __init__(self, group: Serving, part: GroupView, devices: DeviceIds, now: int) -> None:
        """`part`: the group with these queues only. `now` is the snapshot's, in ms."""
        self.group = group
        self.devices = devices
        self.work = Work(group.key, part, group.install, {})
        first = self.work.first(range(len(part.queues)))
        self._urgency = 0 if first is None else urgency(first, now)
        self._age = 0 if first is None else first.score // EVEN
        self.left = self.work.seconds
        group.remaining += self.left
        self.urgent = sum(self.work.seconds_of(h) for q in part.queues for h in q.heads if urgency(h, now) >= URGENT)
        self.patient_until = 0.0  # from when on its urgent jobs call devices away
        if first is not None:
            self.patient_until = max(0.0, PATIENCE_INSTALLS * group.install - urgent_for(first.score, now))
        self.serving = 0
        self.servers: list[Server] = []
        self.offer = 0  # the number of its latest offer
        self.version = 0
        self.served = Served()
        self._turns: list[tuple[float, int]] = []  # work before each, and the score that it begins with; last first
        self._shown: list[Head] | None = None
        self._sums = [0.0]

    def take_turns(self, turns: int) -> None:
        """Lets devices look again whose turn it is, so many times: they may serve other flows of the group too."""
        shown, waiting = self.shown(), self.work.left
        if not shown:
            return
        first = shown[0].score
        step = (shown[-1].score - first) / max(1, len(shown) - 1)  # what is not shown came as what is
        turns = min(turns, waiting)
        for before in [turn * waiting // turns for turn in range(turns)]:
            score = shown[before].score if before < len(shown) else first + round(before * step)
            self._turns.append((self.ahead(before), score))
        self._turns.reverse()

    def shown(self) -> list[Head]:
        """The first jobs of its queues, in order."""
        if self._shown is None:
            self._shown = sorted([head for queue in self.work.group.queues for head in queue.heads])
            self._sums = [0.0, *accumulate(map(self.work.seconds_of, self._shown))]
        return self._shown

    def ahead(self, jobs: int) -> float:
        """Seconds of work of the first so many jobs."""
        shown = min(jobs, len(self.shown()))
        return self._sums[shown] + (jobs - shown) * self.work.seconds / max(1, self.work.left)

    def turn_of(self) -> tuple[bool, int]:
        """The flow with the smallest is next: what is urgent, then the oldest job that waits, about."""
        return self.urgent_left <= LEAST, self._turns[-1][1] if self._turns else 0

    # ---- draining ----

    def advance(self, now: float) -> None:
        """Drains up to `now`."""
        servers, passed = len(self.servers), now - self.served.until
        if servers and passed > 0:
            done = min(self.left, passed * servers)
            self._lessen(done)
            self.served.add(now, done, servers)

    def begin(self, servers: Sequence[Server], now: float) -> None:
        """Devices drain it from now on."""
        self.advance(now)
        if now > self.served.until:  # nobody did until now
            self.served.add(now, 0.0, 0)
        self.servers += servers

    def _lessen(self, done: float) -> None:
        self.left -= done
        self.group.remaining -= done

    @property
    def urgent_left(self) -> float:
        """Urgent work that waits."""
        return max(0.0, self.urgent - self.served.amount)

    def until_turn(self) -> float:
        """Work until the devices that drain it look again, or it is dry."""
        if len(self._turns) < 2:
            return self.left
        return min(self.left, max(0.0, self._turns[-2][0] - self.served.amount))

    def turn(self) -> None:
        """So much is done."""
        if len(self._turns) < 2:
            self._lessen(self.left)
        else:
            self._turns.pop()

    # ---- devices for it ----

    def worth(self, now: float) -> bool:
        """Whether one more device is worth its installation; what drains is drained up to `now`."""
        group = self.group
        if self.left <= 0 or group.full:
            return False
        if self.serving <= 0:
            return True
        left = group.left(now)
        return self.left > 0 and left / group.serving >= group.enough

    def is_unserved(self) -> bool:
        """It has urgent jobs, and no device serves or comes."""
        return self.serving <= 0 and self.urgent_left > LEAST

    def calls(self, now: float) -> bool:
        """Whether its urgent jobs have been left unserved for long enough to call a device away."""
        return self.is_unserved() and self.patient_until <= now + LEAST

    def rank(self) -> Rank:
        """As that of `precedence`, for what is left of the group; shares left out."""
        urgent = self._urgency if self._urgency < URGENT or self.urgent_left > LEAST else URGENT - 1
        group = self.group
        return (-urgent, self._age, -group.remaining / (group.serving + 1))

    # ---- what is read from it ----

    def start(self, ahead: float, position: int) -> Expected | None:
        """When its `position`-th job starts, with so much work (s) before it; None: not known."""
        if not self.served.begun:
            return None
        typical = self.work.seconds / max(1, self.work.left)
        found = self.served.when(0.0 if position <= 1 else max(0.0, ahead))
        if found is None:
            return None
        at, devices = found
        rate = max(1, devices or len(self.servers))
        # A job starts when those before it have been given out, which is before they are done.
        at = max(self.served.begins(), at - RUNNING_SHARE * typical / 2)
        return around(at, SPREAD * typical * math.sqrt(position) / rate + SURE * at + typical / rate / 2)

    def end(self) -> Expected | None:
        """When all is done."""
        if self.left > LEAST:
            return None
        at = self.served.ends()
        return around(at, SPREAD * self.work.group.typical_seconds * math.sqrt(self.work.left) + SURE * at)

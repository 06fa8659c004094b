"""The discrete-event simulator: submissions and devices in virtual time, planned for by any plan function.

It keeps what the store keeps (queues by group, scored at submission) and shows of it what the store shows (aggregates
and the first heads), so that the coordinator's policy runs here as it runs there. Every plan is committed at once, and
every move of a job is one of the lifecycle's table.
"""

from __future__ import annotations

import bisect
import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.scheduling.estimates import Estimates
from bench.scheduling.trace import Trace, TraceDevice, TraceJob
from qgjob_coordinator.model.enums import Priority, Status, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.model.lifecycle import JobEvent, move
from qgjob_coordinator.policy.forecast import Forecast
from qgjob_coordinator.policy.rank import ORDER_EPOCH_MS, ORDERS_PER_MS, queue_score
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head, Limits, Plan, Queue, Snapshot

HEADS = 64
PlanFunction = Callable[[Snapshot], Plan]
GroupKey = tuple[str, str]
_EPOCH_MS = 10_000_000  # virtual time begins here, so that scores are positive


@dataclass(slots=True)
class Run:
    """A job that ran: on which device, from when to when (s)."""

    device_id: str
    began: float
    ended: float


@dataclass(slots=True)
class Install:
    """An installation of an app version on a device (s)."""

    device_id: str
    org_id: str
    app_version_id: str
    began: float
    ended: float


@dataclass(slots=True)
class Outcome:
    """What a simulation saw, by index of the job: how it ran, and when its start was expected at submission (s).

    The starts of jobs that began `at_once`, at most behind an installation, were no forecasts.
    """

    runs: dict[int, Run] = field(default_factory=dict)
    installs: list[Install] = field(default_factory=list)
    plan_ms: list[float] = field(default_factory=list)
    estimated_starts: dict[int, float] = field(default_factory=dict)
    at_once: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Group:
    org_id: str
    gid: str
    app_version_id: str
    target: Target
    queue: list[tuple[int, str]] = field(default_factory=list)  # (score, name) in order
    unfinished: int = 0
    installs: int = 0
    serving: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@dataclass(slots=True)
class _Device:
    facts: TraceDevice
    installed: tuple[str, str] | None = None
    held: list[int] = field(default_factory=list)
    holds_for: GroupKey | None = None
    free_at: float = 0.0  # when what it holds is expected to be done
    installed_at: float = 0.0
    idle_since: float = 0.0
    installs: int = 0
    busy_seconds: float = 0.0


def _ms(seconds: float) -> int:
    """A time of the simulation on the clock of its snapshots."""
    return ORDER_EPOCH_MS + _EPOCH_MS + int(seconds * 1000)


class Simulation:
    """One run of a trace under a plan function."""

    def __init__(
        self,
        trace: Trace,
        plan: PlanFunction,
        *,
        limits: Limits | None = None,
        weights: Mapping[str, float] | None = None,
        score: Callable[[Priority, int], int] = queue_score,
    ) -> None:
        self._trace = trace
        self._score = score
        self._last_order = 0
        self._plan = plan
        self._limits = limits or Limits()
        self._weights = dict(weights or {})
        self._estimates = Estimates(trace)
        self._devices = {d.device_id: _Device(d) for d in trace.devices}
        self._groups: dict[GroupKey, _Group] = {}
        self._status = [Status.QUEUED] * len(trace.jobs)
        self._expected: dict[int, float | None] = {}
        self._events: list[tuple[float, int, str]] = []  # (when, kind, device)
        self._now = 0.0
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Simulates until every job has run. Raises RuntimeError when some never can."""
        arrivals = sorted(range(len(self._trace.jobs)), key=lambda i: (self._trace.jobs[i].at, i))
        next_arrival = 0
        while next_arrival < len(arrivals) or self._events:
            upcoming = self._trace.jobs[arrivals[next_arrival]].at if next_arrival < len(arrivals) else float("inf")
            self._now = min(upcoming, self._events[0][0] if self._events else float("inf"))
            came = next_arrival
            while next_arrival < len(arrivals) and self._trace.jobs[arrivals[next_arrival]].at <= self._now:
                self._submit(arrivals[next_arrival])
                next_arrival += 1
            while self._events and self._events[0][0] <= self._now:
                self._finish(self._devices[heapq.heappop(self._events)[2]])
            self._assign()
            if came < next_arrival:
                self._tell(arrivals[came:next_arrival])
        left = [i for i, s in enumerate(self._status) if s is not Status.COMPLETED]
        if left:
            raise RuntimeError(f"{len(left)} jobs never ran; the first is job {left[0]}")
        return self.outcome

    # ---- what happens ----

    def _submit(self, index: int) -> None:
        job = self._trace.jobs[index]
        gid = self._gid(job)
        group = self._groups.get((job.org_id, gid))
        if group is None:
            group = self._groups[job.org_id, gid] = _Group(job.org_id, gid, job.app_version_id, job.target)
        self._expected[index] = self._estimates.of_test(job)
        self._last_order = max(self._last_order + 1, (_EPOCH_MS + int(job.at * 1000)) * ORDERS_PER_MS)
        bisect.insort(group.queue, (self._score(job.priority, self._last_order), str(index)))
        group.unfinished += 1

    def _tell(self, indexes: list[int]) -> None:
        """When jobs that have just come are expected to start."""
        waiting = [i for i in indexes if self._status[i] is Status.QUEUED]
        for index in set(indexes) - set(waiting):
            run = self.outcome.runs.get(index)
            self.outcome.estimated_starts[index] = run.began if run else self._behind(index)
            if run:
                self.outcome.at_once.add(index)
        if not waiting:
            return
        ahead = Forecast(self._snapshot([d for d in self._devices.values() if not d.held]))
        places: dict[int, tuple[GroupKey, float, int]] = {}
        for key in {(self._trace.jobs[i].org_id, self._gid(self._trace.jobs[i])) for i in waiting}:
            seconds = 0.0
            for place, (_, name) in enumerate(self._groups[key].queue, 1):
                places[int(name)] = key, seconds, place
                seconds += self._seconds(int(name))
        for index in waiting:
            expected = ahead.start(*places[index])
            if expected is not None:
                self.outcome.estimated_starts[index] = self._now + expected.seconds

    def _behind(self, index: int) -> float:
        """When a job is expected to start that a device holds behind others."""
        held = next(d.held for d in self._devices.values() if index in d.held)
        return self.outcome.runs[held[0]].began + sum(map(self._seconds, held[: held.index(index)]))

    @staticmethod
    def _gid(job: TraceJob) -> str:
        return f"{job.target.value}-{job.app_version_id}"

    def _finish(self, device: _Device) -> None:
        index = device.held.pop(0)
        job = self._trace.jobs[index]
        self._status[index] = move(str(index), JobEvent.PASS, self._status[index])
        self._estimates.observe(job)
        key = device.holds_for
        assert key is not None
        group = self._groups[key]
        group.unfinished -= 1
        group.serving[device.facts.device_id] -= 1
        if not group.serving[device.facts.device_id]:
            del group.serving[device.facts.device_id]
        if not group.unfinished:
            del self._groups[key]
        if device.held:
            self._begin(device)
        else:
            device.holds_for = None
            device.idle_since = self._now

    def _begin(self, device: _Device) -> None:
        """The device's next attempt, behind an installation where it needs one."""
        index = device.held[0]
        job = self._trace.jobs[index]
        began = self._now
        wanted = (job.org_id, job.app_version_id)
        if device.installed != wanted:
            began += self._trace.install_seconds
            self.outcome.installs.append(Install(device.facts.device_id, *wanted, self._now, began))
            device.installed, device.installed_at = wanted, began
            device.installs += 1
            self._groups[device.holds_for].installs += 1  # type: ignore[index]
        ended = began + job.seconds
        device.busy_seconds += ended - self._now
        self._status[index] = move(str(index), JobEvent.START, self._status[index])
        self.outcome.runs[index] = Run(device.facts.device_id, began, ended)
        heapq.heappush(self._events, (ended, index, device.facts.device_id))
        expected = sum(self._seconds(i) for i in device.held)
        device.free_at = began + expected

    def _seconds(self, index: int) -> float:
        known = self._expected[index]
        return self._estimates.typical(self._trace.jobs[index]) if known is None else known

    # ---- plans ----

    def _assign(self) -> None:
        """Plans until a plan assigns nothing."""
        while True:
            idle = [d for d in self._devices.values() if not d.held]
            if not idle or not any(g.queue for g in self._groups.values()):
                return
            shown = self._snapshot(idle)
            begun = time.thread_time()  # a plan waits for nothing, so what others do meanwhile does not count
            proposal = self._plan(shown)
            self.outcome.plan_ms.append((time.thread_time() - begun) * 1000)
            if not proposal.assignments:
                return
            for a in proposal.assignments:
                device, group = self._devices[a.device_id], self._groups[a.org_id, a.gid]
                if device.held:
                    raise RuntimeError(f"device {a.device_id} was given two batches in one plan")
                for name in a.ulids:
                    index = int(name)
                    self._status[index] = move(name, JobEvent.CLAIM, self._status[index])
                    device.held.append(index)
                    group.serving[a.device_id] += 1
                taken = set(a.ulids)
                group.queue = [entry for entry in group.queue if entry[1] not in taken]
                device.holds_for = (a.org_id, a.gid)
                self._begin(device)

    def _snapshot(self, idle: list[_Device]) -> Snapshot:
        groups = tuple(self._group_view(g) for g in self._groups.values())
        return Snapshot(
            devices=tuple(self._view(d) for d in idle),
            groups=groups,
            limits=self._limits,
            now=_ms(self._now),
            busy=tuple(self._view(d) for d in self._devices.values() if d.held),
            weights=self._weights,
            install_seconds=dict.fromkeys(Target, self._trace.install_seconds),
        )

    def _group_view(self, g: _Group) -> GroupView:
        heads = tuple(Head(score, name, self._expected[int(name)]) for score, name in g.queue[:HEADS])
        return GroupView(
            org_id=g.org_id,
            gid=g.gid,
            app_version_id=g.app_version_id,
            target=g.target,
            unfinished=g.unfinished,
            installs=g.installs,
            serving=dict(g.serving),
            queues=(Queue(ANY_DEVICE, (), len(g.queue), heads),),
            typical_seconds=self._estimates.typical_of(g.org_id, g.gid),
        )

    def _view(self, d: _Device) -> DeviceView:
        return DeviceView(
            device_id=d.facts.device_id,
            agent_id="agent",
            target=d.facts.target,
            platform=d.facts.platform,
            installed=d.installed,
            held=len(d.held),
            holds_for=d.holds_for,
            free_at=_ms(d.free_at),
            home_since=_ms(d.installed_at),
            idle_since=_ms(d.idle_since),
            installs=d.installs,
            busy_hours=d.busy_seconds / 3600,
        )

"""The discrete-event simulator: submissions and devices in virtual time, planned for by any plan function.

It keeps what the store keeps (queues by group, scored at submission) and shows of it what the store shows (aggregates
and the first heads), and keeps of devices what a session keeps, in the same books (`Slot`). So a device wants work here
when it wants some there, also ahead of what it runs; and gives back what it should have begun when `recall` says so.
Rounds are made when something happened and, while a device waits for one, with the seconds of a clock. Every plan is
committed at once, and every move of a job is one of the lifecycle's table.

Left out: agents and what may happen to them, failures and retries.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping

from bench.scheduling.estimates import Estimates, group_of
from bench.scheduling.kept import Device, Group, GroupKey, Heads, slot_of
from bench.scheduling.outcome import GivenBack, Install, Outcome, Run
from bench.scheduling.trace import Trace
from qgjob_coordinator.model.enums import Priority, Status, Target
from qgjob_coordinator.model.jobs import Requirements
from qgjob_coordinator.model.lifecycle import JobEvent, move
from qgjob_coordinator.policy.forecast.forecast import Forecast
from qgjob_coordinator.policy.planning.recall import LATE_SECONDS, late, recalls
from qgjob_coordinator.policy.proposals import Assignment, Plan
from qgjob_coordinator.policy.rank import ORDER_EPOCH_MS, ORDERS_PER_MS, queue_score
from qgjob_coordinator.policy.snapshot import (
    AHEAD_SECONDS,
    HEADS,
    GroupView,
    Head,
    Limits,
    Queue,
    Snapshot,
)
from qgjob_coordinator.service.agents.slots import Lease

IDLE_ROUND_SECONDS = 5.0
"""How often it is looked whether waiting jobs are worth devices that idle; a coordinator looks once a second."""
RECALL_EVERY_SECONDS = 1.0
PAUSE_SHARE = 1 / 32
"""Where nothing happens for long both pauses grow to this share of the time that has passed: what time alone decides is
seen later by no more than that, and a test of a year takes as many rounds as hours do."""
STEPS_PER_MOMENT = 64
"""What looking ahead may cost for each moment at which jobs come, in devices and groups with waiting jobs."""
PlanFunction = Callable[[Snapshot], Plan]
_EPOCH_MS = 10_000_000  # virtual time begins here, so that scores are positive


def _ms(seconds: float) -> int:
    """A time of the simulation on the clock of its snapshots."""
    return ORDER_EPOCH_MS + _EPOCH_MS + int(seconds * 1000)


class Simulation:
    """One run of a trace under a plan function. `quota`: so many attempts an org may hold at once; None: any number."""

    def __init__(
        self,
        trace: Trace,
        plan: PlanFunction,
        *,
        limits: Limits | None = None,
        weights: Mapping[str, float] | None = None,
        quota: int | None = None,
        score: Callable[[Priority, int], int] = queue_score,
    ) -> None:
        self._trace = trace
        self._score = score
        self._last_order = 0
        self._plan = plan
        self._limits = limits or Limits()
        self._weights = dict(weights or {})
        self._quota = quota
        self._estimates = Estimates(trace)
        self._devices = {d.device_id: Device(slot_of(d)) for d in trace.devices}
        self._groups: dict[GroupKey, Group] = {}
        self._status = [Status.QUEUED] * len(trace.jobs)
        self._scores: dict[int, int] = {}
        self._expected: dict[int, float | None] = {}
        self._events: list[tuple[float, int, str]] = []  # (when, job, device): ends
        self._rounds: list[float] = []  # when a device will wait for a round
        self._now = 0.0
        self._changed = 0.0  # when something happened last
        self._recalled = float("-inf")
        self._any_late = False
        self._learned = 0  # how many durations
        self._steps = 0  # what looking ahead may still cost
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Simulates until every job has run. Raises RuntimeError when some never can."""
        arrivals = sorted(range(len(self._trace.jobs)), key=lambda i: (self._trace.jobs[i].at, i))
        next_arrival = 0
        while next_arrival < len(arrivals) or self._events:
            upcoming = self._trace.jobs[arrivals[next_arrival]].at if next_arrival < len(arrivals) else float("inf")
            ends = self._events[0][0] if self._events else float("inf")
            self._now = min(upcoming, ends, self._rounds[0] if self._rounds else float("inf"))
            came = next_arrival
            while next_arrival < len(arrivals) and self._trace.jobs[arrivals[next_arrival]].at <= self._now:
                self._submit(arrivals[next_arrival])
                next_arrival += 1
            while self._events and self._events[0][0] <= self._now:
                self._finish(self._devices[heapq.heappop(self._events)[2]])
            while self._rounds and self._rounds[0] <= self._now:
                heapq.heappop(self._rounds)
            self._recall()
            self._assign()
            self._look_again()
            if came < next_arrival:
                self._tell(arrivals[came:next_arrival])
        left = [i for i, s in enumerate(self._status) if s is not Status.COMPLETED]
        if left:
            raise RuntimeError(f"{len(left)} jobs never ran; the first is job {left[0]}")
        return self.outcome

    # ---- what happens ----

    def _submit(self, index: int) -> None:
        job = self._trace.jobs[index]
        gid = group_of(job)
        group = self._groups.get((job.org_id, gid))
        if group is None:
            group = self._groups[job.org_id, gid] = Group(job.org_id, gid, job.app_version_id, job.target)
        self._expected[index] = self._estimates.of_test(job)
        self._last_order = max(self._last_order + 1, (_EPOCH_MS + int(job.at * 1000)) * ORDERS_PER_MS)
        self._scores[index] = self._score(job.priority, self._last_order)
        self._enqueue(group, index)
        group.unfinished += 1
        self._changed = self._now

    def _enqueue(self, group: Group, index: int) -> None:
        group.put(self._trace.jobs[index].requirements, (self._scores[index], str(index)))

    def _tell(self, indexes: list[int]) -> None:
        """When jobs that have just come are expected to start."""
        waiting = [i for i in indexes if self._status[i] is Status.QUEUED]
        for index in set(indexes) - set(waiting):
            run = self.outcome.runs.get(index)
            self.outcome.estimated_starts[index] = run.began if run else self._behind(index)
            if run:
                self.outcome.at_once.add(index)
        if not waiting or not self._may_look():
            return
        ahead = Forecast(self._snapshot(self._wanting()))
        places: dict[int, tuple[GroupKey, float, int, Requirements]] = {}
        for key in {(self._trace.jobs[i].org_id, group_of(self._trace.jobs[i])) for i in waiting}:
            for requirements, queue in self._groups[key].queues.items():
                seconds = 0.0
                for place, (_, name) in enumerate(queue, 1):
                    places[int(name)] = key, seconds, place, requirements
                    seconds += self._seconds(int(name))
        for index in waiting:
            expected = ahead.start(*places[index])
            if expected is not None:
                self.outcome.estimated_starts[index] = self._now + expected.seconds

    def _may_look(self) -> bool:
        """Whether a look ahead is made at this moment: of many devices and groups one is, and some are left out."""
        self._steps = min(self._steps, 0) + STEPS_PER_MOMENT
        if self._steps <= 0:
            return False
        self._steps -= len(self._devices) + sum(1 for g in self._groups.values() if g.queues)
        return True

    def _behind(self, index: int) -> float:
        """When a job is expected to start that a device holds behind others."""
        held = next(d.held for d in self._devices.values() if index in d.held)
        runs, *behind = held[: held.index(index)]
        free = max(self._now, self.outcome.runs[runs].began + self._seconds(runs))
        return free + sum(map(self._seconds, behind))

    def _finish(self, device: Device) -> None:
        index = device.held.pop(0)
        self._status[index] = move(str(index), JobEvent.PASS, self._status[index])
        self._estimates.observe(self._trace.jobs[index])
        self._learned += 1
        self._changed = self._now
        assert device.holds_for is not None
        group = self._groups[device.holds_for]
        group.unfinished -= 1
        self._let_go(device, group, index)
        if not group.unfinished:
            del self._groups[device.holds_for]
            self._estimates.forget_group(*device.holds_for)
        if device.held:
            self._begin(device)
        else:
            device.holds_for = None

    def _let_go(self, device: Device, group: Group, index: int) -> None:
        """The device holds the job no more."""
        device.slot.lose(str(index), _ms(self._now))
        group.serving[device.device_id] -= 1
        if not group.serving[device.device_id]:
            del group.serving[device.device_id]
        group.changed()

    def _begin(self, device: Device) -> None:
        """The device's next attempt, behind an installation where it needs one."""
        index = device.held[0]
        job = self._trace.jobs[index]
        began = self._now
        wanted = (job.org_id, job.app_version_id)
        if device.slot.installed != wanted:
            began += self._trace.install_seconds
            self.outcome.installs.append(Install(device.device_id, *wanted, self._now, began))
            device.slot.install(wanted, _ms(began), 1)
            group = self._groups[device.holds_for]  # type: ignore[index]
            group.installs += 1
            group.changed()
        ended = began + job.seconds
        self._status[index] = move(str(index), JobEvent.START, self._status[index])
        self.outcome.runs[index] = Run(device.device_id, began, ended)
        heapq.heappush(self._events, (ended, index, device.device_id))
        self._will_want(device)

    def _seconds(self, index: int) -> float:
        known = self._expected[index]
        return self._estimates.typical(self._trace.jobs[index]) if known is None else known

    # ---- rounds ----

    def _round_at(self, when: float) -> None:
        """With the next second of the clock after `when` there is a round."""
        heapq.heappush(self._rounds, math.floor(max(when, self._now)) + 1.0)

    def _will_want(self, device: Device) -> None:
        """A round when the device takes more work, and one when it is late with what it holds ahead."""
        view = device.view()
        self._round_at((view.free_at - _ms(0)) / 1000 - AHEAD_SECONDS)
        if view.unstarted:
            self._round_at((view.next_at - _ms(0)) / 1000 + LATE_SECONDS)

    def _look_again(self) -> None:
        """A round in a while if jobs wait beside devices that idle: those that are late may be waited for no longer."""
        if all(d.held for d in self._devices.values()) or not any(g.queues for g in self._groups.values()):
            return
        pause = max(IDLE_ROUND_SECONDS, PAUSE_SHARE * (self._now - self._changed))
        if not self._rounds or self._rounds[0] > self._now + pause:
            self._round_at(self._now + pause - 1.0)

    def _wanting(self) -> list[Device]:
        """Devices that would take work now."""
        most, now = self._limits.batch // 2, _ms(self._now)
        return [d for d in self._devices.values() if d.slot.wants(most, now)]

    def _recall(self) -> None:
        """Once a second: takes back what devices hold ahead and should have begun, where something better waits.

        More rarely where nothing happens and all that is late has been for long.
        """
        if self._now - self._recalled < RECALL_EVERY_SECONDS:
            if self._any_late:
                self._round_at(self._now)
            return
        self._recalled, now = self._now, _ms(self._now)
        behind = [d for d in self._devices.values() if d.held[1:] and late(d.view(), now)]
        self._any_late = bool(behind)
        if not behind:
            return
        idle = tuple(d.view() for d in self._devices.values() if not d.held)
        orgs = {d.holds_for[0] for d in behind if d.holds_for}
        groups = tuple(self._group_view(g) for g in self._groups.values() if g.org_id in orgs)
        busy = tuple(d.view() for d in behind)
        for recall in recalls(Snapshot(idle, groups, self._limits, now=now, busy=busy)):
            self._give_back(self._devices[recall.device_id])
        late_for = (now - max(view.next_at for view in busy)) / 1000
        pause = max(RECALL_EVERY_SECONDS, PAUSE_SHARE * late_for)
        self._round_at(self._now + pause - RECALL_EVERY_SECONDS)  # to look at the others again

    def _give_back(self, device: Device) -> None:
        """All that it has not begun."""
        assert device.holds_for is not None
        group = self._groups[device.holds_for]
        self._changed = self._now
        self.outcome.given_back.append(GivenBack(device.device_id, self._now, tuple(device.held[1:])))
        for index in device.held[1:]:
            self._status[index] = move(str(index), JobEvent.RELEASE, self._status[index])
            self._let_go(device, group, index)
            self._enqueue(group, index)
        del device.held[1:]

    # ---- plans ----

    def _assign(self) -> None:
        """Plans until a plan assigns nothing."""
        while any(g.queues for g in self._groups.values()):
            wanting = self._wanting()
            if not wanting:
                return
            shown = self._snapshot(wanting)
            begun = time.thread_time()  # a plan waits for nothing, so what others do meanwhile does not count
            proposal = self._plan(shown)
            self.outcome.plan_ms.append((time.thread_time() - begun) * 1000)
            if not proposal.assignments:
                return
            given: set[str] = set()
            for a in proposal.assignments:
                if a.device_id in given:
                    raise RuntimeError(f"device {a.device_id} was given two batches in one plan")
                given.add(a.device_id)
                self._give(self._devices[a.device_id], self._groups[a.org_id, a.gid], a)

    def _give(self, device: Device, group: Group, a: Assignment) -> None:
        key = (a.org_id, a.gid)
        if device.holds_for not in {None, key}:
            raise RuntimeError(
                f"device {a.device_id} was given jobs of {key} while it holds some of {device.holds_for}"
            )
        idle, now = not device.held, _ms(self._now)
        cold = idle and device.slot.installed != (a.org_id, group.app_version_id)
        install = self._trace.install_seconds if cold else 0.0
        for name in a.ulids:
            index = int(name)
            self._status[index] = move(name, JobEvent.CLAIM, self._status[index])
            seconds = self._seconds(index)
            asks = self._trace.jobs[index].requirements, ()
            lease = Lease(a.org_id, name, name, a.gid, a.device_id, 1, seconds, self._scores[index], asks)
            device.slot.gain(lease, now, install)
            install = 0.0
            device.held.append(index)
            group.serving[a.device_id] += 1
            group.take(self._trace.jobs[index].requirements, (self._scores[index], name))
        device.holds_for = key
        self._changed = self._now
        if idle:
            self._begin(device)
        else:
            self._will_want(device)

    def _snapshot(self, wanting: list[Device]) -> Snapshot:
        free = {d.device_id for d in wanting}
        groups = tuple(self._group_view(g) for g in self._groups.values())
        return Snapshot(
            devices=tuple(d.view() for d in wanting),
            groups=groups,
            limits=self._limits,
            room=self._room(),
            now=_ms(self._now),
            busy=tuple(d.view() for d in self._devices.values() if d.held and d.device_id not in free),
            weights=self._weights,
            install_seconds=dict.fromkeys(Target, self._trace.install_seconds),
        )

    def _room(self) -> dict[str, int]:
        if self._quota is None:
            return {}
        held = Counter(d.holds_for[0] for d in self._devices.values() if d.holds_for for _ in d.held)
        return {org_id: max(0, self._quota - held[org_id]) for org_id, _ in self._groups}

    def _group_view(self, g: Group) -> GroupView:
        """As the policy sees it; made anew only after a change."""
        view = g.view
        if view is None:
            view = g.view = self._look_at(g)
        elif g.view_learned != self._learned:
            view = g.view = view._replace(typical_seconds=self._estimates.typical_of(g.org_id, g.gid))
        g.view_learned = self._learned
        return view

    def _queue(self, g: Group, requirements: Requirements, queue: list[tuple[int, str]]) -> Queue:
        shown = g.shown.get(requirements)
        if shown is None:
            heads = tuple(Head(score, name, self._expected[int(name)]) for score, name in queue[:HEADS])
            shown = g.shown[requirements] = Queue(requirements, (), len(queue), Heads(heads), queue[0][0])
        return shown

    def _look_at(self, g: Group) -> GroupView:
        return GroupView(
            org_id=g.org_id,
            gid=g.gid,
            app_version_id=g.app_version_id,
            target=g.target,
            unfinished=g.unfinished,
            installs=g.installs,
            serving=dict(g.serving),
            queues=tuple(self._queue(g, r, queue) for r, queue in g.queues.items()),
            typical_seconds=self._estimates.typical_of(g.org_id, g.gid),
        )

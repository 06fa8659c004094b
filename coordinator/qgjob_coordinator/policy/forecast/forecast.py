"""When waiting jobs will start and groups will end, as far as anybody can tell now.

The plan is played forward with waiting jobs as fluids (`flow`): each device that serves a group drains, a second of
work a second, those of its jobs that it may serve; one that finds none left goes where the plan would send it, and
installs; and one whose jobs are no longer urgent may be called away to others that are. No more devices serve a group
than `group_max_devices`, or an org than it may hold attempts. Shares of orgs are left out, and so is what will be
submitted later. It costs a step for each device and each flow that runs dry, whatever the number of jobs.

What no device here may serve never drains: its jobs have no expected start, and its group no expected end.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count

from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.forecast.flow import LEAST, RUNNING_SHARE, SPREAD, Expected, Flow, Server, Serving, around
from qgjob_coordinator.policy.forecast.offers import FlowCalls, FlowOffers
from qgjob_coordinator.policy.forecast.reach import DeviceIds, Reach
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.switching import STAY_INSTALLS
from qgjob_coordinator.policy.planning.work import GroupKey
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, DeviceView, GroupView, Queue, Snapshot

CHECK = -2
"""The version of events that look whether devices of a flow are called away."""
PATIENT = -3
"""The version of events from which on a flow with urgent jobs calls devices away."""
CALL = -4
"""The version of events that look at all flows."""
CALLS_AN_INSTALL = 4
"""Of these no more than so many for each time that an installation takes."""
TURNS = 10
"""A device that may serve several flows of a group goes to the one with the oldest job; it looks again when a tenth of
that is done."""
MOST_TURNS = 10_000
"""Of all flows together: where they are very many devices look again less often."""


class Forecast:
    """One look ahead from a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        devices = _devices(snapshot)
        self._reach = Reach(devices, snapshot.candidates)
        self._groups = {(g.org_id, g.gid): self._serving(g, snapshot) for g in snapshot.groups if g.waiting}
        self._flows = [flow for group in self._groups.values() for flow in group.flows]
        self._take_turns()
        self._idle: dict[tuple[int, ...], deque[Server]] = defaultdict(deque)
        self._events: list[tuple[float, int, Flow | Server, int]] = []
        self._number = count()
        self._calls = FlowCalls()
        self._next_call = -math.inf
        self._offers = FlowOffers(_most_devices(snapshot))
        for flow in self._flows:
            self._offers.number(flow.devices)
        books = Books(snapshot)
        self._held = _held(snapshot, devices, books)
        self._begin(devices, books)
        for flow in self._flows:
            self._offers.add(flow)
            if flow.urgent > LEAST:
                self._push(flow.patient_until, flow, PATIENT)
        self._run()

    def before(
        self,
        key: GroupKey,
        ulid: str,
        place: int,
        requirements: Requirements = ANY_DEVICE,
        avoid: tuple[str, ...] = (),
    ) -> tuple[float, int] | None:
        """Work (s) before a job among those that the same devices may serve, and its place there.

        `place` is the one in its group. For a job that is not among the first of its queue it is taken to be as far
        back among those.
        """
        flow = self._flow(key, requirements, avoid)
        if flow is None:
            return None
        group = flow.group
        if len(group.flows) > 1:
            shown = flow.shown()
            waiting = sum([each.work.left for each in group.flows])
            behind = max(len(shown) + 1, math.ceil(place * flow.work.left / waiting))
            place = next((i for i, head in enumerate(shown, 1) if head.ulid == ulid), behind)
        return flow.ahead(place - 1), place

    def start(
        self,
        key: GroupKey,
        ahead: float,
        position: int,
        requirements: Requirements = ANY_DEVICE,
        avoid: tuple[str, ...] = (),
    ) -> Expected | None:
        """When the `position`-th of a group's jobs that the same devices may serve starts, with so much work (s) of
        them before it; None: not known."""
        flow = self._flow(key, requirements, avoid)
        return None if flow is None else flow.start(ahead, position)

    def end(self, key: GroupKey) -> Expected | None:
        """When the group's waiting work is done, or, where nothing waits, what its devices hold; None: not known, or
        never."""
        group = self._groups.get(key)
        if group is None:
            return self._held.get(key)
        ends = [flow.end() for flow in group.flows]
        known = [end for end in ends if end is not None]
        return max(known, key=lambda end: end.seconds) if len(known) == len(ends) else None

    def groups(self) -> Sequence[GroupKey]:
        """Groups with waiting jobs, and those whose jobs devices hold, all of them."""
        return [*self._groups, *self._held]

    def flows(self, key: GroupKey) -> Sequence[Flow]:
        """The waiting jobs of a group, by who may serve them."""
        group = self._groups.get(key)
        return () if group is None else group.flows

    # ---- how it begins ----

    def _serving(self, group: GroupView, snapshot: Snapshot) -> Serving:
        """A group whose queues are put together by the devices that may serve them."""
        install = snapshot.install_seconds.get(group.target, INSTALL_SECONDS)
        cap = snapshot.limits.group_max_devices
        serving = Serving(
            (group.org_id, group.gid),
            (group.org_id, group.app_version_id),
            install,
            snapshot.limits.fan_out * install,
            math.inf if cap is None else cap,
        )
        by_devices: dict[DeviceIds, list[Queue]] = defaultdict(list)
        for queue in group.queues:
            by_devices[self._reach.of(group.target, queue.requirements, queue.avoid)].append(queue)
        for devices, queues in by_devices.items():
            part = group if len(by_devices) == 1 else group._replace(queues=tuple(queues))
            serving.flows.append(Flow(serving, part, devices, snapshot.now))
        return serving

    def _take_turns(self) -> None:
        """Of flows whose devices may serve another one of the group too."""
        apart = self._reach.apart
        shared = [
            flow
            for group in self._groups.values()
            if len(group.flows) > 1
            for flow in group.flows
            if not all(other is flow or apart(flow.devices, other.devices) for other in group.flows)
        ]
        for flow in shared:
            flow.take_turns(min(TURNS, max(1, MOST_TURNS // len(shared))))

    def _begin(self, devices: Iterable[DeviceView], books: Books) -> None:
        """Devices are free when they have done what they hold; one that holds nothing stays with what it has."""
        for device in devices:
            server = Server(device, self._offers.sets_of(device.device_id), device.installed)
            if device.holds_for is not None:
                self._offers.works_for(server, device.holds_for[0])
                group = self._groups.get(device.holds_for)
            else:
                home = books.home(device)
                group = None if home is None else self._groups.get(home.key)
                if group is not None and self._may_join(group, None) and group.flow_for(server) is not None:
                    self._offers.works_for(server, group.key[0])
                else:
                    group = None
            if group is not None:
                self._join(server, group)
            self._push(books.fleet.free_in(device), server)

    def _may_join(self, group: Serving, org_id: str | None) -> bool:
        """Whether caps let a device that works for this org join the group."""
        return not group.full and (group.key[0] == org_id or not self._offers.full(group.key[0]))

    def _flow(self, key: GroupKey, requirements: Requirements, avoid: tuple[str, ...]) -> Flow | None:
        group = self._groups.get(key)
        if group is None:
            return None
        devices = self._reach.of(group.flows[0].work.group.target, requirements, avoid)
        return next((flow for flow in group.flows if flow.devices is devices), None)

    # ---- playing it forward ----

    def _push(self, at: float, subject: Flow | Server, version: int = -1) -> None:
        heapq.heappush(self._events, (at, next(self._number), subject, version))

    def _run(self) -> None:
        while self._events:
            now, _, subject, version = heapq.heappop(self._events)
            if isinstance(subject, Server):
                self._move_on(self._feed([subject], now), now)
            elif version == CHECK:
                self._call_away(subject, now)
            elif version == PATIENT:
                self._calls.note(subject, self._offers.number(subject.devices), now)
                self._call_soon(subject, now)
            elif version == CALL:
                self._call_from_all(now)
            elif subject.version == version:
                self._turn(subject, now)

    def _turn(self, flow: Flow, now: float) -> None:
        """A part of a flow is done: its devices look again."""
        flow.advance(now)
        flow.turn()
        servers, flow.servers = flow.servers, []
        self._move_on(self._feed(servers, now), now)

    def _feed(self, servers: Iterable[Server], now: float) -> list[Server]:
        """Puts devices to the flows of their groups; hands back those that find none."""
        fed: dict[Flow, list[Server]] = defaultdict(list)
        found: dict[tuple[Serving, tuple[int, ...]], Flow | None] = {}
        done = []
        for server in servers:
            if server.group is None:
                done.append(server)
                continue
            kind = server.group, server.sets
            if kind not in found:
                found[kind] = server.group.flow_for(server)
            flow = found[kind]
            if flow is None:
                done.append(server)
            else:
                fed[flow].append(server)
        for flow, some in fed.items():
            flow.begin(some, now)
            self._predict(flow, now)
            self._push(now, flow, CHECK)
        return done

    def _predict(self, flow: Flow, now: float) -> None:
        flow.version += 1
        if flow.servers:
            self._push(now + flow.until_turn() / len(flow.servers), flow, flow.version)
            if flow.urgent_left:
                self._push(now + flow.urgent_left / len(flow.servers), flow, CHECK)

    def _move_on(self, servers: Sequence[Server], now: float) -> None:
        """Devices leave their groups for the best ones there are; what they leave open may be for those that idle."""
        for server in servers:
            self._leave(server, now)
        for server in servers:
            flow = self._offers.best(server.sets, now)
            if flow is None:
                self._idle[server.sets].append(server)
            else:
                self._send(server, flow, now)
        self._wake(now)

    def _wake(self, now: float) -> None:
        """Devices that idle, where something is offered anew."""
        if not self._offers.reopened:
            return
        for sets, servers in self._idle.items():
            while servers and not self._offers.reopened.isdisjoint(sets):
                flow = self._offers.best(sets, now)
                if flow is None:
                    break
                self._send(servers.popleft(), flow, now)
        self._offers.reopened.clear()

    def _join(self, server: Server, group: Serving) -> None:
        server.group = group
        group.count(server, 1)

    def _leave(self, server: Server, now: float) -> None:
        group, server.group = server.group, None
        self._offers.leaves(server)
        if group is None:
            return
        group.count(server, -1)
        for flow in group.flows:
            self._calls.note(flow, self._offers.number(flow.devices), now)
            if flow.left > LEAST:
                self._offers.add(flow)

    def _send(self, server: Server, flow: Flow, now: float) -> None:
        group = flow.group
        warm, server.build = server.build == group.build, group.build
        self._offers.works_for(server, group.key[0])
        self._join(server, group)
        self._push(now if warm else now + group.install, server)

    # ---- the class rule of switching ----

    def _call_soon(self, flow: Flow, now: float) -> None:
        """One look at all flows for those whose patience ends at about the same time."""
        if self._next_call < now:
            self._next_call = max(now, self._next_call + flow.group.install / CALLS_AN_INSTALL)
            self._push(self._next_call, flow, CALL)

    def _call_from_all(self, now: float) -> None:
        for flow in self._flows:
            if flow.servers:
                self._call_away(flow, now)

    def _call_away(self, flow: Flow, now: float) -> None:
        """Devices of a flow with nothing urgent left, to others that have."""
        flow.advance(now)
        group = flow.group
        if flow.urgent_left <= LEAST:
            self._look_round(flow, now)
        while flow.servers and flow.urgent_left <= LEAST and flow.left > LEAST:
            if group.serving == 1 and group.left(now) < STAY_INSTALLS * group.install:
                return
            found = self._called(flow)
            if found is None:
                return
            server, caller = found
            flow.servers.remove(server)
            self._predict(flow, now)
            self._leave(server, now)
            self._send(server, caller, now)
            self._wake(now)

    def _look_round(self, flow: Flow, now: float) -> None:
        """Devices of a flow with nothing urgent left go first to what is urgent in their own group."""
        wanted: set[str] = set()
        for other in flow.group.flows:
            if other.urgent_left > LEAST:
                wanted |= other.devices
        movers = [server for server in flow.servers if server.view.device_id in wanted]
        if movers:
            flow.servers = [server for server in flow.servers if server.view.device_id not in wanted]
            self._predict(flow, now)
            self._move_on(self._feed(movers, now), now)

    def _called(self, flow: Flow) -> tuple[Server, Flow] | None:
        """Which device of a flow goes to which other one."""
        org_id = flow.group.key[0]

        def may_join(caller: Flow) -> bool:
            return self._may_join(caller.group, org_id)

        servers = {number: server for server in flow.servers for number in server.sets}
        calls = [(call, number) for number in servers if (call := self._calls.best(number, may_join)) is not None]
        if not calls:
            return None
        (*_, caller), number = min(calls, key=lambda each: each[0][:2])
        return servers[number], caller


def _devices(snapshot: Snapshot) -> list[DeviceView]:
    """All that there is: those that hold something first, since they have their places in groups."""
    known = {d.device_id: d for d in chain(snapshot.busy, snapshot.devices)}
    away = {d.device_id: d for d in _away(snapshot) if d.device_id not in known}
    return sorted(chain(known.values(), away.values()), key=lambda d: (not d.held, d.device_id))


def _held(snapshot: Snapshot, devices: Iterable[DeviceView], books: Books) -> dict[GroupKey, Expected]:
    """When the devices of groups of which nothing waits have done what they hold.

    A group with a job that is not to start before its time is not among them: it has unfinished jobs that nobody holds.
    """
    holding = {
        (g.org_id, g.gid): g for g in snapshot.groups if not g.waiting and g.unfinished <= sum(g.serving.values())
    }
    ends: dict[GroupKey, float] = {}
    for device in devices:
        if device.held and device.holds_for in holding:
            ends[device.holds_for] = max(ends.get(device.holds_for, 0.0), books.fleet.free_in(device))
    return {key: around(end, SPREAD * holding[key].typical_seconds) for key, end in ends.items()}


def _away(snapshot: Snapshot) -> Iterator[DeviceView]:
    """Devices of other coordinators that serve groups: how far they are is not known, nor what else they may serve."""
    for group in snapshot.groups:
        for device_id, held in group.serving.items():
            seconds = (held - 1 + RUNNING_SHARE / 2) * group.typical_seconds
            yield DeviceView(
                device_id,
                "",
                group.target,
                installed=(group.org_id, group.app_version_id),
                held=held,
                holds_for=(group.org_id, group.gid),
                free_at=snapshot.now + round(1000 * seconds),
            )


def _most_devices(snapshot: Snapshot) -> Mapping[str, int]:
    """How many devices may work for each org: each holds an attempt, and no more are to be held."""
    most = dict(snapshot.room)
    for group in snapshot.groups:
        if group.org_id in most:
            most[group.org_id] += sum(group.serving.values())
    return most

"""A look ahead as it is played: flows drain, and devices go from one to the next.

What happens does so at events in their order; between two of them every flow drains at the pace of its devices. Times
are seconds from the snapshot's.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count

from qgjob_coordinator.policy.forecast.calls import FlowCalls, may_leave, wanted
from qgjob_coordinator.policy.forecast.flow import LEAST, Flow, Server, Serving
from qgjob_coordinator.policy.forecast.offers import FlowOffers
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.work import GroupKey
from qgjob_coordinator.policy.snapshot import DeviceView

CALLS_AN_INSTALL = 4
"""All flows are looked at for devices to be called away no more often than this in the time of an installation."""

_Act = Callable[[float], None]
"""What happens at an event, given when."""


class Draining:
    """The groups with waiting jobs, until nothing moves any more."""

    def __init__(self, groups: Mapping[GroupKey, Serving], most: Mapping[str, int]) -> None:
        """`most`: how many devices may work for each org; one not in it: any number."""
        self._groups = groups
        self._flows = [flow for group in groups.values() for flow in group.flows]
        self._offers = FlowOffers(most)
        for flow in self._flows:
            self._offers.number(flow.devices)
        self._calls = FlowCalls(self._offers)
        self._next_call = -math.inf
        self._idle: dict[tuple[int, ...], deque[Server]] = defaultdict(deque)
        self._events: list[tuple[float, int, _Act]] = []
        self._number = count()

    def run(self, devices: Iterable[DeviceView], books: Books) -> None:
        """Plays it to its end. The devices are those that there are, those that hold something first."""
        self._begin(devices, books)
        for flow in self._flows:
            self._offers.add(flow)
            if flow.urgent > LEAST:
                self._at(flow.patient_until, partial(self._lose_patience, flow))
        while self._events:
            now, _, act = heapq.heappop(self._events)
            act(now)

    def _at(self, at: float, act: _Act) -> None:
        """Of events at the same time the one that was told first is first."""
        heapq.heappush(self._events, (at, next(self._number), act))

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
                if group is not None and self._offers.open_to(group, None) and group.flow_for(server) is not None:
                    self._offers.works_for(server, group.key[0])
                else:
                    group = None
            if group is not None:
                self._join(server, group)
            self._at(books.fleet.free_in(device), partial(self._free, server))

    # ---- devices drain flows ----

    def _free(self, server: Server, now: float) -> None:
        """A device is done with what it held, or has installed."""
        self._move_on(self._feed([server], now), now)

    def _turn(self, flow: Flow, version: int, now: float) -> None:
        """A part of a flow is done, unless its devices changed since that was told: those it has look again."""
        if flow.version != version:
            return
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
            self._at(now, partial(self._call_away, flow))
        return done

    def _predict(self, flow: Flow, now: float) -> None:
        flow.version += 1
        if flow.servers:
            self._at(now + flow.until_turn() / len(flow.servers), partial(self._turn, flow, flow.version))
            if flow.urgent_left:
                self._at(now + flow.urgent_left / len(flow.servers), partial(self._call_away, flow))

    # ---- devices go to others ----

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
            self._calls.note(flow, now)
            if flow.left > LEAST:
                self._offers.add(flow)

    def _send(self, server: Server, flow: Flow, now: float) -> None:
        group = flow.group
        warm, server.build = server.build == group.build, group.build
        self._offers.works_for(server, group.key[0])
        self._join(server, group)
        self._at(now if warm else now + group.install, partial(self._free, server))

    # ---- devices are called away ----

    def _lose_patience(self, flow: Flow, now: float) -> None:
        """Its urgent jobs have waited for long enough. One look at all flows is for those that have at about a time."""
        self._calls.note(flow, now)
        if self._next_call < now:
            self._next_call = max(now, self._next_call + flow.group.install / CALLS_AN_INSTALL)
            self._at(self._next_call, self._call_from_all)

    def _call_from_all(self, now: float) -> None:
        for flow in self._flows:
            if flow.servers:
                self._call_away(flow, now)

    def _call_away(self, flow: Flow, now: float) -> None:
        """Devices of a flow with nothing urgent left, to others that have."""
        flow.advance(now)
        if flow.urgent_left <= LEAST:
            self._look_round(flow, now)
        while flow.servers and flow.urgent_left <= LEAST and flow.left > LEAST and may_leave(flow, now):
            found = self._calls.called(flow)
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
        devices = wanted(flow)
        movers = [server for server in flow.servers if server.view.device_id in devices]
        if movers:
            flow.servers = [server for server in flow.servers if server.view.device_id not in devices]
            self._predict(flow, now)
            self._move_on(self._feed(movers, now), now)

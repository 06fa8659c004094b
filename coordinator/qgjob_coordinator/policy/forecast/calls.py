"""Which flow a device is called away to as a look ahead goes on: the class rule of `switching`."""

from __future__ import annotations

import heapq
from collections import defaultdict

from qgjob_coordinator.policy.forecast.flow import LEAST, Flow, Rank, Server
from qgjob_coordinator.policy.forecast.offers import FlowOffers, Offer, top
from qgjob_coordinator.policy.planning.calling import MOST
from qgjob_coordinator.policy.planning.switching import STAY_INSTALLS
from qgjob_coordinator.policy.planning.work import GroupKey


class FlowCalls:
    """Flows that call devices away: with urgent jobs that nobody serves, and that have waited for long enough."""

    def __init__(self, offers: FlowOffers) -> None:
        self._offers = offers
        self._heaps: dict[int, list[Offer]] = defaultdict(list)

    def note(self, flow: Flow, now: float) -> None:
        """The flow calls if it may."""
        if flow.calls(now):
            number = self._offers.number(flow.devices)
            heapq.heappush(self._heaps[number], (flow.rank(), flow.group.key, 0, flow))

    def called(self, flow: Flow) -> tuple[Server, Flow] | None:
        """Which device of a flow goes to which other one."""
        org_id = flow.group.key[0]
        servers = {number: server for server in flow.servers for number in server.sets}
        calls = [(call, number) for number in servers if (call := self._best(number, org_id)) is not None]
        if not calls:
            return None
        (*_, caller), number = min(calls, key=lambda each: each[0][:2])
        return servers[number], caller

    def _best(self, number: int, org_id: str) -> tuple[Rank, GroupKey, Flow] | None:
        """The best one of those that the devices of a set may serve, and that one which works for the org may join."""
        heap = self._heaps[number]
        closed: list[Offer] = []
        found = None
        while len(closed) < MOST and (best := top(heap, Flow.is_unserved)) is not None:
            if self._offers.open_to(best[3].group, org_id):
                found = best[0], best[1], best[3]
                break
            closed.append(heapq.heappop(heap))
        for offer in closed:
            heapq.heappush(heap, offer)
        return found


def may_leave(flow: Flow, now: float) -> bool:
    """Whether a device of a flow with nothing urgent left may be called away: not from what it alone ends soon."""
    group = flow.group
    return group.serving != 1 or group.left(now) >= STAY_INSTALLS * group.install


def wanted(flow: Flow) -> set[str]:
    """The devices that may serve what is urgent in the flow's group: they go there before any is called away."""
    devices: set[str] = set()
    for other in flow.group.flows:
        if other.urgent_left > LEAST:
            devices |= other.devices
    return devices

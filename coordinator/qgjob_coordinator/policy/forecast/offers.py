"""Which flow a device joins as a look ahead goes on.

Flows are kept in heaps, one for each set of devices that may serve them, so that a device looks at the tops of a few.
While a flow drains and its group gets devices it ranks lower and is worth less: none ranks better than its heap says.
When a device leaves its group it is offered anew. Orgs whose devices are bounded have heaps of their own, so that one
with as many as it may have is passed over as a whole.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from qgjob_coordinator.policy.forecast.flow import Flow, Rank, Server, Serving
from qgjob_coordinator.policy.forecast.reach import DeviceIds
from qgjob_coordinator.policy.planning.work import GroupKey

Offer = tuple[Rank, GroupKey, int, Flow]
ANY_ORG = ""


class FlowOffers:
    """The flows that are worth an installation, best first."""

    def __init__(self, most: Mapping[str, int]) -> None:
        """`most`: how many devices may work for each org; one not in it: any number."""
        self._most = most
        self._has: Counter[str] = Counter()
        self._numbers: dict[DeviceIds, int] = {}
        self._heaps: dict[int, dict[str, list[Offer]]] = defaultdict(dict)
        self._last = 0
        self.reopened: set[int] = set()

    def sets_of(self, device_id: str) -> tuple[int, ...]:
        """The numbers of the sets that a device is in, of those that are numbered."""
        return tuple([number for ids, number in self._numbers.items() if device_id in ids])

    def number(self, devices: DeviceIds) -> int:
        """Of a set of devices."""
        return self._numbers.setdefault(devices, len(self._numbers))

    def add(self, flow: Flow) -> None:
        """Offers a flow, in place of its offer before."""
        number, org_id = self.number(flow.devices), flow.group.key[0]
        self._last += 1
        flow.offer = self._last
        heap = self._heaps[number].setdefault(org_id if org_id in self._most else ANY_ORG, [])
        heapq.heappush(heap, (flow.rank(), flow.group.key, flow.offer, flow))
        self.reopened.add(number)

    def best(self, sets: Sequence[int], now: float) -> Flow | None:
        """The best flow for a device that is in these sets."""
        best: Offer | None = None
        for number in sets:
            for org_id, heap in self._heaps[number].items():
                if heap and not self.full(org_id):
                    found = top(heap, lambda flow: flow.worth(now))
                    if found is not None and (best is None or found < best):
                        best = found
        return None if best is None else best[3]

    # ---- what orgs have ----

    def full(self, org_id: str) -> bool:
        """No more devices may work for the org."""
        most = self._most.get(org_id)
        return most is not None and self._has[org_id] >= most

    def open_to(self, group: Serving, org_id: str | None) -> bool:
        """Whether caps let a device that works for this org join the group."""
        return not group.full and (group.key[0] == org_id or not self.full(group.key[0]))

    def works_for(self, server: Server, org_id: str) -> None:
        """A device works for an org from now on."""
        server.org_id = org_id
        self._has[org_id] += 1

    def leaves(self, server: Server) -> None:
        """It no longer does."""
        org_id, server.org_id = server.org_id, None
        if org_id is None:
            return
        if self.full(org_id):
            self.reopened.update([number for number, heaps in self._heaps.items() if heaps.get(org_id)])
        self._has[org_id] -= 1


def top(heap: list[Offer], stands: Callable[[Flow], bool]) -> Offer | None:
    """The best of a heap as it ranks now; what does not stand any more is dropped."""
    while heap:
        told, key, offer, flow = heap[0]
        if (offer and offer != flow.offer) or not stands(flow):
            heapq.heappop(heap)
            continue
        ranked = flow.rank()
        if ranked == told:
            return heap[0]
        heapq.heapreplace(heap, (ranked, key, offer, flow))
    return None

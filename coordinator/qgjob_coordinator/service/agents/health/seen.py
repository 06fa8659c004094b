"""What others say of the devices in question: jobs that went on elsewhere, and the other devices of the fleet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qgjob_coordinator.errors import OrgDamagedError
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.health.asking import did_elsewhere
from qgjob_coordinator.policy.health.hosts import Host, OtherHosts, besides, host
from qgjob_coordinator.policy.health.others import Devices, Group, Installation, together
from qgjob_coordinator.policy.health.record import Mark, Record, answered, recent
from qgjob_coordinator.service.agents.health.books import Page
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.fleet import AgentRow
from qgjob_coordinator.store.names import group_id
from qgjob_coordinator.store.store import Store

MOST_ASKED = 64
"""Jobs that the store is asked for at once."""


async def ask(store: Store, pages: Mapping[str, Page], faults: OrgFaults) -> bool:
    """Asks what became of jobs that failed on these devices, and notes it; False when there was nothing to ask.

    Of an org whose data are damaged nothing is learned. Raises StoreUnavailableError.
    """
    asked: dict[str, dict[str, list[tuple[str, Mark]]]] = defaultdict(lambda: defaultdict(list))
    open_ones = [(device_id, m) for device_id, page in pages.items() for m in page.record.marks if not m.sure]
    for device_id, mark in open_ones:
        asked[mark.build[0]][mark.ulid].append((device_id, mark))

    async def read(org_id: str, names: Sequence[str]) -> list[Job | None]:
        jobs: list[Job | None] = []
        for n in range(0, len(names), MOST_ASKED):  # all of them: those that stay open keep none from its answer
            jobs += await store.reads.get(org_id, names[n : n + MOST_ASKED])
        return jobs

    for org_id, ulids in asked.items():
        try:
            jobs = await faults.guard("health", org_id, read(org_id, list(ulids)))
        except OrgDamagedError:
            continue  # told
        for failures, job in zip(ulids.values(), jobs, strict=True):
            for device_id, mark in failures:
                done = did_elsewhere(mark.kind, job, device_id)
                if done is not None:
                    page = pages[device_id]
                    page.record = answered(page.record, {(mark.kind, mark.ulid): done})
    return bool(open_ones)


@dataclass(frozen=True, slots=True)
class _Fleet:
    """Devices that are there, as their coordinators have written of them, with what is installed on each."""

    known: Mapping[str, tuple[Target, Record, Installation | None]]
    together: Mapping[Target, Group]
    hosts: Mapping[str, Host]


class Seen:
    """The fleet as one session sees it: its own devices as they are known here, all others as they are in the store.

    Costs what the session has of devices, not what the fleet has.
    """

    def __init__(self, fleet: _Fleet, own: Mapping[str, Page]) -> None:
        self._fleet = fleet
        before: dict[Target, list[tuple[Record, Installation | None]]] = defaultdict(list)
        after: dict[Target, list[tuple[Record, Installation | None]]] = defaultdict(list)
        for device_id, page in own.items():
            if device_id in fleet.known:
                target, record, there = fleet.known[device_id]
                before[target].append((record, there))
                after[target].append((page.record, there))
        self._before = {target: together(devices) for target, devices in before.items()}
        self._after = {target: together(devices) for target, devices in after.items()}

    def others(self, target: Target, device_id: str, record: Record) -> Devices:
        """All of the target but this one, whose record is given as it was when the fleet was looked at."""
        none = Group()
        devices = Devices((self._fleet.together.get(target, none),))
        devices = devices.instead(self._before.get(target, none), self._after.get(target, none))
        known = self._fleet.known.get(device_id)
        return devices if known is None or known[0] is not target else devices.without(record, known[2])

    def other_hosts(self, agent_id: str, target: Target) -> OtherHosts:
        """The agents beside this one that have devices of a target."""
        return besides(agent_id, target, self._fleet.hosts)


class FleetHealth:
    """One a process: every device of the fleet is looked at once for each reading, however many sessions ask."""

    def __init__(self, fleet: FleetReader) -> None:
        self._reader = fleet
        self._rows: Sequence[AgentRow] | None = None
        self._fleet = _Fleet({}, {}, {})

    async def look(self, own: Mapping[str, Page]) -> Seen:
        """The fleet as it is in the store, and these devices as they are known here. Raises StoreUnavailableError."""
        rows = await self._reader.rows()
        if rows is not self._rows:
            self._rows, self._fleet = rows, _look(rows, wall_ms())
        return Seen(self._fleet, own)


def _look(rows: Sequence[AgentRow], now: int) -> _Fleet:
    known: dict[str, tuple[Target, Record, Installation | None]] = {}
    devices: dict[Target, list[tuple[Record, Installation | None]]] = defaultdict(list)
    hosts: dict[str, list[tuple[Target, Record]]] = defaultdict(list)
    for agent_id, row in ((a.agent_id, d) for a in rows if a.state == "open" for d in a.devices if d.present):
        info, record = row.info, recent(row.kept.record, now)
        there = None
        if info.org_id is not None and info.app_version_id is not None:
            there = Installation((info.org_id, group_id(info.app_version_id, info.target)), row.installed_at)
        known[info.device_id] = info.target, record, there
        devices[info.target].append((record, there))
        hosts[agent_id].append((info.target, record))
    groups = {target: together(some) for target, some in devices.items()}
    return _Fleet(known, groups, {agent_id: host(some) for agent_id, some in hosts.items()})

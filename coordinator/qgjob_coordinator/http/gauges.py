"""Gauges of the whole system, computed from the store by whoever is scraped: every coordinator shows the same ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qgjob_coordinator.errors import OrgDamagedError
from qgjob_coordinator.model.enums import AgentState, DeviceHealth, DeviceState, Status, Target
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store

ORGS_AT_ONCE = 16
"""Orgs whose counters are read at the same time: a scrape leaves most of the store's connections to others."""


@dataclass(frozen=True, slots=True)
class FleetGauges:
    """The fleet in numbers, as the store shows it now."""

    devices: Mapping[tuple[DeviceState, DeviceHealth, Target], int]
    agents: Mapping[AgentState, int]


@dataclass(frozen=True, slots=True)
class JobGauges:
    """Jobs of all orgs in numbers, as the store holds them now."""

    jobs: Mapping[tuple[Status, Target], int]
    oldest_queued_age_seconds: float


async def fleet(reader: FleetReader) -> FleetGauges:
    """Raises StoreUnavailableError."""
    agents = await reader.agents()
    devices = await reader.devices()
    return FleetGauges(Counter((d.state, d.health, d.target) for d in devices), Counter(a.state for a in agents))


async def jobs(store: Store, faults: OrgFaults) -> JobGauges:
    """Raises StoreUnavailableError when some org can't be reached: a sum without it would look like jobs that are gone.

    One whose data are damaged is left out, since that may stay so for long: `qgjob_org_faults_total` tells.
    """
    counted: Counter[tuple[Status, Target]] = Counter()
    oldest: list[int] = []
    orgs = sorted(await store.all_orgs())
    for i in range(0, len(orgs), ORGS_AT_ONCE):
        for counts, since in await _orgs(store, faults, orgs[i : i + ORGS_AT_ONCE]):
            counted.update(counts)
            if since is not None:
                oldest.append(since)
    age = max(0, wall_ms() - min(oldest)) / 1000 if oldest else 0.0
    return JobGauges(counted, age)


async def _orgs(
    store: Store, faults: OrgFaults, org_ids: Sequence[str]
) -> Sequence[tuple[Mapping[tuple[Status, Target], int], int | None]]:
    async def one(org_id: str) -> tuple[Mapping[tuple[Status, Target], int], int | None]:
        try:
            return await faults.guard("metrics", org_id, _org(store, org_id))
        except OrgDamagedError:
            return {}, None  # told

    return await asyncio.gather(*(one(o) for o in org_ids))


async def _org(store: Store, org_id: str) -> tuple[Mapping[tuple[Status, Target], int], int | None]:
    """Jobs of an org by status and target, and since when the oldest waits (ms)."""
    counts, _ = await store.reads.counters(org_id)
    waits = any(n > 0 for (status, _), n in counts.items() if status is Status.QUEUED)
    return counts, await store.reads.oldest_waiting_at(org_id) if waits else None

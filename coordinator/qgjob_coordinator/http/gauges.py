"""Gauges of the whole system, computed from the store by whoever is scraped: every coordinator shows the same ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qgjob_coordinator.model.enums import AgentState, DeviceHealth, DeviceState, Status, Target
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.store.store import Store

ORGS_AT_ONCE = 16
"""Orgs whose counters are read at the same time: a scrape leaves most of the store's connections to others."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """Counts of what the store holds now."""

    jobs: Mapping[tuple[Status, Target], int]
    devices: Mapping[tuple[DeviceState, DeviceHealth, Target], int]
    agents: Mapping[AgentState, int]
    oldest_queued_age_seconds: float


async def read(store: Store, fleet: FleetReader) -> Gauges:
    """All gauges. Raises StoreUnavailableError."""
    agents = await fleet.agents()
    devices = await fleet.devices()
    jobs: Counter[tuple[Status, Target]] = Counter()
    oldest: list[int] = []
    orgs = sorted(await store.all_orgs())
    for i in range(0, len(orgs), ORGS_AT_ONCE):
        for counts, since in await _orgs(store, orgs[i : i + ORGS_AT_ONCE]):
            jobs.update(counts)
            if since is not None:
                oldest.append(since)
    return Gauges(
        jobs=jobs,
        devices=Counter((d.state, d.health, d.target) for d in devices),
        agents=Counter(a.state for a in agents),
        oldest_queued_age_seconds=max(0, wall_ms() - min(oldest)) / 1000 if oldest else 0.0,
    )


async def _orgs(
    store: Store, org_ids: Sequence[str]
) -> Sequence[tuple[Mapping[tuple[Status, Target], int], int | None]]:
    return await asyncio.gather(*(_org(store, o) for o in org_ids))


async def _org(store: Store, org_id: str) -> tuple[Mapping[tuple[Status, Target], int], int | None]:
    """Jobs of an org by status and target, and since when the oldest waits (ms)."""
    counts, _ = await store.reads.counters(org_id)
    waits = any(n > 0 for (status, _), n in counts.items() if status is Status.QUEUED)
    return counts, await store.reads.oldest_waiting_at(org_id) if waits else None

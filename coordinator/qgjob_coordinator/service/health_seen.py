"""What others say of the devices in question: jobs that went on elsewhere, and the other devices of the fleet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.health.asking import did_elsewhere
from qgjob_coordinator.policy.health.judging import Devices, together
from qgjob_coordinator.policy.health.record import Build, Mark, Record, answered, recent
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.health_books import Page
from qgjob_coordinator.store.codec import group_id
from qgjob_coordinator.store.store import Store

MOST_ASKED = 64
"""Jobs that the store is asked for at once."""


async def ask(store: Store, pages: Mapping[str, Page]) -> bool:
    """Asks what became of jobs that failed on these devices, and notes it; False when there was nothing to ask.

    Raises StoreUnavailableError.
    """
    asked: dict[str, dict[str, list[tuple[str, Mark]]]] = defaultdict(lambda: defaultdict(list))
    open_ones = [(device_id, m) for device_id, page in pages.items() for m in page.record.marks if not m.sure]
    for device_id, mark in open_ones:
        asked[mark.build[0]][mark.ulid].append((device_id, mark))
    for org_id, ulids in asked.items():
        names = list(ulids)
        jobs = []
        for n in range(0, len(names), MOST_ASKED):  # all of them: those that stay open keep none from its answer
            jobs += await store.reads.get(org_id, names[n : n + MOST_ASKED])
        for failures, job in zip(ulids.values(), jobs, strict=True):
            for device_id, mark in failures:
                done = did_elsewhere(mark.kind, job, device_id)
                if done is not None:
                    page = pages[device_id]
                    page.record = answered(page.record, {(mark.kind, mark.ulid): done})
    return bool(open_ones)


class Fleet:
    """The fleet's devices that are there, with what their coordinators have written of them."""

    def __init__(self, known: Mapping[Target, Mapping[str, tuple[Record, Build | None]]]) -> None:
        self._known = known
        self._together = {target: together(devices.values()) for target, devices in known.items()}

    def others(self, target: Target, device_id: str, record: Record) -> Devices:
        """All of the target but this one, whose record is given as it was when the fleet was looked at."""
        known = self._known[target].get(device_id)
        devices = self._together[target]
        return devices if known is None else devices.without(record, known[1])


async def look_at(fleet: FleetReader, own: Mapping[str, Page]) -> Fleet:
    """The fleet as it is in the store, and these devices as they are known here. Raises StoreUnavailableError."""
    rows = await fleet.rows()
    now = wall_ms()
    known: dict[Target, dict[str, tuple[Record, Build | None]]] = {target: {} for target in Target}
    for row in (d for a in rows if a.state == "open" for d in a.devices if d.present):
        info, page = row.info, own.get(row.info.device_id)
        record = recent(row.kept.record, now) if page is None else page.record
        build = None
        if info.org_id is not None and info.app_version_id is not None:
            build = info.org_id, group_id(info.app_version_id, info.target)
        known[info.target][info.device_id] = record, build
    return Fleet(known)

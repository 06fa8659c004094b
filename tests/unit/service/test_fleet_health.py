"""What it costs to compare a session's devices with the fleet, and that it says the same as a look at all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.health.others import Devices, Installation, together
from qgjob_coordinator.policy.health.record import Kind, Mark, Record
from qgjob_coordinator.service.agents.health.books import Page
from qgjob_coordinator.service.agents.health.seen import FleetHealth
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.store.fleet import AgentRow, DeviceRow
from qgjob_coordinator.store.health import Kept
from qgjob_coordinator.store.names import group_id

VERSIONS = ("v1", "v2", "v3")
HOUR_MS = 3_600_000
TIMES = (0, wall_ms() - HOUR_MS, wall_ms() + HOUR_MS)
"""Of installations: unknown, before all that failed, and after it."""
Shown = tuple[Record, tuple[str, int] | None]


class Looked(tuple[DeviceRow, ...]):
    """An agent's devices; counts how often somebody goes through them."""

    times = 0

    def __iter__(self) -> Iterator[DeviceRow]:
        type(self).times += 1
        return super().__iter__()


class Store:
    """A fleet of these agents; counts how often it is read."""

    def __init__(self, rows: list[AgentRow]) -> None:
        self.rows, self.reads = rows, 0
        self.fleet = self

    async def read(self) -> list[AgentRow]:
        self.reads += 1
        await asyncio.sleep(0)
        return self.rows


def broken(*versions: str) -> Record:
    """A device on which installations failed, of these builds."""
    now = wall_ms()
    builds = [("acme", group_id(version, Target.EMULATOR)) for version in versions]
    return Record(tuple(Mark(Kind.INSTALL, build, f"job{n}", now) for n, build in enumerate(builds)), proven=True)


def agent(agent_id: str, devices: list[Shown]) -> AgentRow:
    rows = []
    for n, (record, there) in enumerate(devices):
        id_ = f"{agent_id}-{n}"
        version, at = there or (None, 0)
        info = DeviceInfo(id_, id_, Target.EMULATOR, org_id=version and "acme", app_version_id=version)
        rows.append(DeviceRow(info, agent_id, True, None, 0, 0, None, (), {}, Kept(1, record), None, at))
    return AgentRow(agent_id, 1, "open", {}, "c", None, None, (), 0, Looked(rows))


async def test_sessions_that_compare_at_once_look_at_each_device_once() -> None:
    agents = [agent(f"a{n}", [(broken("v1"), ("v2", 0))] * 3) for n in range(40)]
    store = Store(agents)
    health = FleetHealth(FleetReader(cast(Any, store)))
    Looked.times = 0
    own = [{d: Page(Kept(), broken("v1")) for d in (f"a{n}-0", f"a{n}-1", f"a{n}-2")} for n in range(40)]
    seen = await asyncio.gather(*(health.look(pages) for pages in own))
    assert (store.reads, Looked.times) == (1, len(agents))
    assert {s.others(Target.EMULATOR, f"a{n}-0", broken("v1")).count for n, s in enumerate(seen)} == {119}


records = st.builds(broken, *[st.sampled_from(VERSIONS)] * 2) | st.just(Record(proven=True))
devices = st.tuples(records, st.none() | st.tuples(st.sampled_from(VERSIONS), st.sampled_from(TIMES)))


@given(st.lists(devices, min_size=1, max_size=4), st.lists(devices, max_size=4), st.lists(records, max_size=3))
def test_the_own_devices_count_as_they_are_known_here(
    own: list[Shown], others: list[Shown], changed: list[Record]
) -> None:
    """The same as if all devices of the fleet were gone through once more, for each of them."""
    fleet = [agent("a1", own), agent("a2", others)]
    pages = {f"a1-{n}": Page(Kept(), record) for n, record in enumerate(changed)}
    pages["unknown"] = Page(Kept(), broken("v1"))
    seen = asyncio.run(FleetHealth(FleetReader(cast(Any, Store(fleet)))).look(pages))
    known = [_as_known(row, pages) for a in fleet for row in a.devices]
    for device_id, record, _ in known:
        rest = Devices((together((r, there) for d, r, there in known if d != device_id),))
        assert _of(record, seen.others(Target.EMULATOR, device_id, record)) == _of(record, rest)


def _as_known(row: DeviceRow, pages: dict[str, Page]) -> tuple[str, Record, Installation | None]:
    page, version = pages.get(row.info.device_id), row.info.app_version_id
    record = row.kept.record if page is None else page.record
    build = None if version is None else ("acme", group_id(version, Target.EMULATOR))
    return row.info.device_id, record, None if build is None else Installation(build, row.installed_at)


def _of(record: Record, found: Devices) -> tuple[object, ...]:
    """What the others did with those builds that failed there."""
    did = [(found.failing(m.build), found.installed_since(m.build, m.at)) for m in record.marks]
    return found.count, found.with_jobs, did

"""A coordinator's sessions and scheduler on a store, without doors and loops: a test says when a round is.

    async with Planner(Store(url), "c1") as one:
        live = await one.connect("agent-1", 4)
        await one.plan("acme")
        await one.finish_one("agent-1-1")

Its devices are `<agent_id>-1`, `<agent_id>-2`, … What they run takes no time; it is told to have taken what jobs and
installations are expected to take in a fleet that has run none.
"""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, Self

from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.model.enums import Outcome, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, TYPICAL_SECONDS, Limits
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, FinishedReport, Hello, Installed
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.agents.slots import Slot
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes.waiting import until

TIMES = Times(5_000, 600_000, 60_000, 10_000, 1_800_000, 300_000)
CREDIT = 1000
JOB_MS, INSTALL_MS = round(1000 * TYPICAL_SECONDS), round(1000 * INSTALL_SECONDS)

_report_ids = itertools.count(1)


class Planner:
    """See the module."""

    def __init__(self, store: Store, name: str, *, limits: Limits | None = None, quota: int | None = None) -> None:
        self.store = store
        self.name = name
        hub, telemetry = Hub(), Telemetry()
        self._hub = hub
        self._sessions = Sessions(
            store, hub, telemetry, TIMES, name, log_transitions=False, faults=OrgFaults(telemetry)
        )
        self._scheduler = Scheduler(
            store,
            self._sessions,
            hub,
            FleetReader(store),
            telemetry,
            limits or Limits(),
            quota,
            log_transitions=False,
            faults=OrgFaults(telemetry),
        )
        self._lives: list[LiveSession] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for live in self._lives:
            await self._sessions.close(live, "the test ends")
        await self.store.close()

    async def connect(self, agent_id: str, devices: int, **facts: Any) -> None:
        """An agent's session is opened here, with so many devices; emulators, unless `facts` say otherwise."""
        values: dict[str, Any] = {"target": Target.EMULATOR} | facts
        ids = [f"{agent_id}-{n}" for n in range(1, devices + 1)]
        infos = tuple(DeviceInfo(device_id, device_id, **values) for device_id in ids)
        hello = Hello(PROTOCOL_VERSION, agent_id, f"{agent_id}.1", 1, "v", "host", infos, (), CREDIT)
        self._lives.append(await self._sessions.open(hello))

    async def plan(self, *org_ids: str) -> None:
        """Rounds until there is nothing more to assign, after it heard of the orgs."""
        for org_id in org_ids:
            self._hub.work(org_id, local=False)
        while await self._scheduler.round():
            pass

    # ---- devices ----

    @property
    def installs(self) -> int:
        """How many installations its devices made."""
        return sum(slot.installs for slot in self.slots.values())

    @property
    def slots(self) -> dict[str, Slot]:
        """Its devices, by id."""
        return {device_id: slot for live in self._lives for device_id, slot in live.session.slots.items()}

    @property
    def busy(self) -> list[str]:
        """Those that hold attempts."""
        return [device_id for device_id, slot in self.slots.items() if slot.leases]

    def orgs(self) -> Counter[str]:
        """How many of them hold attempts of each org."""
        return Counter(next(iter(self.slots[device_id].leases.values())).org_id for device_id in self.busy)

    async def finish_one(self, device_id: str) -> None:
        """The device installs what it has to, and passes the attempt that is next; the store knows it on return."""
        (live,) = (live for live in self._lives if device_id in live.session.slots)
        slot = live.session.slots[device_id]
        lease = next(iter(slot.leases.values()))
        (job,) = await self.store.reads.get(lease.org_id, [lease.ulid])
        assert job is not None
        build = lease.org_id, job.app_version_id
        if slot.installed != build:
            live.installed(Installed(device_id, *build, True, Outcome.PASSED, INSTALL_MS))
        now = wall_ms()
        ended = FinishedReport(
            next(_report_ids), lease.org_id, lease.ulid, lease.token, Outcome.PASSED, now - JOB_MS, now, JOB_MS,
            None, None, None, False, begun=True,
        )  # fmt: skip
        await live.reports([ended])
        await until(lambda: lease.token not in live.session.leases, f"the end of {lease.ulid} is not written")

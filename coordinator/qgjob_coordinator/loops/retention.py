"""Removes what is older than it has to be kept, with every index entry of it; and orgs of which nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.each_org import EachOrg
from qgjob_coordinator.model.enums import FINAL
from qgjob_coordinator.service.clock import held_ms, wall_ms
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.holds import ForgetWord

PAUSE_SECONDS = 60.0
BATCH = 200

log = structlog.get_logger(__name__)


class Retention:
    """Looks at the oldest finished jobs of every org, a batch at a time, and at what is gone: orgs, agents, devices."""

    def __init__(self, store: Store, retention_ms: int, faults: OrgFaults) -> None:
        self._store = store
        self._keep_ms = retention_ms
        self._faults = faults
        self._sight = Sight("retention_blind", log)

    async def run(self) -> None:
        """Looks for ever."""
        while True:
            try:
                await self.look(wall_ms() - held_ms())
            except StoreUnavailableError as e:
                self._sight.lost(e)
            else:
                self._sight.seen()
            await asyncio.sleep(PAUSE_SECONDS)

    async def look(self, now: int) -> int:
        """Removes what is due at `now` (ms), whatever orgs can't be reached; how many jobs.

        An agent that was heard, or a device that was shown, after that time before `now` for which jobs are kept stays.
        So does what an operator's hold keeps: whoever drained a host wants it drained when it is back.

        Raises StoreUnavailableError: OrgsAwayError, when all others were served.
        """
        orgs = EachOrg(self._faults, at_once=1)  # it has time, and calls that matter more go between
        removed = 0
        idle: list[str] = []

        async def retire(org_id: str) -> None:
            nonlocal removed
            if await self._store.registry.nothing_left(org_id):
                idle.append(org_id)
            else:
                removed += await self._retire(org_id, now)

        await orgs.serve("retention", await self._store.all_orgs(), retire)
        await self._leave(idle, now)
        await self._forget(now)
        orgs.tell()
        return removed

    async def _leave(self, idle: Sequence[str], now: int) -> None:
        for i in range(0, len(idle), BATCH):
            for org_id in await self._store.registry.leave(idle[i : i + BATCH], now):
                log.info("org_left", org_id=org_id)

    async def _forget(self, now: int) -> None:
        fleet, before = self._store.fleet, now - self._keep_ms
        absent: list[str] = []
        for agent in await fleet.read():
            if agent.state == "closed" and (agent.seen_at or 0) < before:
                done = await fleet.forget(agent.agent_id, now, before)
                if done.word is ForgetWord.OK:
                    log.info("agent_forgotten", agent_id=agent.agent_id, devices=len(done.devices))
                    continue
            gone = (d for d in agent.devices if not d.present and (d.gone_at is None or d.gone_at < before))
            absent += (d.info.device_id for d in gone)
        for i in range(0, len(absent), BATCH):
            for device_id in await fleet.forget_absent(absent[i : i + BATCH], now, before):
                log.info("device_forgotten", device_id=device_id)

    async def _retire(self, org_id: str, now: int) -> int:
        gone = 0
        for status in sorted(FINAL):
            skip = 0
            while True:
                looked, dropped = await self._store.jobs.retire(org_id, status, now - self._keep_ms, skip, BATCH)
                gone += dropped
                skip += looked - dropped
                if looked < BATCH:
                    break
        if gone:
            log.info("jobs_retired", org_id=org_id, count=gone)
        return gone

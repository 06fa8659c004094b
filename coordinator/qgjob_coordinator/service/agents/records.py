"""What the store knows of an agent and its devices beside what the agent shows: holds, labels of operators, wear.

A session plans by it from its beginning, and by each newer hold as soon as it hears of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from qgjob_coordinator.errors import AgentSilentError, StoreUnavailableError
from qgjob_coordinator.model.fleet import in_force
from qgjob_coordinator.service.agents.recalls import Recalls
from qgjob_coordinator.service.agents.session import Session
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.store.fleet import AgentRow, DeviceRow
from qgjob_coordinator.store.store import Store

log = structlog.get_logger(__name__)


class Records:
    """One session's. `settled` returns when no plan goes on that knew less; `know_health` takes records of failures."""

    def __init__(
        self,
        session: Session,
        recalls: Recalls,
        store: Store,
        hub: Hub,
        settled: Callable[[], Awaitable[None]],
        know_health: Callable[[Iterable[DeviceRow]], None],
    ) -> None:
        self._session = session
        self._recalls = recalls
        self._store = store
        self._hub = hub
        self._settled = settled
        self._know_health = know_health
        self._holds_seen = -1
        self._applied = -1
        self._applying: asyncio.Task[None] | None = None
        self._again = False

    async def load(self) -> None:
        """Reads them for the devices that the session has. Raises StoreUnavailableError."""
        self.know(*await self.read())

    async def read(self) -> tuple[int, list[AgentRow]]:
        """The number of the newest hold, and the agent's row. The number is read first: it can't claim too much."""
        return await self._store.fleet.hold_number(), await self._store.fleet.read([self._session.agent_id])

    async def read_for_new(self) -> tuple[int, list[AgentRow]]:
        """The same for devices that are about to be shown: no older than what the others are planned by.

        A newer hold may have come in while it was read; taken as it is the new devices would have no holds at all.
        Raises StoreUnavailableError.
        """
        known = await self.read()
        while known[0] < self._holds_seen:
            known = await self.read()
        return known

    def know(self, number: int, rows: Sequence[AgentRow]) -> None:
        """Takes over what was read, unless something newer is known."""
        session = self._session
        if not rows or number < self._holds_seen:
            return
        self._holds_seen = number
        session.holds = rows[0].holds
        self._know_health(rows[0].devices)
        for row in rows[0].devices:
            slot = session.slots.get(row.info.device_id)
            if slot is not None:
                slot.worn(row.installs, row.busy_ms)
                slot.holds = row.holds
                slot.operator_labels = dict(row.labels)
                slot.labels = {**slot.info.labels, **row.labels}

    def heard(self, number: int) -> None:
        """The newest hold of the fleet has this number."""
        if number != self._applied:
            self.follow()

    async def apply(self) -> None:
        """Plans by what operators said, takes back what held devices have not begun, and confirms it in the store.

        Raises AgentSilentError when the agent did not give back, or say that it has begun, what it was asked for.
        """
        await self.load()
        number = self._holds_seen
        await self._settled()
        tokens = self._unbegun_on_held_devices(wall_ms())
        if tokens:
            await self._recalls.ask_and_wait(tokens)
        await self._store.fleet.confirm_holds(self._session.agent_id, self._session.epoch, number)
        self._applied = max(self._applied, number)
        self._hub.work("", local=False)

    def follow(self) -> None:
        """Applies them beside the stream: the answer to a recall comes through it."""
        self._again = True
        if self._applying is None or self._applying.done():
            self._applying = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            while self._again:  # what came after it had begun may be new to it
                self._again = False
                await self.apply()
        except (AgentSilentError, StoreUnavailableError) as e:
            log.warning("holds_not_confirmed", agent_id=self._session.agent_id, error=e.message)

    def _unbegun_on_held_devices(self, now: int) -> list[str]:
        session = self._session
        all_held = bool(in_force(session.holds, now))
        return [
            lease.token
            for slot in session.slots.values()
            if all_held or not slot.takes_work(now)
            for lease in slot.leases.values()
            if not lease.started
        ]

    async def stop(self) -> None:
        """Ends what it does."""
        if self._applying is not None:
            self._applying.cancel()
            await asyncio.gather(self._applying, return_exceptions=True)

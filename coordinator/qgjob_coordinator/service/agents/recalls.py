"""Attempts that an agent has not begun, asked back: only its answer releases them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from qgjob_coordinator.errors import AgentSilentError, OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.service.agents.messages import Recall
from qgjob_coordinator.service.agents.occupancy import Occupants
from qgjob_coordinator.service.agents.session import Session
from qgjob_coordinator.service.beside import Beside
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.transitions import tell_settled
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.endings import Release, ReleaseCharge
from qgjob_coordinator.tasks import together
from qgjob_coordinator.telemetry import Telemetry

ANSWER_SECONDS = 2.0
PATIENCE_SECONDS = 1.0
"""So long an answer's handling waits for the store, and the stream with it."""


class Recalls:
    """One session's questions, by number."""

    def __init__(
        self,
        session: Session,
        occupants: Occupants,
        store: Store,
        hub: Hub,
        telemetry: Telemetry,
        faults: OrgFaults,
    ) -> None:
        self._session = session
        self._occupants = occupants
        self._store = store
        self._hub = hub
        self._telemetry = telemetry
        self._number = self._answered = 0
        self._awaited: dict[int, asyncio.Future[None]] = {}
        self._owed: dict[str, list[Release]] = defaultdict(list)  # by org, what the store is still to be told
        self._faults = faults
        self._behind = Beside("attempts given back", self._release, part="recalls", faults=self._faults)

    def ask(self, device_id: str) -> None:
        """Asks for what the device has not begun, each attempt once; the answer releases it, whenever it comes."""
        slot = self._session.slots.get(device_id)
        leases = [x for x in list(slot.leases.values())[1:] if not (x.started or x.recalled)] if slot else []
        if leases:
            for lease in leases:
                lease.recalled = True
            self._say([lease.token for lease in leases])

    async def ask_and_wait(self, tokens: Sequence[str]) -> None:
        """Asks for attempts and waits for the answer. Raises AgentSilentError."""
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = self._say(tokens)
        self._awaited[number] = answered
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await answered
        except TimeoutError:
            raise AgentSilentError(
                f"agent {self._session.agent_id} did not confirm within {ANSWER_SECONDS:g} s that it begins no more; "
                "the hold is stored and holds for all later work, `qgjob devices show` tells when it is in force"
            ) from None
        finally:
            self._awaited.pop(number, None)

    def ask_nothing(self) -> int:
        """A question whose answer says only that all that was sent before it has reached the agent; its number."""
        return self._say(())

    def answer_came(self, number: int) -> bool:
        """Whether that question, or a later one, was answered: what comes now was sent after it."""
        return self._answered >= number

    def _say(self, tokens: Sequence[str]) -> int:
        self._number += 1
        self._session.say(Recall(self._number, tuple(tokens)))
        return self._number

    async def answered(self, number: int, released: Sequence[str]) -> None:
        """The agent gave attempts back that it had not begun: they are out of the books, and the store is told.

        An org that does not answer in a moment is told later: the agent's stream and the other orgs do not wait for it.
        """
        now = wall_ms()
        given: set[str] = set()
        for token in dict.fromkeys(released):
            lease = self._session.drop(token, now)
            if lease is not None:
                self._occupants.touch(lease.device_id)
                row = Release(lease.ulid, token, now, ReleaseCharge.NOBODY, "given back", 0.0)
                self._owed[lease.org_id].append(row)
                given.add(lease.org_id)
        self._answered = max(self._answered, number)
        awaited = self._awaited.get(number)
        if awaited is not None and not awaited.done():
            awaited.set_result(None)  # it begins none of them any more, whatever becomes of the store
        self._behind.answered()
        await together([self._tell(org_id) for org_id in sorted(given - self._behind.orgs)])

    async def close(self) -> None:
        """Tells no more: what the store was not told, the next session does not show."""
        await self._behind.close()

    async def _tell(self, org_id: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._faults.guard("recalls", org_id, self._release(org_id))
        except TimeoutError:
            self._behind.add(org_id, StoreUnavailableError(f"no answer came within {PATIENCE_SECONDS:g} s"))
        except (StoreUnavailableError, OrgDamagedError) as e:
            self._behind.add(org_id, e)

    async def _release(self, org_id: str) -> None:
        """Tells the store what the org is owed. Raises StoreUnavailableError."""
        owed = self._owed[org_id]
        while owed:
            rows = owed[:]
            _, settled = await self._store.leases.release(org_id, rows, wall_ms())
            del owed[: len(rows)]
            tell_settled(self._telemetry, org_id, ((row, "recalled") for row in settled if row))
        self._hub.work(org_id)
        self._hub.changed(org_id)

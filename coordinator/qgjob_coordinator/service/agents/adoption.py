"""What a session that opens takes over: leases that its agent shows are adopted, others of older sessions released."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.model.enums import Phase
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import Held, Hello, Welcome
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.agents.slots import Lease
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.halving import of_jobs
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.transitions import tell_settled
from qgjob_coordinator.store.names import group_id
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.sessions import ShownWord
from qgjob_coordinator.tasks import together
from qgjob_coordinator.telemetry import Telemetry

ORGS_AT_ONCE = 32

log = structlog.get_logger(__name__)


def replaced() -> StoreUnavailableError:
    """What an agent is told whose session is no longer its newest one before it was opened."""
    return StoreUnavailableError("the session was replaced while it was opened; connect again")


class Adoption:
    """Of all sessions of this coordinator."""

    def __init__(self, store: Store, hub: Hub, telemetry: Telemetry, times: Times, faults: OrgFaults) -> None:
        self._store = store
        self._hub = hub
        self._telemetry = telemetry
        self._times = times
        self._faults = faults

    async def reconcile(self, live: LiveSession, hello: Hello, life: int) -> Welcome:
        """Adopts what the agent shows, releases what it doesn't; `life` is the store's epoch from before the opening.

        Its set of orgs is left with those where it holds something: after a new life of the store all orgs are in it.
        Raises StoreUnavailableError.
        """
        session = live.session
        shown: dict[str, list[Held]] = defaultdict(list)
        for h in hello.held:
            shown[h.org_id].append(h)
        orgs = sorted(await self._store.agent_orgs(session.agent_id) | set(shown))
        if not await session.admit(list(shown)):
            raise replaced()
        adopted: list[str] = []
        gone: list[str] = []
        revoked: list[str] = []
        for first in range(0, len(orgs), ORGS_AT_ONCE):
            some = orgs[first : first + ORGS_AT_ONCE]
            answers = await together([self._adopt_or_later(live, org_id, shown.get(org_id, [])) for org_id in some])
            for org_id, words in zip(some, answers, strict=True):
                for h, word in zip(shown.get(org_id, []), words, strict=True):
                    if word is ShownWord.GONE:
                        gone.append(h.token)
                    else:
                        adopted.append(h.token)
                    if word is ShownWord.REVOKED:
                        revoked.append(h.token)
        behind = [org_id for org_id in orgs if org_id in live.unadopted.orgs]
        spare = [org_id for org_id in orgs if org_id not in shown and org_id not in behind]
        if spare:
            await self._spare(live, life, spare, behind)
        if self._store.epoch != life:
            raise StoreUnavailableError("the store has a new life; connect again")
        t = self._times
        return Welcome(
            self._store.epoch,
            t.heartbeat_ms,
            t.session_timeout_ms,
            t.lease_ms,
            t.kill_grace_ms,
            tuple(adopted),
            tuple(gone),
            tuple(revoked),
        )

    async def _spare(self, live: LiveSession, life: int, spare: Sequence[str], behind: Sequence[str]) -> None:
        """Orgs leave the agent's set; those `behind` stay, by name: they may have been in it as all orgs are.

        They are not the session's yet, so it admits them itself before it claims there.
        """
        session, sessions = live.session, self._store.sessions
        if behind and not await sessions.admit(session.agent_id, session.epoch, behind):
            raise replaced()
        await sessions.spare(session.agent_id, session.epoch, life, spare)

    async def _adopt_or_later(self, live: LiveSession, org_id: str, rows: Sequence[Held]) -> Sequence[ShownWord]:
        """One org; if it can't be reached and nothing is shown of it, what older sessions have there is released later.

        The agent runs none of that, and the fence of the org keeps older sessions out from then on: what they claim
        before is released with it. Raises StoreUnavailableError where something is shown: nobody knows whose it is.
        Where its data are damaged that may stay so for days, and the agent serves the other orgs: see `_meanwhile`.
        """
        try:
            return await self._faults.guard("adoption", org_id, self.adopt(live, org_id, rows))
        except StoreUnavailableError as e:
            if rows:
                raise
            live.unadopted.add(org_id, e)
            return ()
        except OrgDamagedError as e:
            live.unsettled[org_id] = rows
            live.unadopted.add(org_id, e)
            return self._meanwhile(live.session, org_id, rows)

    @staticmethod
    def _meanwhile(session: Session, org_id: str, rows: Sequence[Held]) -> list[ShownWord]:
        """What becomes of attempts that are shown of an org whose data are damaged.

        What began stays: it would be dead if the store could have given it away. What did not may be another agent's by
        now, so it is taken from this one, and counts as stray until a heartbeat shows that it did not begin meanwhile.
        """
        words = []
        for h in rows:
            if h.phase is Phase.UNSTARTED:
                session.stray(h.token, h.device_id)
                words.append(ShownWord.GONE)
            else:
                session.take(_lease(org_id, h), wall_ms())
                words.append(ShownWord.ADOPTED)
        return words

    async def adopt_later(self, live: LiveSession, org_id: str) -> Sequence[ShownWord]:
        """The same call again, for an org that could not be served at Connect. Raises StoreUnavailableError.

        What was taken from the agent is released by it, so not before it surely does not run there.
        """
        session, shown = live.session, live.unsettled.get(org_id, ())
        if any(h.token in session.strays for h in shown):
            raise StoreUnavailableError("an attempt that was taken from the agent may still run there")
        rows = [h for h in shown if session.booked(h.token) is not None]
        words = await self.adopt(live, org_id, rows, later=True)
        live.unsettled.pop(org_id, None)
        return words

    async def adopt(
        self, live: LiveSession, org_id: str, rows: Sequence[Held], *, later: bool = False
    ) -> Sequence[ShownWord]:
        """One org: what became of each attempt that is shown. Raises StoreUnavailableError.

        `later`: the session is open. What it has no more in its books was reported meanwhile, and stays out of them.
        """
        session = live.session
        released, words = await self._store.leases.adopt(
            org_id,
            session.agent_id,
            session.epoch,
            [(h.ulid, h.token) for h in rows],
            wall_ms(),
            random.random(),  # noqa: S311 - jitter
            session.came_back_below,
        )
        for h, word in zip(rows, words, strict=True):
            if word is ShownWord.GONE:
                known = session.drop(h.token, wall_ms())  # it may have been taken meanwhile
                if h.phase is Phase.RUNNING and (known is not None or not later):
                    session.stray(h.token, h.device_id)
        await self._take_over(
            live, org_id, [h for h, word in zip(rows, words, strict=True) if word is not ShownWord.GONE], later=later
        )
        if released:
            tell_settled(self._telemetry, org_id, ((row, "not_shown") for row in released))
            log.warning("leases_released", agent_id=session.agent_id, org_id=org_id, count=len(released))
        if released or rows:
            self._hub.work(org_id)
            self._hub.changed(org_id)
        return words

    async def _take_over(self, live: LiveSession, org_id: str, rows: Sequence[Held], *, later: bool) -> None:
        """Into the books of the session, also what stands in a job whose record can't be read."""
        found: list[tuple[Held, str | None]] = []

        async def read(some: Sequence[Held]) -> None:
            jobs = await self._store.reads.get(org_id, [h.ulid for h in some])
            gids = [None if job is None else group_id(job.app_version_id, job.target) for job in jobs]
            found.extend(zip(some, gids, strict=True))

        unusable = of_jobs(self._store.reads, org_id, _ulids)
        unread, _ = await self._faults.halved("taking_over", org_id, rows, read, unusable)
        now, session = wall_ms(), live.session
        for h, gid in (*found, *((h, "") for h in unread)):
            known = session.booked(h.token)
            if known is not None:
                known.gid = gid or known.gid
            elif gid is not None and not later:
                session.take(_lease(org_id, h, gid), now)
            live.occupants.touch(h.device_id)


def _ulids(h: Held) -> list[str]:
    return [h.ulid]


def _lease(org_id: str, h: Held, gid: str = "") -> Lease:
    """For the books of a session. The group is empty where the job can't be read."""
    started = h.phase is not Phase.UNSTARTED
    lease = Lease(org_id, h.ulid, h.token, gid, h.device_id, h.attempt, started=started)
    lease.has_log = started  # it may have one in the store, from the session before
    return lease

"""Commits a plan: each device's part is claimed, and what was granted is sent to its agent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.loops.undoing import Undoing
from qgjob_coordinator.model.builds import slot_for
from qgjob_coordinator.policy.proposals import Assignment
from qgjob_coordinator.policy.snapshot import Asked, Limits
from qgjob_coordinator.service.agents.live import LiveSession
from qgjob_coordinator.service.agents.messages import Refused, RefusedReason
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.halving import of_jobs
from qgjob_coordinator.service.org_faults import FIRST_PAUSE_SECONDS, OrgFaults
from qgjob_coordinator.service.tokens import Tokens
from qgjob_coordinator.store.builds import name
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.claims import Claimed, ClaimWord, DeviceClaim
from qgjob_coordinator.store.types.contents import NamedBuild
from qgjob_coordinator.tasks import together
from qgjob_coordinator.telemetry import Telemetry

USE_NOTED_MS = 3600 * 1000

log = structlog.get_logger(__name__)

Row = tuple[LiveSession, DeviceClaim, Assignment]


class Claims:
    """For the devices whose sessions this coordinator holds. Quota and cap are checked by the script."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        telemetry: Telemetry,
        limits: Limits,
        quota: int | None,
        faults: OrgFaults,
        *,
        log_transitions: bool,
    ) -> None:
        self._store = store
        self._faults = faults
        self._sessions = sessions
        self._telemetry = telemetry
        self._quota = quota
        self._cap = limits.group_max_devices
        self._log_transitions = log_transitions
        self._tokens = Tokens()
        self._undoing = Undoing(store, telemetry, faults)

    async def close(self) -> None:
        """Ends its tasks."""
        await self._undoing.close()

    async def commit(self, assignments: tuple[Assignment, ...]) -> tuple[dict[str, int], list[OrgDamagedError]]:
        """Claims what was planned and sends what was granted; jobs granted by org, and orgs whose data are damaged."""
        by_org: dict[str, list[Row]] = defaultdict(list)
        for a in assignments:
            live = self._sessions.get(a.agent_id)
            if live is None:
                continue
            jobs = [(ulid, self._tokens.make()) for ulid in a.ulids]
            build = _build_for(live, a)
            claim = DeviceClaim(a.agent_id, live.session.epoch, a.device_id, a.gid, a.serving_seen, jobs, build)
            by_org[a.org_id].append((live, claim, a))
        damaged: list[OrgDamagedError] = []

        async def one(org_id: str, rows: list[Row]) -> int:
            if self._undoing.waits(org_id):
                damaged.append(OrgDamagedError(org_id, "claims are still to be given back", FIRST_PAUSE_SECONDS))
                return 0
            try:
                return await self._faults.guard("claims", org_id, self.claim(org_id, rows))
            except OrgDamagedError as e:
                damaged.append(e)
                return 0

        counts = await together([one(o, rows) for o, rows in by_org.items()])
        return {o: n for o, n in zip(by_org, counts, strict=True) if n}, damaged

    async def claim(self, org_id: str, rows: list[Row]) -> int:
        """Claims in one org; how many jobs were granted. Raises StoreUnavailableError when it is not known.

        Raises OrgDamagedError when some devices could not be served.
        """
        lives = {live.session.agent_id: live for live, _, _ in rows}
        admitted = {agent_id for agent_id, live in lives.items() if await self._admitted(live, org_id)}
        rows = [r for r in rows if r[0].session.agent_id in admitted]
        if not rows:
            return 0
        now = wall_ms()
        answered: list[tuple[Row, Claimed]] = []

        async def ask(some: Sequence[Row]) -> None:
            answered.extend(zip(some, await self._asked(org_id, some, now), strict=True))

        try:
            left, damaged = await self._faults.halved(
                "claims", org_id, rows, ask, of_jobs(self._store.reads, org_id, _ulids)
            )
        except StoreUnavailableError:
            self._in_doubt(rows, answered)
            raise
        finally:  # what was granted is sent, whatever became of the others
            for row, answer in answered:
                self._granted(org_id, row, answer, now)
        if damaged is not None:
            await self._undoing.give_back(org_id, [job for _, claim, _ in left for job in claim.jobs])
        await self._note_use({a.build for _, a in answered if a.grants and a.build is not None}, now)
        if damaged is not None:
            raise damaged
        return sum(len(a.grants) for _, a in answered)

    async def _asked(self, org_id: str, rows: Sequence[Row], now: int) -> list[Claimed]:
        """The store's answers. Raises StoreUnavailableError."""
        claims = [claim for _, claim, _ in rows]
        try:
            return await self._store.leases.claim(org_id, claims, now, self._quota, self._cap)
        except StoreUnavailableError:
            # Whether it happened is not known. The same tokens again tell, or grant.
            return await self._store.leases.claim(org_id, claims, now, self._quota, self._cap)

    @staticmethod
    def _in_doubt(rows: Sequence[Row], answered: Sequence[tuple[Row, Claimed]]) -> None:
        """Nobody knows whether those without an answer were granted, also where others of their call failed before."""
        known = {claim.device_id for (_, claim, _), _ in answered}
        for live, claim, _ in rows:
            if claim.device_id not in known:
                live.session.end(Refused(RefusedReason.STALE_EPOCH, "a claim was left in doubt; connect again"))

    async def _note_use(self, builds: set[NamedBuild], now: int) -> None:
        """That builds are used; seldom, since it only keeps them from being forgotten. Their next use tells it too."""
        for each in builds:
            if each.used_at < now - USE_NOTED_MS:
                try:
                    await self._store.builds.used(each, now)
                except StoreUnavailableError as e:
                    log.debug("build_use_not_noted", digest=each.build.digest, error=e.message)

    async def _admitted(self, live: LiveSession, org_id: str) -> bool:
        """Whether the session may claim in the org; one that is over ends, since it would be planned for again."""
        admitted = await live.session.admit([org_id])
        if not admitted:
            live.session.end(_stale())
        return admitted

    def _granted(self, org_id: str, row: Row, answer: Claimed, now: int) -> None:
        live, claim, proposed = row
        if answer.word is not ClaimWord.OK or not answer.grants:
            log.debug("claim_refused", org_id=org_id, device_id=claim.device_id, word=answer.word.value)
            if answer.word is ClaimWord.STALE:  # and so would every later one of this session be
                live.session.end(_stale(answer.floor))
            return
        asks: Sequence[Asked | None] = proposed.asks or [None] * len(proposed.ulids)
        jobs = dict(zip(proposed.ulids, zip(proposed.seconds, proposed.scores, asks, strict=True), strict=True))
        live.session.assign(org_id, claim, answer.grants, jobs, proposed.install, answer.build)
        live.occupants.touch(claim.device_id)
        for g in answer.grants:
            if g.attempt == 1:
                self._telemetry.queue_seconds.observe(max(0, now - g.created_at) / 1000)
            if self._log_transitions:
                log.info(
                    "job_scheduled",
                    job_id=f"{org_id}~{g.ulid}",
                    attempt=g.attempt,
                    agent_id=claim.agent_id,
                    device_id=claim.device_id,
                )


def _ulids(row: Row) -> list[str]:
    return [ulid for ulid, _token in row[1].jobs]


def _build_for(live: LiveSession, a: Assignment) -> str:
    """Which build the device needs; empty where that is not known: it does not say its platform, or is gone."""
    device = live.session.slots.get(a.device_id)
    slot = None if device is None else slot_for(device.info.target, device.info.platform)
    return name(a.app_version_id, slot) if slot is not None and a.app_version_id else ""


def _stale(floor: int = 0) -> Refused:
    """`floor` is an epoch that may claim, where one is known: the agent connects with a higher one."""
    return Refused(RefusedReason.STALE_EPOCH, "a newer session may claim, this one not; connect again", floor)

"""Reports of an agent: to the store, together while it is busy, and acknowledged when they are there."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import Charge, DeathCause, Outcome, Status, Target
from qgjob_coordinator.policy.estimates.measurement import measures
from qgjob_coordinator.service.agents.health.watch import HealthWatch
from qgjob_coordinator.service.agents.log_intake import LogIntake
from qgjob_coordinator.service.agents.messages import (
    DeadReport,
    FinishedReport,
    Refused,
    RefusedReason,
    Report,
    ReportAck,
    StartedReport,
    Verdict,
)
from qgjob_coordinator.service.agents.occupancy import Occupants
from qgjob_coordinator.service.agents.report_lanes import ReportLanes, Unwritten
from qgjob_coordinator.service.agents.report_rows import ByKind, by_job, by_kind, ending, release
from qgjob_coordinator.service.agents.session import Session
from qgjob_coordinator.service.agents.slots import Lease
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.halving import of_jobs
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.transitions import tell_settled
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.endings import Ended, Ending, ReportWord, Settled
from qgjob_coordinator.telemetry import Telemetry

STORE_PAUSE_SECONDS = 0.2
NOT_WRITTEN = "its reports could not be written, by a fault of the coordinator; connect again"
"""Why a session ends whose reports are in doubt."""

_VERDICT = {
    ReportWord.APPLIED: Verdict.APPLIED,
    ReportWord.REPLAYED: Verdict.REPLAYED,
    ReportWord.STALE: Verdict.STALE,
}

log = structlog.get_logger(__name__)


class Reporter:
    """Takes the reports of one session to the store."""

    def __init__(
        self,
        session: Session,
        store: Store,
        hub: Hub,
        telemetry: Telemetry,
        occupants: Occupants,
        logs: LogIntake,
        on_retry_due: Callable[[str, int], None],
        faults: OrgFaults,
        *,
        log_transitions: bool,
    ) -> None:
        self._session = session
        self._store = store
        self._hub = hub
        self._telemetry = telemetry
        self._occupants = occupants
        self._logs = logs
        self._on_retry_due = on_retry_due
        self._faults = faults
        self._log_transitions = log_transitions
        self.health: HealthWatch | None = None
        """Told how attempts end, where somebody judges devices by that."""
        self._lanes = ReportLanes(self._round, self._replaced, self._failed)

    def put(self, reports: Sequence[Report]) -> None:
        """Reports came in; they are written with whatever else has come by the time the store is free."""
        self._lanes.put(reports)

    async def room(self) -> None:
        """Returns when more reports may be put."""
        await self._lanes.room()

    async def close(self) -> None:
        """Waits for the rounds that are under way; what is left stays in the agent's spool."""
        await self._lanes.close()

    def _replaced(self, report_ids: Sequence[int]) -> None:
        """Progress that a newer one replaced has done its work."""
        self._session.say(ReportAck(tuple((i, Verdict.REPLAYED) for i in report_ids)))

    def _failed(self, error: Exception) -> None:
        """Nobody knows what was written: the next session shows what the agent still has."""
        log.error("reports_failed", agent_id=self._session.agent_id, epoch=self._session.epoch, exc_info=error)
        self._session.end(Refused(RefusedReason.STALE_EPOCH, NOT_WRITTEN))

    async def _round(self, org_id: str, batch: Sequence[Report]) -> Unwritten:
        """One org's reports; those that the store did not take.

        Of jobs whose data are damaged all waits until they are mended, and of others nothing. Their devices are free
        meanwhile.
        """
        r = by_kind(batch)
        if self._logs.busy(org_id) and not await self._logs.settle(org_id, r.ends()):
            return Unwritten()  # the session is over, and the agent has them still

        async def write(some: Sequence[Sequence[Report]]) -> None:
            await self._org(org_id, by_kind([report for job in some for report in job]), wall_ms())

        unusable = of_jobs(self._store.reads, org_id, _ulids)
        try:
            unwritten, damaged = await self._faults.halved("reports", org_id, by_job(batch), write, unusable)
        except StoreUnavailableError as e:
            log.warning("reports_not_written", agent_id=self._session.agent_id, org_id=org_id, error=e.message)
            return Unwritten(batch, STORE_PAUSE_SECONDS)
        left = [report for job in unwritten for report in job]
        for token in by_kind(left).ends():
            lease = self._session.free(token, wall_ms())
            if lease is not None:
                self._occupants.touch(lease.device_id)
        if r.finished or r.dead:
            self._hub.work("", local=False)
        return Unwritten(left, 0.0 if damaged is None else damaged.again_in_seconds, alone=True)

    async def _org(self, org_id: str, r: ByKind, now: int) -> None:
        """Writes one org's reports and acknowledges them."""
        acks: list[tuple[int, Verdict]] = []
        if r.started or r.finished:
            acks += await self._results(org_id, r, now)
        if r.dead:
            agent_id = self._session.agent_id
            releases = [release(x, agent_id, now, random.random()) for x in r.dead]  # noqa: S311 - jitter
            words, settled = await self._store.leases.release(org_id, releases, now)
            done = [(row, dead.cause.value) for row, dead in zip(settled, r.dead, strict=True) if row]
            tell_settled(self._telemetry, org_id, done)
            for dead, word in zip(r.dead, words, strict=True):
                self._after_death(dead, word)
                acks.append((dead.report_id, _VERDICT[word]))
        if r.progress:
            rows = [(p.ulid, p.token, p.percent) for p in r.progress]
            await self._store.leases.progress(org_id, rows, now)
            acks += [(p.report_id, Verdict.APPLIED) for p in r.progress]
        self._session.say(ReportAck(tuple(acks)))
        self._hub.changed(org_id)
        if r.dead:
            self._hub.work(org_id)

    async def _results(self, org_id: str, r: ByKind, now: int) -> list[tuple[int, Verdict]]:
        """Writes starts and results, a start with the result that came with it; their acknowledgements."""
        once: dict[str, FinishedReport] = {}  # a spool may be sent twice: the first one counts
        for x in r.finished:
            once.setdefault(x.token, x)
        endings = {token: self._ending(x, now) for token, x in once.items()}
        alone: list[StartedReport] = []
        for s in r.started:
            if s.token in endings:
                endings[s.token].with_start = True
            else:
                alone.append(s)
        starts = [(s.ulid, s.token, min(s.started_at, now)) for s in alone]
        words, ended = await self._store.leases.report(org_id, starts, list(endings.values()), now)
        by_token = {s.token: word for s, word in zip(alone, words, strict=True)}
        by_token.update(zip(endings, (e.word for e in ended), strict=True))
        acks: list[tuple[int, Verdict]] = []
        for s in r.started:
            self._after_start(s, by_token[s.token])
            acks.append((s.report_id, _VERDICT[by_token[s.token]]))
        self._after_end(org_id, once.values(), endings, dict(zip(endings, ended, strict=True)))
        for x in r.finished:
            acks.append((x.report_id, _VERDICT[by_token[x.token]]))
            if by_token[x.token] is ReportWord.APPLIED:
                by_token[x.token] = ReportWord.REPLAYED  # what the same report gets when it came twice
        return acks

    def _ending(self, x: FinishedReport, now: int) -> Ending:
        lease = self._session.booked(x.token)
        has_log = lease is not None and lease.has_log
        made = ending(x, now, random.random(), has_log=has_log)  # noqa: S311 - jitter
        if made.charge is Charge.TEST and lease is not None:
            slot = self._session.slots.get(lease.device_id)
            made.elsewhere = slot is not None and slot.suspect
        return made

    def _after_start(self, x: StartedReport, word: ReportWord) -> None:
        lease = self._session.began(x.token, wall_ms())
        if lease is not None:
            self._occupants.touch(lease.device_id)
        if word is ReportWord.APPLIED and self._log_transitions:
            self._log_start(x, lease)

    def _after_end(
        self, org_id: str, reports: Iterable[FinishedReport], endings: Mapping[str, Ending], ended: Mapping[str, Ended]
    ) -> None:
        now = wall_ms()
        finished: Counter[tuple[Outcome, Target]] = Counter()
        attempts: Counter[Outcome] = Counter()
        released: list[Settled] = []
        ran: tuple[str, int] | None = None
        for x in reports:
            e = ended[x.token]
            lease = self._session.drop(x.token, now)
            if lease is not None:
                self._occupants.touch(lease.device_id)
            if e.released is not None:
                released.append(e.released)
                if e.status is Status.QUEUED:
                    self._hub.work(org_id)  # a retry that waited for the old tree to die
            if e.word is not ReportWord.APPLIED:
                self._tell_not_taken(x, e, lease)
                continue
            if lease is not None:
                ran = self._judged(lease, x, e) or ran
            attempts[x.outcome] += 1
            self._telemetry.run_seconds.observe(x.duration_ms / 1000)
            if e.status is Status.QUEUED:
                if e.not_before is not None:
                    self._on_retry_due(org_id, e.not_before)
                else:
                    self._hub.work(org_id)
            elif e.outcome is not None and e.target is not None:
                finished[e.outcome, e.target] += 1
            if self._log_transitions:
                self._log_end(x, endings[x.token], e, lease)
        if ran is not None:
            self._occupants.ran(*ran)
        tell_settled(self._telemetry, org_id, ((row, "finished") for row in released))
        self._telemetry.attempts.update({outcome.value: n for outcome, n in attempts.items()})
        self._telemetry.finished.update({(outcome.value, target.value): n for (outcome, target), n in finished.items()})

    def _judged(self, lease: Lease, x: FinishedReport, e: Ended) -> tuple[str, int] | None:
        """An end that counts, of an attempt that this session was given; its device and ms if they measure a test."""
        if self.health is not None:
            self.health.ended(lease, x, tried_again=e.status is Status.QUEUED)
        return (lease.device_id, x.duration_ms) if measures(x.outcome, x.result) else None

    def _tell_not_taken(self, x: FinishedReport, e: Ended, lease: Lease | None) -> None:
        """A result is never passed over silently: its lease was over, or the store went back to before it was given."""
        if e.word is ReportWord.STALE and e.released is None:
            status = e.status.value if e.status else "unknown"
            ids = self._ids(x, lease)
            log.warning("result_not_taken", **ids, attempt_outcome=x.outcome.value, job_status=status)

    def _log_start(self, x: StartedReport | FinishedReport, lease: Lease | None) -> None:
        log.info("job_running", **self._ids(x, lease))

    def _ids(self, x: StartedReport | FinishedReport, lease: Lease | None) -> dict[str, object]:
        """What a line says of an attempt; its number and device are unknown where another session was given it."""
        return {
            "job_id": f"{x.org_id}~{x.ulid}",
            "attempt": lease.attempt if lease else None,
            "agent_id": self._session.agent_id,
            "device_id": lease.device_id if lease else None,
        }

    def _log_end(self, x: FinishedReport, sent: Ending, e: Ended, lease: Lease | None) -> None:
        if x.begun and not (lease is not None and lease.started):
            self._log_start(x, lease)
        log.info(
            f"job_{e.status.value}" if e.status else "job_ended",
            **self._ids(x, lease),
            attempt_outcome=x.outcome.value,
            outcome=e.outcome.value if e.outcome else None,
            duration_ms=x.duration_ms,
            install_ms=x.install_ms,
            retry_at=e.not_before,
            error=sent.error.message if sent.error else None,
        )

    def _after_death(self, x: DeadReport, word: ReportWord) -> None:
        lease = self._session.drop(x.token, wall_ms())
        if lease is not None:
            self._occupants.touch(lease.device_id)
            lost = x.cause is DeathCause.DEVICE_LOST and x.started and word is ReportWord.APPLIED
            if lost and self.health is not None:
                self.health.broke(lease)


def _ulids(job: list[Report]) -> list[str]:
    return [job[0].ulid]

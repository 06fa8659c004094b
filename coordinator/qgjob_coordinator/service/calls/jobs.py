"""Jobs: read, cancelled, retried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager

import structlog

from qgjob_coordinator.errors import InvalidError, NotFoundError
from qgjob_coordinator.model.enums import Outcome, Status
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.calls.refusals import job_not_found, raise_for_cancel, raise_for_retry
from qgjob_coordinator.service.calls.selections import Changed, Selection, in_parts
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views import pages
from qgjob_coordinator.service.views.pending import Explanation, Pending
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.asked import Cancelled, CancelWord, Retried, RetryWord
from qgjob_coordinator.store.types.submissions import OperationReusedError
from qgjob_coordinator.telemetry import Telemetry

MAX_JOBS = 1000
"""Of one submission."""
MAX_ROUND = 2**31 - 1
UNFINISHED = frozenset({Status.QUEUED, Status.SCHEDULED, Status.RUNNING})
DEFAULT_REASON = "cancelled by request"

log = structlog.get_logger(__name__)


class JobService:
    """What callers may do with jobs. Every method raises StoreUnavailableError while the store can't acknowledge."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        telemetry: Telemetry,
        pending: Pending,
        revoke: Callable[[str, str, str], bool],
        *,
        log_transitions: bool,
    ) -> None:
        self._store = store
        self._hub = hub
        self._telemetry = telemetry
        self._pending = pending
        self._revoke = revoke
        self._log_transitions = log_transitions

    # Read.

    async def get(self, principal: Principal, job_id: object) -> Job:
        """One job. Raises InvalidError, NotFoundError."""
        job = await self._find(principal, job_id)
        await self._pending.explain([job])
        return job

    async def explain(self, principal: Principal, job_id: object) -> Explanation:
        """Why a job waits, device by device. Raises InvalidError, NotFoundError."""
        return await self._pending.explanation(principal, await self._find(principal, job_id))

    async def _find(self, principal: Principal, job_id: object) -> Job:
        org_id, ulid = validation.split_job_id(job_id)
        job = (await self._store.reads.get(org_id, [ulid]))[0] if principal.sees(org_id) else None
        if job is None:
            raise job_not_found(job_id)
        return job

    async def list_jobs(
        self,
        principal: Principal,
        org_id: object,
        status: Status | None,
        run_id: object,
        page_size: object,
        page_token: object,
    ) -> tuple[list[Job], str]:
        """One page, newest first, and the token of the next ("" on the last). Raises InvalidError."""
        org = validation.check_id("org_id", org_id)
        principal.require_org(org)
        run = None if run_id is None else validation.check_id("run_id", run_id)
        size = pages.size(page_size)
        scope = pages.scope("jobs", org, status or "", run or "")
        after = pages.job_cursor(page_token, scope)
        page = await self._store.reads.page(org, status, run, size, after)
        await self._pending.explain(page.jobs)
        return page.jobs, pages.job_token(page.next_, scope)

    # Cancel.

    async def cancel(
        self,
        principal: Principal,
        job_id: object,
        *,
        round_: int | None,
        operation_id: object = None,
        reason: object = None,
    ) -> Job:
        """Gives the verdict `cancelled`. Raises InvalidError, NotFoundError, ConflictError."""
        op, why = _operation(operation_id), _reason(reason)
        _check_round(round_)
        job = await self._find(principal, job_id)
        meant = job.round if round_ is None else round_
        asked = f"{job.ulid} {round_ or ''}"  # not the round that the job has by now: a repetition may come late
        with _refusing_reuse():
            (done,) = await self._store.jobs.cancel(
                job.org_id, [(job.ulid, meant)], wall_ms(), reason=why, operation_id=op, asked=asked
            )
        self._after_cancel(job.org_id, [done])
        raise_for_cancel(job.job_id, meant, done)
        return await self.get(principal, job_id)

    async def cancel_many(
        self,
        principal: Principal,
        org_id: object,
        *,
        run_id: object,
        statuses: Sequence[Status],
        operation_id: object = None,
        reason: object = None,
    ) -> Selection:
        """Cancels the unfinished jobs of a run, or of an org by status. Raises InvalidError, NotFoundError."""
        org = validation.check_id("org_id", org_id)
        principal.require_org(org)
        op, why = _operation(operation_id), _reason(reason)
        run = None if run_id is None else validation.check_id("run_id", run_id)
        if run is None and not statuses:
            raise InvalidError("run_id", "give a run_id, or at least one status")
        wanted = frozenset(statuses) or UNFINISHED
        for status in wanted:
            if status.final:
                raise InvalidError("statuses", f"jobs that are {status.value} can't be cancelled")
        known = run is None or await self._store.reads.has_run(org, run)
        changed = await self._cancel_all(org, run, wanted, op, why)
        return await self._selection(org, run, changed, known=known)

    async def cancel_run(self, org_id: str, run_id: str, reason: str) -> Changed:
        """What the coordinator itself cancels: all that is unfinished in a run and nobody else wants."""
        return await self._cancel_all(org_id, run_id, UNFINISHED, None, reason)

    async def _cancel_all(self, org: str, run: str | None, wanted: Set[Status], op: str | None, why: str) -> Changed:
        asked = f"{run or ''} {' '.join(sorted(wanted))}"

        async def cancel(part: Sequence[Job], part_op: str | None) -> list[Cancelled]:
            pairs = [(j.ulid, j.round) for j in part]
            with _refusing_reuse():
                return await self._store.jobs.cancel(
                    org, pairs, wall_ms(), reason=why, operation_id=part_op, asked=asked, run_id=run
                )

        changed = Changed()
        async for done in in_parts(self._store.reads.walk(org, run, wanted), op, cancel):
            self._after_cancel(org, done)
            changed.add(d.ulid for d in done if d.word is CancelWord.CANCELLED)
            changed.detached += sum(d.word is CancelWord.DETACHED for d in done)
        return changed

    async def _selection(self, org: str, run: str | None, changed: Changed, *, known: bool) -> Selection:
        """The answer. A run that is not there has an answer when a call on it is repeated."""
        if not known and not changed.count and not changed.detached and not changed.equal:
            raise NotFoundError(f"run {run} not found in org {org}", field="run_id")
        jobs = [j for j in await self._store.reads.get(org, changed.first) if j is not None]
        await self._pending.explain(jobs)
        return Selection(jobs, changed.count, changed.detached, changed.equal)

    def _after_cancel(self, org_id: str, rows: Sequence[Cancelled]) -> None:
        for done in rows:
            if done.word is not CancelWord.CANCELLED:
                continue
            if done.target is not None:
                self._telemetry.finished[Outcome.CANCELLED.value, done.target.value] += 1
            if self._log_transitions:
                log.info("job_cancelled", job_id=f"{org_id}~{done.ulid}", round=done.round, agent_id=done.agent_id)
            if done.agent_id and done.token and not self._revoke(done.agent_id, done.token, "cancelled"):
                self._hub.hint(f"revoke {done.agent_id} {done.token}")
        self._hub.changed(org_id)
        self._hub.work("", local=False)

    # Retry.

    async def retry(
        self, principal: Principal, job_id: object, *, round_: int | None, operation_id: object = None
    ) -> Job:
        """Starts a new round of a failed or cancelled job. Raises InvalidError, NotFoundError, ConflictError."""
        op = _operation(operation_id)
        _check_round(round_)
        job = await self._find(principal, job_id)
        now = wall_ms()
        meant = job.round if round_ is None else round_
        row = (job.ulid, meant, _deadline(job, now))
        with _refusing_reuse():
            (done,) = await self._store.jobs.retry(
                job.org_id, [row], now, operation_id=op, asked=f"{job.ulid} {round_ or ''}"
            )
        raise_for_retry(job, meant, done)
        await self._after_retry(job.org_id, [done])
        return await self.get(principal, job_id)

    async def retry_many(
        self, principal: Principal, org_id: object, run_id: object, *, failed_only: bool, operation_id: object = None
    ) -> Selection:
        """Starts a new round of a run's failed (and cancelled) jobs. Raises InvalidError, NotFoundError."""
        org = validation.check_id("org_id", org_id)
        principal.require_org(org)
        run = validation.check_id("run_id", run_id)
        op = _operation(operation_id)
        wanted = {Status.FAILED} if failed_only else {Status.FAILED, Status.CANCELLED}
        asked = f"{run} {' '.join(sorted(wanted))}"

        async def retry(part: Sequence[Job], part_op: str | None) -> list[Retried]:
            now = wall_ms()
            rows = [(j.ulid, j.round, _deadline(j, now)) for j in part]
            with _refusing_reuse():
                return await self._store.jobs.retry(org, rows, now, operation_id=part_op, asked=asked)

        known = await self._store.reads.has_run(org, run)
        changed = Changed()
        async for done in in_parts(self._store.reads.walk(org, run, wanted), op, retry):
            await self._after_retry(org, done)
            changed.add(d.ulid for d in done if d.word is RetryWord.QUEUED)
            changed.equal += sum(d.word is RetryWord.EQUAL for d in done)
        return await self._selection(org, run, changed, known=known)

    async def _after_retry(self, org_id: str, rows: Sequence[Retried]) -> None:
        for done in rows:
            if done.word is RetryWord.QUEUED and self._log_transitions:
                log.info("job_queued", job_id=f"{org_id}~{done.ulid}", round=done.round, reason="retry_by_hand")
        await self._store.mark_active(org_id)
        self._hub.work(org_id)
        self._hub.changed(org_id)


@contextmanager
def _refusing_reuse() -> Iterator[None]:
    """Tells a caller that the operation id was used for something else."""
    try:
        yield
    except OperationReusedError:
        raise InvalidError(
            "operation_id", "was used for another request a short time ago; make a new one for each request"
        ) from None


def _deadline(job: Job, now: int) -> int | None:
    return None if job.queue_timeout_ms is None else now + job.queue_timeout_ms


def _check_round(value: int | None) -> None:
    if value is not None:
        validation.check_int("round", value, 1, MAX_ROUND)


def _operation(value: object) -> str | None:
    return None if value is None else validation.check_id("operation_id", value)


def _reason(value: object) -> str:
    return validation.check_text("reason", value) if value not in (None, "") else DEFAULT_REASON

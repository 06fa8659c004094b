"""Jobs: read, cancelled, retried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from qgjob_coordinator.errors import ConflictError, InvalidError, NotFoundError
from qgjob_coordinator.model.enums import Outcome, Status
from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.model.lifecycle import IllegalMoveError, JobEvent, move
from qgjob_coordinator.service import pages, validation
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.pending import Pending
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types import (
    Cancelled,
    CancelWord,
    OperationReusedError,
    Retried,
    RetryWord,
)
from qgjob_coordinator.telemetry import Telemetry

MAX_JOBS = 1000
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

    async def _find(self, principal: Principal, job_id: object) -> Job:
        org_id, ulid = validation.split_job_id(job_id)
        job = (await self._store.reads.get(org_id, [ulid]))[0] if principal.sees(org_id) else None
        if job is None:
            raise NotFoundError(f"job {job_id} not found")
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
        principal.require_org(org, f"org {org}")
        run = validation.check_id("run_id", run_id) if run_id not in (None, "") else None
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
        job = await self._find(principal, job_id)
        meant = job.round if round_ is None else round_
        asked = f"{job.ulid} {round_ or ''}"  # not the round that the job has by now: a repetition may come late
        with _refusing_reuse():
            (done,) = await self._store.jobs.cancel(
                job.org_id, [(job.ulid, meant)], wall_ms(), reason=why, operation_id=op, asked=asked
            )
        self._after_cancel(job.org_id, [done])
        _raise_for_cancel(job.job_id, meant, done)
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
    ) -> tuple[list[Job], int]:
        """Cancels the unfinished jobs of a run, or of an org by status; those jobs, and how many only left the run."""
        org = validation.check_id("org_id", org_id)
        principal.require_org(org, f"org {org}")
        op, why = _operation(operation_id), _reason(reason)
        run = validation.check_id("run_id", run_id) if run_id not in (None, "") else None
        if run is None and not statuses:
            raise InvalidError("run_id", "give a run_id, or at least one status")
        wanted = set(statuses) or {Status.QUEUED, Status.SCHEDULED, Status.RUNNING}
        for status in wanted:
            if status.final:
                raise InvalidError("statuses", f"jobs that are {status.value} can't be cancelled")
        chosen = await self._unfinished(org, run, wanted)
        asked = f"{run or ''} {' '.join(sorted(wanted))}"
        cancelled: list[str] = []
        detached = 0
        for i in _parts(len(chosen), op):
            pairs = [(j.ulid, j.round) for j in chosen[i : i + MAX_JOBS]]
            part_op = f"{op}.{i}" if op else None
            with _refusing_reuse():
                done = await self._store.jobs.cancel(
                    org, pairs, wall_ms(), reason=why, operation_id=part_op, asked=asked, run_id=run
                )
            self._after_cancel(org, done)
            cancelled += [d.ulid for d in done if d.word is CancelWord.CANCELLED]
            detached += sum(d.word is CancelWord.DETACHED for d in done)
        jobs = [j for j in await self._store.reads.get(org, cancelled) if j is not None]
        return jobs, detached

    async def _unfinished(self, org: str, run: str | None, wanted: set[Status]) -> list[Job]:
        if run is not None:
            jobs = await self._store.reads.get(org, await self._store.reads.run_ulids(org, run))
            if not jobs:
                raise NotFoundError(f"run {run} not found in org {org}")
            return [j for j in jobs if j is not None and j.status in wanted]
        found: list[Job] = []
        for status in sorted(wanted):
            after = None
            while True:
                page = await self._store.reads.page(org, status, None, MAX_JOBS, after)
                found += page.jobs
                after = page.next_
                if after is None:
                    break
        return found

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
        job = await self._find(principal, job_id)
        now = wall_ms()
        meant = job.round if round_ is None else round_
        row = (job.ulid, meant, _deadline(job, now))
        with _refusing_reuse():
            (done,) = await self._store.jobs.retry(
                job.org_id, [row], now, operation_id=op, asked=f"{job.ulid} {round_ or ''}"
            )
        _raise_for_retry(job, meant, done)
        await self._after_retry(job.org_id)
        return await self.get(principal, job_id)

    async def retry_many(
        self, principal: Principal, org_id: object, run_id: object, *, failed_only: bool, operation_id: object = None
    ) -> list[Job]:
        """Starts a new round of a run's failed (and cancelled) jobs; those that it started."""
        org = validation.check_id("org_id", org_id)
        principal.require_org(org, f"org {org}")
        run = validation.check_id("run_id", run_id)
        op = _operation(operation_id)
        wanted = {Status.FAILED} if failed_only else {Status.FAILED, Status.CANCELLED}
        chosen = await self._unfinished(org, run, wanted)
        started: list[str] = []
        now = wall_ms()
        for i in _parts(len(chosen), op):
            rows = [(j.ulid, j.round, _deadline(j, now)) for j in chosen[i : i + MAX_JOBS]]
            part_op = f"{op}.{i}" if op else None
            with _refusing_reuse():
                done = await self._store.jobs.retry(
                    org, rows, now, operation_id=part_op, asked=f"{run} {' '.join(sorted(wanted))}"
                )
            started += [d.ulid for d in done if d.word is RetryWord.QUEUED]
        await self._after_retry(org)
        return [j for j in await self._store.reads.get(org, started) if j is not None]

    async def _after_retry(self, org_id: str) -> None:
        await self._store.mark_active(org_id)
        self._hub.work(org_id)
        self._hub.changed(org_id)


def _parts(count: int, operation_id: str | None) -> range:
    """Where the parts of a call begin. One with an operation id has a first part also when nothing is left to do:
    it may be a repetition, which gets the first answer."""
    return range(0, max(count, 1 if operation_id else 0), MAX_JOBS)


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


def _operation(value: object) -> str | None:
    return validation.check_id("operation_id", value) if value not in (None, "") else None


def _reason(value: object) -> str:
    return validation.check_text("reason", value) if value not in (None, "") else DEFAULT_REASON


def _raise_for_cancel(job_id: str, meant: int, done: Cancelled) -> None:
    if done.word is CancelWord.MISSING or done.status is None:
        raise NotFoundError(f"job {job_id} not found")
    if done.word is CancelWord.ROUND:
        raise ConflictError(f"job {job_id} is in round {done.round}; the cancel was meant for {meant}", field="round")
    if done.word is CancelWord.ILLEGAL:
        raise _illegal(job_id, JobEvent.CANCEL, done.status)


def _raise_for_retry(job: Job, meant: int, done: Retried) -> None:
    if done.word is RetryWord.MISSING or done.status is None:
        raise NotFoundError(f"job {job.job_id} not found")
    if done.word is RetryWord.ROUND:
        raise ConflictError(
            f"job {job.job_id} is in round {done.round}; the retry was meant for {meant}", field="round"
        )
    if done.word is RetryWord.EQUAL:
        raise ConflictError(
            f"job {job.job_id} can't be retried while an equal job is unfinished: {job.org_id}~{done.equal}"
        )
    if done.word is RetryWord.ILLEGAL:
        raise _illegal(job.job_id, JobEvent.RETRY, done.status)


def _illegal(job_id: str, event: JobEvent, status: Status) -> ConflictError:
    try:
        move(job_id, event, status)
    except IllegalMoveError as e:
        return ConflictError(str(e), field="job_id")
    raise AssertionError(f"the store refused a legal move: {event} of a job that is {status}")

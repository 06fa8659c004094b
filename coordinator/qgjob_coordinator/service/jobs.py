"""Jobs: submitted, read, cancelled, retried."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from qgjob_coordinator.errors import ConflictError, InvalidError, NotFoundError
from qgjob_coordinator.model.enums import Outcome, Status
from qgjob_coordinator.model.jobs import Job, JobSpec
from qgjob_coordinator.model.lifecycle import IllegalMoveError, JobEvent, move
from qgjob_coordinator.service import pages, validation
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.flusher import Flusher
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.pending import Pending
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.submission import Defaults, Submission, admit
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types import (
    Cancelled,
    CancelWord,
    Retried,
    RetryWord,
    SubmitConflictError,
    Submitted,
    SubmitWord,
)
from qgjob_coordinator.telemetry import Telemetry

MAX_JOBS = 1000
DEFAULT_REASON = "cancelled by request"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Accepted:
    """The job that a submission got, and whether it is new."""

    job: Job
    created: bool


class JobService:
    """What callers may do with jobs. Every method raises StoreUnavailableError while the store can't acknowledge."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        telemetry: Telemetry,
        pending: Pending,
        defaults: Defaults,
        revoke: Callable[[str, str, str], bool],
        *,
        log_transitions: bool,
    ) -> None:
        self._store = store
        self._hub = hub
        self._telemetry = telemetry
        self._pending = pending
        self._defaults = defaults
        self._revoke = revoke
        self._log_transitions = log_transitions
        self._flushers: dict[str, Flusher[tuple[JobSpec, bool], Accepted]] = {}

    # Submit.

    async def submit(self, principal: Principal, submission: Submission) -> Accepted:
        """One job; goes to the store together with what else is submitted for the org at the moment.

        Raises InvalidError, ConflictError (the id exists with another content).
        """
        spec, own = admit(submission, self._defaults, wall_ms())
        principal.require_org(spec.org_id, f"org {spec.org_id}")
        flusher = self._flushers.get(spec.org_id)
        if flusher is None:
            org_id = spec.org_id
            flusher = Flusher(lambda items: self._write_each(org_id, items), MAX_JOBS)
            self._flushers[org_id] = flusher
        try:
            accepted = await flusher.put((spec, own))
        finally:
            if flusher.idle:
                self._flushers.pop(spec.org_id, None)
        self._log_accepted([accepted])
        return accepted

    async def submit_many(self, principal: Principal, submissions: Sequence[Submission]) -> list[Accepted]:
        """Up to 1,000 jobs of one org, all or none. Raises InvalidError naming `jobs[i].field`, ConflictError."""
        if not 1 <= len(submissions) <= MAX_JOBS:
            raise InvalidError("jobs", f"has {len(submissions)} jobs; send 1 to {MAX_JOBS} in one call")
        now = wall_ms()
        specs: list[JobSpec] = []
        owned: list[bool] = []
        for i, s in enumerate(submissions):
            try:
                spec, own = admit(s, self._defaults, now)
            except InvalidError as e:
                raise e.under(f"jobs[{i}]") from None
            specs.append(spec)
            owned.append(own)
        org_id = specs[0].org_id
        for i, spec in enumerate(specs):
            if spec.org_id != org_id:
                raise InvalidError(
                    f"jobs[{i}].org_id", f"is {spec.org_id}, but jobs[0] is of {org_id}; send one call for each org"
                )
        principal.require_org(org_id, f"org {org_id}")
        try:
            accepted = await self._write(org_id, specs, owned)
        except SubmitConflictError as e:
            raise _id_conflict(specs[e.index], f"jobs[{e.index}].job_id") from None
        self._log_accepted(accepted)
        return accepted

    def _log_accepted(self, accepted: Sequence[Accepted]) -> None:
        if self._log_transitions:
            for a in accepted:
                if a.created:
                    log.info("job_queued", job_id=a.job.job_id, target=a.job.target.value, run_ids=a.job.run_ids)

    async def _write_each(self, org_id: str, items: list[tuple[JobSpec, bool]]) -> list[Accepted | BaseException]:
        """Writes lone submissions together; one with a taken id fails alone."""
        results: list[Accepted | BaseException | None] = [None] * len(items)
        left = list(range(len(items)))
        while left:
            try:
                done = await self._write(org_id, [items[i][0] for i in left], [items[i][1] for i in left])
            except SubmitConflictError as e:
                bad = left.pop(e.index)
                results[bad] = _id_conflict(items[bad][0], "job_id")
                continue
            for i, accepted in zip(left, done, strict=True):
                results[i] = accepted
            break
        return [r for r in results if r is not None]

    async def _write(self, org_id: str, specs: list[JobSpec], owned: list[bool]) -> list[Accepted]:
        now = wall_ms()
        heads = self._hub.heads_wanted()
        submitted, seen = await self._store.jobs.submit_and_look(org_id, specs, owned, now, heads)
        self._hub.work(org_id, seen=seen)
        self._hub.changed(org_id)
        await asyncio.sleep(0)  # the scheduler's round begins before the answer is made
        known = [s.ulid for s in submitted if s.word is not SubmitWord.NEW]
        jobs: dict[str, Job] = {}
        if known:
            jobs = {u: j for u, j in zip(known, await self._store.reads.get(org_id, known), strict=True) if j}
        accepted = [self._accepted(spec, s, jobs, now) for spec, s in zip(specs, submitted, strict=True)]
        await self._pending.sketch([a.job for a in accepted])
        return accepted

    def _accepted(self, spec: JobSpec, s: Submitted, known: dict[str, Job], now: int) -> Accepted:
        if s.word is SubmitWord.NEW and s.order is not None:
            self._telemetry.submitted[spec.target.value] += 1
            return Accepted(fresh_job(spec, now), created=True)
        job = known.get(s.ulid)
        if job is None:
            job = _tombstone(spec, s)
        job.deduplicated = s.word in (SubmitWord.DEDUP, SubmitWord.KEYED)
        return Accepted(job, created=False)

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
        done = (await self._store.jobs.cancel(job.org_id, [(job.ulid, meant)], wall_ms(), reason=why, operation_id=op))[
            0
        ]
        self._after_cancel(job.org_id, [(job.ulid, done)])
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
        cancelled: list[str] = []
        detached = 0
        for i in range(0, len(chosen), MAX_JOBS):
            part = chosen[i : i + MAX_JOBS]
            pairs = [(j.ulid, j.round) for j in part]
            part_op = f"{op}.{i}" if op else None
            done = await self._store.jobs.cancel(org, pairs, wall_ms(), reason=why, operation_id=part_op, run_id=run)
            self._after_cancel(org, list(zip((j.ulid for j in part), done, strict=True)))
            cancelled += [j.ulid for j, d in zip(part, done, strict=True) if d.word is CancelWord.CANCELLED]
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

    def _after_cancel(self, org_id: str, rows: list[tuple[str, Cancelled]]) -> None:
        for ulid, done in rows:
            if done.word is not CancelWord.CANCELLED:
                continue
            if done.target is not None:
                self._telemetry.finished[Outcome.CANCELLED.value, done.target.value] += 1
            if self._log_transitions:
                log.info("job_cancelled", job_id=f"{org_id}~{ulid}", round=done.round, agent_id=done.agent_id)
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
        done = (await self._store.jobs.retry(job.org_id, [row], now, operation_id=op))[0]
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
        for i in range(0, len(chosen), MAX_JOBS):
            part = chosen[i : i + MAX_JOBS]
            rows = [(j.ulid, j.round, _deadline(j, now)) for j in part]
            done = await self._store.jobs.retry(org, rows, now, operation_id=f"{op}.{i}" if op else None)
            started += [j.ulid for j, d in zip(part, done, strict=True) if d.word is RetryWord.QUEUED]
        await self._after_retry(org)
        return [j for j in await self._store.reads.get(org, started) if j is not None]

    async def _after_retry(self, org_id: str) -> None:
        await self._store.mark_active(org_id)
        self._hub.work(org_id)
        self._hub.changed(org_id)


def fresh_job(spec: JobSpec, now: int) -> Job:
    """A job that was just accepted, without reading it."""
    return Job(
        org_id=spec.org_id,
        ulid=spec.ulid,
        app_version_id=spec.app_version_id,
        test_path=spec.test_path,
        priority=spec.priority,
        target=spec.target,
        status=Status.QUEUED,
        created_at=now,
        updated_at=now,
        max_retries=spec.max_retries,
        run_ids=[spec.run_id] if spec.run_id else [],
        labels=spec.labels,
        requirements=spec.requirements,
        not_before=spec.not_before,
        deduplicated=False,
    )


def _tombstone(spec: JobSpec, s: Submitted) -> Job:
    """What is left of a job that retention removed: its id and its status."""
    job = fresh_job(spec, wall_ms())
    job.ulid = s.ulid
    job.status = Status(s.removed_status) if s.removed_status else Status.COMPLETED
    return job


def _id_conflict(spec: JobSpec, field: str) -> ConflictError:
    return ConflictError(
        f"{field}: {spec.job_id} exists with another content; make a new id for another job", field=field
    )


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

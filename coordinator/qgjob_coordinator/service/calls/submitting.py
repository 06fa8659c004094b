"""Submissions: checked, written together, answered."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass

import structlog

from qgjob_coordinator.errors import ConflictError, InvalidError
from qgjob_coordinator.model.enums import Status
from qgjob_coordinator.model.jobs import Job, JobSpec
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.calls.flusher import Flusher
from qgjob_coordinator.service.calls.named_suites import NamedSuites
from qgjob_coordinator.service.calls.submission import Defaults, Submission, admit
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.halving import NO_FAULTS
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views.pending import Pending, Reasons
from qgjob_coordinator.store.jobs import PLAINLY
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.submissions import Manner, SubmitConflictError, Submitted, SubmitWord
from qgjob_coordinator.telemetry import Telemetry

MAX_JOBS = 1000
PLACING_SECONDS = 0.005
"""So long the answer to a submission may wait for the round that gives it to a free device."""

log = structlog.get_logger(__name__)

_Lone = tuple[JobSpec, bool, Context]
"""A job that came alone, whether its id was made here, and the context of the call that brought it."""


@dataclass(slots=True)
class Accepted:
    """The job that a submission got. The job itself is made when it is asked for: many callers want its id only."""

    spec: JobSpec
    accepted_at: int
    reasons: Reasons
    known: Job | None = None

    @property
    def created(self) -> bool:
        """Whether the job is new."""
        return self.known is None

    @property
    def job_id(self) -> str:
        """Id of the job, which need not be the proposed one."""
        return self.spec.job_id if self.known is None else self.known.job_id

    @property
    def status(self) -> Status:
        """Where the job stands."""
        return Status.QUEUED if self.known is None else self.known.status

    @property
    def deduplicated(self) -> bool:
        """Whether an equal unfinished job, or the first one of an idempotency key, is the answer."""
        return bool(self.known and self.known.deduplicated)

    @property
    def job(self) -> Job:
        """The job as its readers see it."""
        job = fresh_job(self.spec, self.accepted_at) if self.known is None else self.known
        if job.status is Status.QUEUED:
            job.pending_reason = self.reasons.of(job, None)
        return job


def _nobody_asks(specs: Sequence[JobSpec]) -> None:
    del specs


class Submitter:
    """Takes submissions to the store. Its methods raise StoreUnavailableError while that can't acknowledge."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        telemetry: Telemetry,
        pending: Pending,
        defaults: Defaults,
        *,
        log_transitions: bool,
    ) -> None:
        self._store = store
        self._suites = NamedSuites(store)
        self._hub = hub
        self._telemetry = telemetry
        self._pending = pending
        self._defaults = defaults
        self._log_transitions = log_transitions
        self._flushers: dict[str, Flusher[_Lone, Accepted]] = {}
        self.on_accepted: Callable[[Sequence[JobSpec]], None] = _nobody_asks
        """Called with the jobs of each write to the store; those that were known already are among them."""

    async def submit(self, principal: Principal, submission: Submission) -> Accepted:
        """One job; goes to the store together with what else is submitted for the org at the moment.

        Raises InvalidError, ConflictError (the id exists, or the key was used, with another content).
        """
        spec, own = admit(submission, self._defaults, wall_ms())
        principal.require_org(spec.org_id)
        if spec.suite_digest is not None:
            await self._suites.find(spec.org_id, [spec])
        flusher = self._flushers.get(spec.org_id)
        if flusher is None:
            org_id = spec.org_id
            flusher = Flusher(lambda items: self._write_each(org_id, items), MAX_JOBS)
            self._flushers[org_id] = flusher
        try:
            accepted = await flusher.put((spec, own, copy_context()))
        finally:
            if flusher.idle:
                self._flushers.pop(spec.org_id, None)
        return accepted

    async def submit_many(
        self, principal: Principal, submissions: Sequence[Submission], manner: Manner = PLAINLY
    ) -> list[Accepted]:
        """Up to 1,000 jobs of one org, all or none. Raises InvalidError naming `jobs[i].field`, ConflictError.

        Where more calls with jobs of their runs follow, what they supersede is cancelled with the last one.
        """
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
            if manner.bound_to is not None and spec.run_id is None:
                raise InvalidError(
                    f"jobs[{i}].run_id", "is required with cancel_on_disconnect: it is the run that is cancelled"
                )
        principal.require_org(org_id, field="jobs[0].org_id")
        await self._suites.find(org_id, specs, "jobs[{}].")
        try:
            return await self._write(org_id, specs, owned, itertools.repeat(copy_context()), manner)
        except SubmitConflictError as e:
            raise _conflict(specs[e.index], e, f"jobs[{e.index}].") from None

    async def _write_each(self, org_id: str, items: Sequence[_Lone]) -> list[Accepted | BaseException]:
        """Writes lone submissions together; one fails alone whose id or key is taken, or whose equal can't be used."""
        results: list[Accepted | BaseException | None] = [None] * len(items)
        left = list(range(len(items)))
        while left:
            try:
                specs, owned, callers = zip(*[items[i] for i in left], strict=True)
                done: Sequence[Accepted | BaseException] = await self._write(org_id, specs, owned, callers)
            except SubmitConflictError as e:
                bad = left.pop(e.index)
                results[bad] = _conflict(items[bad][0], e)
                continue
            except NO_FAULTS:
                raise
            except Exception as e:  # noqa: BLE001 - its caller gets it
                done = [e] if len(left) == 1 else await self._write_halves(org_id, [items[i] for i in left])
            for i, accepted in zip(left, done, strict=True):
                results[i] = accepted
            break
        return [r for r in results if r is not None]

    async def _write_halves(self, org_id: str, items: Sequence[_Lone]) -> list[Accepted | BaseException]:
        """Those that were written are again, which changes nothing."""
        middle = len(items) // 2
        return [*await self._write_each(org_id, items[:middle]), *await self._write_each(org_id, items[middle:])]

    async def _write(
        self,
        org_id: str,
        specs: Sequence[JobSpec],
        owned: Sequence[bool],
        callers: Iterable[Context],
        manner: Manner = PLAINLY,
    ) -> list[Accepted]:
        now = wall_ms()
        heads = self._hub.heads_wanted()
        known, seen = await self._store.jobs.submit_and_look(org_id, specs, owned, now, heads, manner)
        if self._log_transitions:  # now: its next line may be written before the answer is made
            _log_new(specs, known, callers)
        self.on_accepted(specs)
        self._hub.work(org_id, seen=seen)
        self._hub.changed(org_id)
        if any(spec.supersede for spec in specs):
            self._hub.runs_to_cancel(org_id)
        await asyncio.sleep(0)  # the scheduler's round begins before the answer is made
        if seen is not None:
            # A job that a device waits for: it is on its way before the answer takes up this process.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PLACING_SECONDS):
                    await self._hub.settled()
        reasons = await self._pending.reasons(specs)
        accepted = [Accepted(spec, now, reasons) for spec in specs]
        if known:
            await self._recognise(org_id, known, accepted)
        self._telemetry.submitted.update(Counter([a.spec.target.value for a in accepted if a.created]))
        return accepted

    async def _recognise(self, org_id: str, known: Mapping[int, Submitted], accepted: Sequence[Accepted]) -> None:
        """Puts the jobs of earlier submissions in the place of new ones."""
        jobs = await self._store.reads.get(org_id, [s.ulid for s in known.values()])
        for (i, s), job in zip(known.items(), jobs, strict=True):
            was = job or _tombstone(accepted[i].spec, s)
            was.deduplicated = s.word in (SubmitWord.DEDUP, SubmitWord.KEYED)
            accepted[i].known = was


def _log_new(specs: Sequence[JobSpec], known: Mapping[int, Submitted], callers: Iterable[Context]) -> None:
    for i, (spec, caller) in enumerate(zip(specs, callers, strict=False)):
        if i not in known:
            # Jobs of several calls are written together, and each line is one of its own call.
            caller.run(log.info, "job_queued", job_id=spec.job_id, target=spec.target.value, run_id=spec.run_id)


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
        suite_digest=spec.suite_digest,
        overflow=spec.overflow,
        deduplicated=False,
    )


def _tombstone(spec: JobSpec, s: Submitted) -> Job:
    """What is left of a job that retention removed: its id and its status. It is in no run any more."""
    job = fresh_job(spec, wall_ms())
    job.ulid = s.ulid
    job.run_ids = []
    job.status = Status(s.removed_status) if s.removed_status else Status.COMPLETED
    return job


def _conflict(spec: JobSpec, e: SubmitConflictError, prefix: str = "") -> ConflictError:
    """What to tell the caller. `prefix` is the path of the submission in its call, as in `jobs[3].`."""
    field = prefix + e.field
    if e.field == "job_id":
        reason = f"{spec.job_id} exists with another content; make a new id for another job"
    else:
        first = f", {spec.org_id}~{e.holder}" if e.holder else ""
        reason = (
            f"{validation.shown(spec.idempotency_key)} stands for a job with another content{first}; take another key, "
            "or send the same job again (only run_id and labels may differ)"
        )
    return ConflictError(f"{field}: {reason}", field=field)

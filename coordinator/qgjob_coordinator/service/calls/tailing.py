"""The log of an attempt: what is kept, then what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from qgjob_coordinator.errors import NotFoundError
from qgjob_coordinator.model.jobs import Attempt, Job
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.calls.refusals import job_not_found
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.store.store import Store

POLL_SECONDS = 0.25
MAX_ATTEMPT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Bytes of an attempt's log; `skipped` bytes before them are not kept any more."""

    attempt: int
    offset: int
    data: bytes
    skipped: int


class Tailing:
    """Log streams of any number of callers."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub

    async def tail(
        self,
        principal: Principal,
        job_id: object,
        attempt: int | None,
        offset: int,
        alive: Callable[[], bool],
        *,
        follow: bool,
    ) -> AsyncIterator[LogPiece]:
        """Pieces in order. With `follow`, until the attempt ended; without a number, until the verdict. Ends when the
        caller is not `alive` any more.

        Raises InvalidError, NotFoundError (job or attempt), StoreUnavailableError.
        """
        org_id, ulid = validation.split_job_id(job_id)
        if attempt is not None:
            validation.check_int("attempt", attempt, 1, MAX_ATTEMPT)
        validation.check_int("offset", offset, 0, validation.MAX_INT)
        if not principal.sees(org_id):
            raise job_not_found(job_id)
        changed = self._hub.subscribe(org_id)
        at = offset
        number = attempt
        try:
            while alive():
                changed.clear()
                job = await self._job(org_id, ulid, str(job_id))
                if number is None and job.attempts:
                    number = job.attempts[-1].attempt
                record = self._attempt(job, number, attempt)
                ended = record is not None and (record.ended_at is not None or job.status.final)
                if record is not None:
                    for piece_at, data in await self._store.logs.read(org_id, job.ulid, record.attempt):
                        if piece_at + len(data) <= at:
                            continue
                        fresh = data[max(0, at - piece_at) :]
                        start = max(at, piece_at)
                        yield LogPiece(record.attempt, start, fresh, start - at)
                        at = start + len(fresh)
                if not follow or (ended and (attempt is not None or job.status.final)):
                    return
                if ended and attempt is None and record is not None and job.attempts[-1].attempt > record.attempt:
                    number, at = record.attempt + 1, 0
                    continue
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            self._hub.unsubscribe(org_id, changed)

    async def _job(self, org_id: str, ulid: str, job_id: str) -> Job:
        job = (await self._store.reads.get(org_id, [ulid]))[0]
        if job is None:
            raise job_not_found(job_id)
        return job

    @staticmethod
    def _attempt(job: Job, number: int | None, asked: int | None) -> Attempt | None:
        found = next((a for a in job.attempts if a.attempt == number), None)
        if found is None and asked is not None:
            message = f"job {job.job_id} has no attempt {asked}; it has {len(job.attempts)}"
            raise NotFoundError(message, field="attempt")
        return found

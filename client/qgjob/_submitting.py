"""Many submissions on their way, in several calls: what is answered, what is not, and how to send no more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from qgjob._batches import Calls, for_many, in_calls
from qgjob._coalesce import MAX_CALLS_IN_FLIGHT
from qgjob._errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotAuthenticatedError,
    NotFoundError,
    QgjobError,
    QuotaError,
    TooLargeError,
    UnavailableError,
)
from qgjob._wire_submit import JobMessage, SubmitJobRequest

Send = Callable[[Sequence[SubmitJobRequest], bool], Awaitable[Sequence[JobMessage]]]
"""One call: the jobs, and whether more of their runs follow. The answers are in their order."""

_REFUSALS = (
    InvalidError,
    NotAuthenticatedError,
    ForbiddenError,
    NotFoundError,
    ConflictError,
    TooLargeError,
    QuotaError,
)
"""After which there are no such jobs. After any other error there may be."""


class Submitting:
    """Jobs that are submitted by `run`. Whoever gives up on it asks it to `stop`, waits, and looks what came of it."""

    def __init__(self, requests: Sequence[SubmitJobRequest], send: Send) -> None:
        self._requests = requests
        self._send = send
        self._answers: dict[int, JobMessage] = {}
        self._sent: set[int] = set()
        self._limit = asyncio.Semaphore(MAX_CALLS_IN_FLIGHT)
        self._stopped = False

    @property
    def total(self) -> int:
        """How many jobs there are in all."""
        return len(self._requests)

    @property
    def answered(self) -> list[JobMessage]:
        """The jobs that were answered so far."""
        return [self._answers[index] for index in sorted(self._answers)]

    @property
    def unanswered(self) -> list[str]:
        """Ids that were sent and are not answered: the coordinator may have them, now or soon."""
        return [self._requests[index].job_id for index in sorted(self._sent - self._answers.keys())]

    @property
    def begun(self) -> bool:
        """Whether the coordinators have one of the jobs, or may have."""
        return bool(self._sent)

    def stop(self) -> None:
        """No further call is sent; `run` returns when those on their way are answered."""
        self._stopped = True

    async def run(self) -> list[JobMessage]:
        """Send all; the answers in the order of the requests. An error's field is `jobs[i].…`.

        When a call is refused the others stand; then the first error is raised.
        """
        await _all(self._send_run(calls) for calls in in_calls(self._requests))
        return self.answered

    async def _send_run(self, calls: Calls) -> None:
        """What is superseded goes when the last call is answered, so that one waits for the others."""
        await _all(self._call(part, more_follows=True) for part in calls.before)
        await _all(self._call(part, more_follows=False) for part in calls.last)

    async def _call(self, indexes: Sequence[int], *, more_follows: bool) -> None:
        async with self._limit:
            if self._stopped:
                return
            self._sent.update(indexes)
            try:
                jobs = await self._send([self._requests[index] for index in indexes], more_follows)
            except QgjobError as error:
                if isinstance(error, _REFUSALS) or (isinstance(error, UnavailableError) and error.unsent):
                    self._sent.difference_update(indexes)
                raise for_many(error, indexes) from error
        self._answers.update(zip(indexes, jobs, strict=True))


async def _all(works: Iterable[Awaitable[None]]) -> None:
    """Do all, also when one fails; then raise the first error."""
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if outcome is not None:
            raise outcome

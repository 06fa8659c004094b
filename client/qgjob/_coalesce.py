"""Submissions that are in flight together share calls: flush while busy.

While a call is under way, what comes in is queued; when it returns, all that queued up goes in the next one. A lone
submission waits for nothing. A burst goes in two calls: submitters that wait for their answers and then submit again
would otherwise all wait together, while the coordinator has nothing to do until all are served. Each submitter gets the
answer or the error of its own job.
"""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from qgjob._batches import MAX_BYTES_PER_CALL, blamed_index, chunks, for_single
from qgjob._errors import ConflictError, InvalidError, NotFoundError, ProtocolError, QgjobError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

AnswerT = TypeVar("AnswerT")

MAX_JOBS = 500
MAX_CALLS_IN_FLIGHT = 4
# A second call is opened beside one that is under way only for this many, so that a burst is not split into crumbs.
EAGER_JOBS = 64

# What can be the fault of one job among many. Others (quota, credentials, outage) hold for the whole call.
_ONES_FAULT = (InvalidError, ConflictError, NotFoundError, TooLargeError)


class Sized(Protocol):
    """A message that knows its length."""

    def ByteSize(self) -> int: ...  # noqa: N802 - protobuf's name


RequestT = TypeVar("RequestT", bound=Sized)


class Coalescer(Generic[RequestT, AnswerT]):
    """The submissions of one org. `send` takes many requests, all or nothing, and answers in their order."""

    def __init__(self, send: Callable[[Sequence[RequestT]], Awaitable[Sequence[AnswerT]]]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[RequestT, asyncio.Future[AnswerT]]] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._flush_is_due = False

    def put(self, request: RequestT) -> asyncio.Future[AnswerT]:
        """Queue a submission; the future gets its answer or QgjobError. Cancelling it takes back what is not sent."""
        future: asyncio.Future[AnswerT] = self._loop.create_future()
        self._waiting.append((request, future))
        if not self._flush_is_due:
            # At the end of this turn of the loop, when all who submit in it have queued.
            self._flush_is_due = True
            self._loop.call_soon(self._flush)
        return future

    async def drain(self) -> None:
        """Return when all that was queued has been answered."""
        while self._waiting or self._calls:
            self._flush()
            await asyncio.gather(*self._calls)

    def _flush(self) -> None:
        self._flush_is_due = False
        while self._waiting and self._may_call():
            batch = self._take()
            if batch:
                call = self._loop.create_task(self._deliver(batch))
                self._calls.add(call)
                call.add_done_callback(self._delivered)

    def _may_call(self) -> bool:
        busy = len(self._calls)
        return busy == 0 or (busy < MAX_CALLS_IN_FLIGHT and len(self._waiting) >= EAGER_JOBS)

    def _take(self) -> list[tuple[RequestT, asyncio.Future[AnswerT]]]:
        waiting = len(self._waiting)
        size = waiting if waiting < 2 * EAGER_JOBS else (waiting + 1) // 2
        head = self._waiting[: min(size, MAX_JOBS)]
        fitting = next(chunks(head, lambda item: item[0].ByteSize(), max_bytes=MAX_BYTES_PER_CALL))
        del self._waiting[: len(fitting)]
        return [item for item in fitting if not item[1].cancelled()]

    def _delivered(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self._waiting and not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    async def _deliver(self, batch: list[tuple[RequestT, asyncio.Future[AnswerT]]]) -> None:
        """Send a batch. When it is refused for one job's fault, find that job and send the others without it."""
        refusals = 0
        to_send = [batch]
        while to_send:
            part = to_send.pop()
            try:
                answers = await self._send([request for request, _ in part])
                if len(answers) != len(part):
                    raise ProtocolError(f"{len(answers)} answers came for {len(part)} jobs")  # noqa: TRY301
            except _ONES_FAULT as error:
                refusals += 1
                to_send.extend(_without_culprit(part, error, first_refusal=refusals == 1))
            except Exception as error:  # noqa: BLE001 - told to those who wait for it, none of whom may be left waiting
                _fail(part, error)
            except asyncio.CancelledError as error:
                _fail([item for rest in (part, *to_send) for item in rest], error)
                raise
            else:
                for (_, future), answer in zip(part, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)


def _without_culprit(
    part: list[tuple[RequestT, asyncio.Future[AnswerT]]], error: QgjobError, *, first_refusal: bool
) -> list[list[tuple[RequestT, asyncio.Future[AnswerT]]]]:
    """Tell the job that was to blame; return what is still to be sent, in parts (the last one first)."""
    index = 0 if len(part) == 1 else blamed_index(error)
    if index is not None and index < len(part):
        _fail([part[index]], for_single(error))
        rest = part[:index] + part[index + 1 :]
        if first_refusal:
            return [rest] if rest else []
    else:
        rest = part
    # With several bad jobs, halving keeps what is sent again within n log n.
    middle = (len(rest) + 1) // 2
    return [half for half in (rest[middle:], rest[:middle]) if half]


def _fail(part: Sequence[tuple[RequestT, asyncio.Future[AnswerT]]], error: BaseException) -> None:
    for _, future in part:
        if not future.done():
            if isinstance(error, asyncio.CancelledError):
                future.cancel()
            else:
                # A copy each: an exception that is raised in many tasks collects the tracebacks of all.
                future.set_exception(copy.copy(error))

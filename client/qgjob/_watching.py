"""Streams that outlive their connection: watches and logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from qgjob._enums import WatchEventKind
from qgjob._errors import ConflictError, QuotaError, UnavailableError
from qgjob._models import LogChunk, WatchEvent
from qgjob._wire_jobs import read_log_chunk, read_watch_event
from qgjob._wire_requests import tail_logs, watch_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgjob._failover import Failover, Patience

# So a stream ends when the coordinator goes, or cuts a reader that was too slow. Asking again mends both.
_BROKEN = (UnavailableError, ConflictError, QuotaError)


# A connection attempt is given up earlier than this; a stream that ended later was connected, even if nothing came.
_CONNECTED_SECONDS = 30.0


class Persistence:
    """Paces the reconnections of one stream, and ends them when it has been away for too long."""

    def __init__(self, patience: Patience, *, reached: bool = False) -> None:
        """`reached`: a coordinator has answered before, so the first connection may take as long as others."""
        self._patience = patience
        self._clock = asyncio.get_running_loop().time
        self._failures = 0
        self._limit_seconds = patience.reconnect_seconds if reached else patience.timeout_seconds
        self._connecting_since = self._away_since = self._clock()

    def connecting(self) -> None:
        """A connection is tried now."""
        self._connecting_since = self._clock()

    def good(self) -> None:
        """Something came: the stream works, and may be away for longer from now on."""
        self._failures = 0
        self._limit_seconds = self._patience.reconnect_seconds

    def left_seconds(self) -> float:
        """How long the stream may still be away, asked when it has just broken."""
        away = self._clock() - self._away_since if self._failures else 0.0
        return self._limit_seconds - away

    async def pause(self, error: Exception | None) -> None:
        """Wait before the next connection. Raises `error` when there is no patience left, or when that is in vain."""
        if isinstance(error, UnavailableError) and error.in_vain:
            raise error
        now = self._clock()
        if now - self._connecting_since > _CONNECTED_SECONDS:
            self.good()
        if self._failures == 0:
            self._away_since = now
        self._failures += 1
        pause = self._patience.pause_seconds(self._failures)
        if error is not None and now + pause - self._away_since > self._limit_seconds:
            raise error
        await asyncio.sleep(pause)


async def watch(
    source: Failover,
    org_id: str | None,
    run_id: str | None,
    job_ids: Sequence[str],
    cursor: str | None,
    *,
    anew: bool = False,
) -> AsyncGenerator[WatchEvent]:
    """A snapshot (or what came after `cursor`), then every transition, over any number of connections.

    With `anew` each connection begins with a snapshot, since its cursor would not tell of jobs that left the run.
    """
    persistence = Persistence(source.patience, reached=source.reached)
    in_snapshot = cursor is None
    while True:
        request = watch_jobs(org_id, run_id, job_ids, cursor)
        broken: Exception | None = None
        told = False
        persistence.connecting()
        try:
            async with aclosing(source.stream("WatchJobs", request, persistence.left_seconds)) as answers:
                async for answer in answers:
                    persistence.good()
                    event = read_watch_event(answer)
                    if event.event is WatchEventKind.RESET:
                        in_snapshot = True
                    elif event.event is WatchEventKind.READY:
                        in_snapshot = False
                    # From within a snapshot a watch can't go on: what is left of the snapshot would be missed.
                    cursor = None if in_snapshot else event.cursor
                    told = in_snapshot
                    yield event if event.cursor == cursor else WatchEvent(event.event, cursor, event.job, event.version)
        except _BROKEN as error:
            broken = error
        if anew and not in_snapshot:
            cursor, told = None, True
        if told:
            in_snapshot = True
            yield WatchEvent(WatchEventKind.RESET, None)
        await persistence.pause(broken)


async def tail(
    source: Failover, job_id: str, attempt: int | None, *, follow: bool, offset: int
) -> AsyncGenerator[LogChunk]:
    """The log of one attempt, or with `follow` and no `attempt` of all from the latest on; no byte comes twice."""
    persistence = Persistence(source.patience)
    seen = (attempt or 0, offset)
    resume: int | None = attempt
    start = offset
    while True:
        request = tail_logs(job_id, resume, start, follow=follow)
        persistence.connecting()
        try:
            async with aclosing(source.stream("TailLogs", request, persistence.left_seconds)) as answers:
                async for answer in answers:
                    persistence.good()
                    chunk = _unseen(read_log_chunk(answer), seen)
                    if chunk is not None:
                        seen = (chunk.attempt, chunk.offset + len(chunk.data))
                        yield chunk
        except _BROKEN as error:
            await persistence.pause(error)
            # First the rest of the attempt that was being read; it may not be the latest any more.
            resume, start = (seen[0] or None), seen[1]
            continue
        if resume == attempt or not follow:
            return
        # The rest is read. With no attempt named, those after it follow.
        resume, start = None, 0


def _unseen(chunk: LogChunk, seen: tuple[int, int]) -> LogChunk | None:
    """What of a chunk is new to a reader that has seen attempt `seen[0]` up to byte `seen[1]`; None if nothing is."""
    attempt, end = seen
    if chunk.attempt > attempt:
        return chunk
    known = end - chunk.offset
    if chunk.attempt < attempt or (chunk.data and known >= len(chunk.data)):
        return None
    return chunk if known <= 0 else LogChunk(chunk.attempt, end, chunk.data[known:], 0)

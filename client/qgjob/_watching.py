"""Streams that outlive their connection: watches, logs, and following jobs to their verdicts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING

from qgjob._enums import WatchEventKind
from qgjob._errors import ConflictError, QuotaError, UnavailableError
from qgjob._ids import org_of
from qgjob._models import Job, LogChunk, WatchEvent
from qgjob._wire import read_log_chunk, read_watch_event
from qgjob._wire_requests import tail_logs, watch_jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgjob._client import AsyncClient
    from qgjob._failover import Failover, Patience

MAX_JOBS_PER_WATCH = 1000
# A watch tells all; but a wait that could hang for ever on one lost event asks now and then.
SILENCE_SECONDS = 30.0

# So a stream ends when the coordinator goes, or cuts a reader that was too slow. Asking again mends both.
_BROKEN = (UnavailableError, ConflictError, QuotaError)


class Persistence:
    """Paces the reconnections of one stream, and ends them when it has been silent for too long."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._clock = asyncio.get_running_loop().time
        self._failures = 0
        self._limit_seconds = patience.timeout_seconds
        self._last_good = self._clock()

    def good(self) -> None:
        """Something came: the stream has worked, and may be away for longer from now on."""
        self._failures = 0
        self._limit_seconds = self._patience.reconnect_seconds
        self._last_good = self._clock()

    async def pause(self, error: Exception | None) -> None:
        """Wait before the next connection. Raises `error` when there is no patience left."""
        self._failures += 1
        pause = self._patience.pause_seconds(self._failures)
        if error is not None and self._clock() + pause - self._last_good > self._limit_seconds:
            raise error
        await asyncio.sleep(pause)


async def watch(
    source: Failover, org_id: str, run_id: str | None, job_ids: Sequence[str], cursor: str | None
) -> AsyncGenerator[WatchEvent]:
    """A snapshot (or what came after `cursor`), then every transition, over any number of connections."""
    persistence = Persistence(source.patience)
    in_snapshot = cursor is None
    while True:
        request = watch_jobs(org_id, run_id, job_ids, cursor)
        broken: Exception | None = None
        told = False
        try:
            async with aclosing(source.stream("WatchJobs", request)) as answers:
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
        try:
            async with aclosing(source.stream("TailLogs", request)) as answers:
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


async def follow_run(client: AsyncClient, org_id: str, run_id: str) -> AsyncGenerator[Job]:
    """Each job of a run as it stands, then each change, until all that belong to it have their verdicts.

    Raises NotFoundError when there is no such run.
    """
    async with aclosing(_checked(client, [_follow_run(client, org_id, run_id)], ())) as jobs:
        async for job in jobs:
            yield job


async def follow_jobs(client: AsyncClient, job_ids: Iterable[str]) -> AsyncGenerator[Job]:
    """Each of the jobs as it stands, then each change, until all have their verdicts.

    Raises NotFoundError naming the first that does not exist.
    """
    ids = tuple(dict.fromkeys(job_ids))
    by_org: dict[str, list[str]] = {}
    for job_id in ids:
        by_org.setdefault(org_of(job_id), []).append(job_id)
    streams = [
        _follow_part(client, org_id, own[start : start + MAX_JOBS_PER_WATCH])
        for org_id, own in by_org.items()
        for start in range(0, len(own), MAX_JOBS_PER_WATCH)
    ]
    async with aclosing(_checked(client, streams, ids)) as jobs:
        async for job in jobs:
            yield job


async def _follow_run(client: AsyncClient, org_id: str, run_id: str) -> AsyncGenerator[Job]:
    unfinished: set[str] = set()
    known = ready = False
    async with aclosing(client.watch(org_id, run_id=run_id)) as events:
        async for event in events:
            if event.event is WatchEventKind.RESET:
                ready = False
                unfinished.clear()
            elif event.event is WatchEventKind.READY:
                ready = True
                if not known:
                    await client.run(org_id, run_id)
            if event.job is not None:
                known = True
                (unfinished.discard if event.job.final else unfinished.add)(event.job.job_id)
                yield event.job
            if ready and not unfinished:
                return


async def _follow_part(client: AsyncClient, org_id: str, job_ids: Iterable[str]) -> AsyncGenerator[Job]:
    """Jobs of one org, as many as one watch takes. An id that is an alias is followed as the job that it stands for."""
    pending = set(job_ids)
    while pending:
        renamed = False
        seen: set[str] = set()
        async with aclosing(client.watch(org_id, job_ids=sorted(pending))) as events:
            async for event in events:
                if event.event is WatchEventKind.RESET:
                    seen.clear()
                elif event.event is WatchEventKind.READY:
                    for job_id in sorted(pending - seen):
                        job = await client.get(job_id)
                        renamed |= _settle(job, job_id, pending)
                        yield job
                if event.job is not None and event.job.job_id in pending:
                    seen.add(event.job.job_id)
                    _settle(event.job, event.job.job_id, pending)
                    yield event.job
                if renamed or not pending:
                    break


def _settle(job: Job, asked_id: str, pending: set[str]) -> bool:
    """Take a job off `pending` when it has its verdict. True when another id has to be watched from now on."""
    if job.final:
        pending.discard(asked_id)
        return False
    if job.job_id == asked_id:
        return False
    pending.discard(asked_id)
    pending.add(job.job_id)
    return True


async def _checked(
    client: AsyncClient, streams: Sequence[AsyncGenerator[Job]], job_ids: Iterable[str]
) -> AsyncGenerator[Job]:
    """The streams' jobs. When all are silent for long, the jobs that lack a verdict are asked for one by one."""
    unsettled = dict.fromkeys(job_ids)
    async with aclosing(_merge(streams)) as jobs:
        async for job in jobs:
            if job is not None:
                if job.final:
                    unsettled.pop(job.job_id, None)
                else:
                    unsettled[job.job_id] = None
                yield job
                continue
            for job_id in list(unsettled):
                try:
                    asked = await client.get(job_id)
                except UnavailableError:
                    break  # how long to put up with that is for the stream to say
                if asked.final:
                    del unsettled[job_id]
                yield asked
            if job_ids and not unsettled:
                return


async def _merge(streams: Sequence[AsyncGenerator[Job]]) -> AsyncGenerator[Job | None]:
    """What comes from any of the streams, and None after each SILENCE_SECONDS in which nothing came.

    The first error of one stream ends all. The queue has no bound: it holds transitions of the jobs asked for, and a
    job has few of them.
    """
    queue: asyncio.Queue[Job | asyncio.Task[None]] = asyncio.Queue()

    async def pump(stream: AsyncGenerator[Job]) -> None:
        async with aclosing(stream) as jobs:
            async for job in jobs:
                queue.put_nowait(job)

    pumps = {asyncio.create_task(pump(stream)) for stream in streams}
    for task in pumps:
        task.add_done_callback(queue.put_nowait)
    running = len(pumps)
    try:
        while running:
            try:
                item = await asyncio.wait_for(queue.get(), SILENCE_SECONDS)
            except TimeoutError:
                yield None
                continue
            if isinstance(item, asyncio.Task):
                running -= 1
                item.result()
            else:
                yield item
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def collect(jobs: AsyncGenerator[Job], found: dict[str, Job], on_change: Callable[[Job], None] | None) -> None:
    """Keep the latest state of each job in `found`, and tell of each."""
    async with aclosing(jobs) as updates:
        async for job in updates:
            found[job.job_id] = job
            if on_change is not None:
                on_change(job)

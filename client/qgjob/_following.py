"""Following jobs to their verdicts: watches over any number of jobs, checked by asking when they are silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from qgjob._enums import WatchEventKind
from qgjob._errors import UnavailableError
from qgjob._ids import org_of

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._models import Job

MAX_JOBS_PER_WATCH = 1000
# A watch tells all; but a wait that could hang for ever on one lost event asks now and then.
SILENCE_SECONDS = 30.0


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

"""Following jobs to their verdicts: watches over any number of jobs, checked by asking when they are silent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from qgjob._enums import WatchEventKind
from qgjob._errors import NotFoundError, UnavailableError
from qgjob._ids import org_of

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._models import Job, WatchEvent

T = TypeVar("T")

MAX_JOBS_PER_WATCH = 1000
MAX_JOBS_PER_PAGE = 1000
# A watch tells all; but a wait that could hang for ever on one lost event asks now and then.
SILENCE_SECONDS = 30.0
JOBS_WORTH_A_CALL = 50
"""Of a run that is read whole, so many jobs take about what it takes to ask for one by its id."""
_WATCHED = re.compile(r"job_ids\[(\d+)\]")


async def follow_run(
    client: AsyncClient, org_id: str, run_id: str, watch: AsyncGenerator[WatchEvent]
) -> AsyncGenerator[Job]:
    """Each job of a run as it stands, then each change, until all have their verdicts.

    A job that leaves the run, since the run was cancelled and others share the job, is followed to its verdict too.
    `watch` is that of the run; after a break it is to begin anew. Raises NotFoundError when there is no such run.
    """
    stream = _follow_run(client, org_id, run_id, watch)
    async with aclosing(_checked(client, [stream], run=(org_id, run_id))) as jobs:
        async for job in jobs:
            yield job


async def follow_jobs(client: AsyncClient, job_ids: Iterable[str]) -> AsyncGenerator[Job]:
    """Each of the jobs as it stands, then each change, until all have their verdicts.

    Raises NotFoundError naming one that does not exist, as in `job_ids[2]`: its first place in `job_ids`.
    """
    given = tuple(job_ids)
    ids = tuple(dict.fromkeys(given))
    by_org: dict[str, list[str]] = {}
    for job_id in ids:
        by_org.setdefault(org_of(job_id), []).append(job_id)
    streams = [
        _follow_part(client, org_id, own[start : start + MAX_JOBS_PER_WATCH], given)
        for org_id, own in by_org.items()
        for start in range(0, len(own), MAX_JOBS_PER_WATCH)
    ]
    async with aclosing(_checked(client, streams, ids)) as jobs:
        async for job in jobs:
            yield job


async def _follow_run(
    client: AsyncClient, org_id: str, run_id: str, watch: AsyncGenerator[WatchEvent]
) -> AsyncGenerator[Job]:
    """The run's watch; then those of its jobs that left it and have no verdict yet, by their ids."""
    unfinished: set[str] = set()
    left: set[str] = set()
    shown: set[str] = set()
    known = ready = False
    async with aclosing(watch) as events:
        async for event in events:
            if event.event is WatchEventKind.RESET:
                ready = False
                shown.clear()
            elif event.event is WatchEventKind.READY:
                ready = True
                if not known:
                    await client.run(org_id, run_id)
                left |= unfinished - shown
                unfinished &= shown
            if event.job is not None:
                known = True
                job_id = event.job.job_id
                shown.add(job_id)
                unfinished.discard(job_id)
                left.discard(job_id)
                if not event.job.final:
                    (unfinished if run_id in event.job.run_ids else left).add(job_id)
                yield event.job
            if ready and not unfinished:
                break
    async with aclosing(follow_jobs(client, sorted(left))) as jobs:
        async for job in jobs:
            yield job


async def _follow_part(
    client: AsyncClient, org_id: str, job_ids: Sequence[str], given: Sequence[str]
) -> AsyncGenerator[Job]:
    """Jobs of one org, as many as one watch takes. An id that is an alias is followed as the job that it stands for.

    Raises NotFoundError naming the place of the job among those `given` by the caller.
    """
    pending = dict.fromkeys(job_ids)
    while pending:
        watched = list(pending)
        try:
            async with aclosing(_follow_watch(client, org_id, watched, pending)) as jobs:
                async for job in jobs:
                    yield job
        except NotFoundError as error:
            raise _at_its_place(error, watched, given) from error


async def _follow_watch(
    client: AsyncClient, org_id: str, watched: Sequence[str], pending: dict[str, None]
) -> AsyncGenerator[Job]:
    """One watch: until nothing is `pending`, or one of the ids turned out to be an alias."""
    renamed = False
    seen: set[str] = set()
    async with aclosing(client.watch(org_id, job_ids=watched)) as events:
        async for event in events:
            if event.event is WatchEventKind.RESET:
                seen.clear()
            elif event.event is WatchEventKind.READY:
                for job_id in [each for each in pending if each not in seen]:
                    job = await client.get(job_id)
                    renamed |= _settle(job, job_id, pending)
                    yield job
            if event.job is not None and event.job.job_id in pending:
                seen.add(event.job.job_id)
                _settle(event.job, event.job.job_id, pending)
                yield event.job
            if renamed or not pending:
                return


def _at_its_place(error: NotFoundError, watched: Sequence[str], given: Sequence[str]) -> NotFoundError:
    """The error of a watch with the index that the job has in the caller's list, which may be of several watches."""
    match = _WATCHED.fullmatch(error.field or "")
    index = int(match[1]) if match else len(watched)
    if index >= len(watched) or watched[index] not in given:
        return error
    return NotFoundError(error.message, field=f"job_ids[{given.index(watched[index])}]")


def _settle(job: Job, asked_id: str, pending: dict[str, None]) -> bool:
    """Take a job off `pending` when it has its verdict. True when another id has to be watched from now on."""
    if job.final:
        pending.pop(asked_id, None)
        return False
    if job.job_id == asked_id:
        return False
    pending.pop(asked_id, None)
    pending[job.job_id] = None
    return True


async def _checked(
    client: AsyncClient,
    streams: Sequence[AsyncGenerator[Job]],
    job_ids: Iterable[str] = (),
    run: tuple[str, str] | None = None,
) -> AsyncGenerator[Job]:
    """The streams' jobs. When all are silent for long, the run and the jobs that lack a verdict are asked for."""
    unsettled = dict.fromkeys(job_ids)
    told: set[str] = set()

    def note(job: Job) -> Job:
        told.add(job.job_id)
        if job.final:
            unsettled.pop(job.job_id, None)
        else:
            unsettled[job.job_id] = None
        return job

    async with aclosing(merged(streams, SILENCE_SECONDS)) as jobs:
        async for job in jobs:
            if job is not None:
                yield note(job)
                continue
            try:
                async with aclosing(_ask(client, unsettled, told, run)) as asked:
                    async for each in asked:
                        yield note(each)
            except UnavailableError:
                continue  # how long to put up with that is for the stream to say
            if told and not unsettled:
                return


async def _ask(
    client: AsyncClient, unsettled: dict[str, None], told: set[str], run: tuple[str, str] | None
) -> AsyncGenerator[Job]:
    """The jobs that lack a verdict or were not told yet: those of the run by its pages, the others one by one.

    While few of a large run lack one these are asked for alone; then its pages tell whether the run has more. What is
    yielded is settled by the caller.
    """
    few_left = 0 < len(unsettled) * JOBS_WORTH_A_CALL <= len(told)
    found: set[str] = set()
    if run is not None and not few_left:
        async with aclosing(_ask_run(client, unsettled, told, run, found)) as jobs:
            async for job in jobs:
                yield job
    for job_id in [each for each in unsettled if each not in found]:
        asked = await client.get(job_id)
        if asked.final:
            unsettled.pop(job_id, None)  # where that is an alias, the job has another id
        yield asked
    if run is not None and few_left and not unsettled:
        async with aclosing(_ask_run(client, unsettled, told, run, found)) as jobs:
            async for job in jobs:
                yield job


async def _ask_run(
    client: AsyncClient, unsettled: dict[str, None], told: set[str], run: tuple[str, str], found: set[str]
) -> AsyncGenerator[Job]:
    """All jobs of a run but those whose verdicts were told; the ids of all are added to `found`.

    By its statuses a run would be read whole once for each.
    """
    token: str | None = None
    while True:
        page = await client.list_page(run[0], run_id=run[1], page_size=MAX_JOBS_PER_PAGE, page_token=token)
        for job in page.jobs:
            found.add(job.job_id)
            if job.job_id in unsettled or job.job_id not in told or not job.final:
                yield job
        token = page.next_page_token
        if token is None:
            return


async def merged(streams: Sequence[AsyncGenerator[T]], silence_seconds: float) -> AsyncGenerator[T | None]:
    """What comes from any of the streams, and None after each `silence_seconds` in which nothing came.

    The first error of one stream ends all. The queue has no bound: it holds transitions of the jobs asked for, and a
    job has few of them.
    """
    queue: asyncio.Queue[T | asyncio.Task[None]] = asyncio.Queue()

    async def pump(stream: AsyncGenerator[T]) -> None:
        async with aclosing(stream) as items:
            async for item in items:
                queue.put_nowait(item)

    pumps = {asyncio.create_task(pump(stream)) for stream in streams}
    for task in pumps:
        task.add_done_callback(queue.put_nowait)
    running = len(pumps)
    try:
        while running:
            try:
                async with asyncio.timeout(silence_seconds):  # wait_for of Python 3.11 may swallow a cancel
                    item = await queue.get()
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

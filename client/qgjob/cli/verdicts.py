"""Waiting for verdicts: what `run`, `wait` and `submit --wait` have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qgjob._errors import QgjobError, UnavailableError
from qgjob._keeping_runs import ends_refused
from qgjob.cli import exit_codes
from qgjob.cli.giving_up import given_up
from qgjob.cli.interrupting import cancel_each, interrupted
from qgjob.cli.job_tables import job_table
from qgjob.cli.limit import NONE, Limit
from qgjob.cli.progress import counts_text, installs_text, open_progress
from qgjob.cli.runner import tell

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._models import Bond, Job
    from qgjob.cli.printer import Printer


@dataclass(frozen=True, slots=True)
class Goal:
    """What is waited for, and what to do on the way.

    `resume` is the command that takes the wait up again. `own` are the jobs that this invocation made; those and, when
    `run` names one (org, run), what is in that run may be cancelled by it. `bond` binds that run to it. `coordinator`
    is what a flag named. `ended` gets the jobs at the end, before the exit code is told; where all is well it is
    what that gives.
    """

    follow: Callable[[], AsyncGenerator[Job]]
    resume: str
    total: int | None = None
    own: tuple[str, ...] = ()
    run: tuple[str, str] | None = None
    limit: Limit = NONE
    fail_fast: bool = False
    fail_on_flaky: bool = False
    cancel_on_interrupt: bool = False
    bond: Bond | None = None
    coordinator: str | None = None
    ended: Callable[[Sequence[Job]], Awaitable[int]] | None = None


async def await_verdicts(
    client: AsyncClient,
    printer: Printer,
    goal: Goal,
    known: Sequence[Job] = (),
    first: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Show progress until all jobs have their verdicts, print them, return the exit code. `known`: the jobs so far.

    `first` is done before, as a part of the wait.
    """
    jobs = {job.job_id: job for job in known}
    code: int | None = None
    try:
        async with goal.limit.block():
            if first is not None:
                await first()
            await _follow(client, printer, goal, jobs)
    except TimeoutError:
        code = exit_codes.TIMEOUT
        tell(f"{_state_at_the_end(goal, jobs)}. To resume: {goal.resume}")
    except asyncio.CancelledError as error:
        try:
            if not ends_refused(error):
                await interrupted(client, goal, jobs)
        finally:  # a second interrupt cuts that short
            printer.cut_short("jobs", list(jobs.values()))
        raise
    except QgjobError as error:
        if (line := given_up(error, goal, jobs)) is not None:
            tell(line)
            printer.cut_short("jobs", list(jobs.values()))
        raise
    found = list(jobs.values())
    print_jobs(printer, found)
    if found:
        tell(f"{len(found)} {'job' if len(found) == 1 else 'jobs'}: {counts_text(found)}; {installs_text(found)}")
    afterwards = await goal.ended(found) if goal.ended is not None and found else exit_codes.OK
    if code is not None:
        return code
    if not found:
        tell("the run was cancelled before: others want its jobs, which go on without it")
        return exit_codes.CANCELLED
    return exit_codes.for_verdicts([job for job in found if job.final], fail_on_flaky=goal.fail_on_flaky) or afterwards


def print_jobs(printer: Printer, jobs: Sequence[Job]) -> None:
    """The jobs as they are at the end. Lines of JSON came with the verdicts, and a table of none says nothing."""
    if printer.output == "json" or (printer.output == "table" and jobs):
        printer.many("jobs", jobs, job_table)


def _state_at_the_end(goal: Goal, jobs: dict[str, Job]) -> str:
    """What is known when the time is over."""
    after = f"{goal.limit.seconds:g} s"
    if not jobs:
        return f"no coordinator answered within {after}; nothing is known of them"
    return f"not all jobs have their verdict after {after}; they go on"


async def _follow(client: AsyncClient, printer: Printer, goal: Goal, jobs: dict[str, Job]) -> None:
    """Keep `jobs` up to date until all have their verdicts, or with --fail-fast until no own job is left to stop."""
    printed: set[str] = set()
    stopping = False
    with open_progress(goal.total) as progress:
        async with aclosing(goal.follow()) as updates:
            async for job in updates:
                known = jobs.get(job.job_id)
                if known is not None and known.deduplicated is not None:
                    job = replace(job, deduplicated=known.deduplicated)  # noqa: PLW2901 - only submission tells this
                jobs[job.job_id] = job
                progress.update(job)
                if not job.final:
                    continue
                if printer.output == "jsonl" and job.job_id not in printed:
                    printed.add(job.job_id)
                    printer.json(job.to_dict())
                failed = exit_codes.for_verdict(job, fail_on_flaky=goal.fail_on_flaky) != exit_codes.OK
                if goal.fail_fast and failed and not stopping:
                    stopping = True
                    await _cancel_when_answered(client, goal, jobs, f"--fail-fast after {job.job_id}")
                if stopping and all(jobs[own].final for own in goal.own if own in jobs):
                    return


async def _cancel_when_answered(client: AsyncClient, goal: Goal, jobs: dict[str, Job], reason: str) -> None:
    """As `_cancel_rest`, for as long as the wait itself outlives coordinators that are all away."""
    clock = asyncio.get_running_loop().time
    end = clock() + client._source.patience.reconnect_seconds  # noqa: SLF001 - of this package
    while True:
        try:
            return await _cancel_rest(client, goal, jobs, reason)
        except UnavailableError as error:
            if error.in_vain or clock() >= end:
                raise


async def _cancel_rest(client: AsyncClient, goal: Goal, jobs: dict[str, Job], reason: str) -> None:
    """Cancel what has no verdict yet. Jobs that others submitted too are left to them."""
    if goal.run is not None:
        org_id, run_id = goal.run
        await client.cancel_many(org_id, run_id=run_id, reason=reason)
        return
    rest = [job_id for job_id in goal.own if job_id not in jobs or not jobs[job_id].final]
    rounds = {job_id: jobs[job_id].round for job_id in rest if job_id in jobs}
    await cancel_each(client, rest, rounds, reason, lambda _: None)

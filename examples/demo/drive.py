"""Submits the plan, and follows it to its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from examples.demo.plan import MAX_RETRIES, SUBMISSIONS, Submission
from examples.demo.stack import START_SECONDS
from qgjob import AsyncClient, DeadlineError, JobSpec, QgjobError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from examples.demo.board import Board
    from examples.demo.stack import Stack
    from examples.demo.view import View
    from qgjob import Device, Job

DEVICES = 6  # of the two simulated agents
RUN_SECONDS = 90.0
POLL_SECONDS = 0.25


class DemoError(Exception):
    """The demo could not be carried out; the message says how far it came."""


async def drive(stack: Stack, board: Board, view: View) -> None:
    """Waits for the stack, submits all runs, and returns when every job has its verdict. Raises DemoError."""
    await _ready(stack, board)
    try:
        async with AsyncClient(stack.address) as client, asyncio.timeout(RUN_SECONDS):
            await _run(stack, client, board, view)
    except TimeoutError:
        raise DemoError(f"{board.unfinished} jobs had no verdict after {RUN_SECONDS:.0f} s; qgjob up said:") from None
    except QgjobError as error:
        raise DemoError(f"{error}; qgjob up said:") from error


async def logs_of(stack: Stack, jobs: Iterable[Job]) -> dict[str, str]:
    """The log of the last attempt of each job, by job id."""
    logs = {}
    async with AsyncClient(stack.address) as client:
        for job in jobs:
            chunks = [chunk.data async for chunk in client.logs(job.job_id)]
            logs[job.job_id] = b"".join(chunks).decode("utf-8", errors="replace")
    return logs


async def _ready(stack: Stack, board: Board) -> None:
    """Returns when all devices are there."""
    deadline = time.monotonic() + START_SECONDS
    # With little patience, so that a stack that has ended is noticed soon.
    async with AsyncClient(stack.address, timeout_seconds=1) as client:
        while sum(device.state == "idle" for device in board.devices) != DEVICES:
            if not stack.alive():
                raise DemoError("qgjob up ended before it was ready; it said:")
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{len(board.devices)} of {DEVICES} devices after {START_SECONDS:.0f} s; qgjob up said:"
                )
            await asyncio.sleep(POLL_SECONDS)
            with contextlib.suppress(UnavailableError, DeadlineError):  # not up yet
                board.devices = await _devices(client)


async def _run(stack: Stack, client: AsyncClient, board: Board, view: View) -> None:
    async with asyncio.TaskGroup() as tasks:
        for run in SUBMISSIONS:
            tasks.create_task(_submit(client, run, board))
    following = asyncio.create_task(_follow(client, board, view))
    try:
        while not following.done():
            if not stack.alive():
                raise DemoError("qgjob up ended in the middle; it said:")
            board.devices = await _devices(client)
            view.refresh()
            await asyncio.wait([following], timeout=POLL_SECONDS)
        await following
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    board.devices = await _devices(client)


async def _submit(client: AsyncClient, run: Submission, board: Board) -> None:
    for job in await client.submit_many(_specs(run)):
        board.see(job)


async def _follow(client: AsyncClient, board: Board, view: View) -> None:
    """Keeps the board up to date until every job has its verdict."""
    async with contextlib.aclosing(client.follow(list(board.jobs))) as jobs:
        async for job in jobs:
            line = board.see(job)
            if line is not None:
                view.tell(line)


async def _devices(client: AsyncClient) -> list[Device]:
    return [device async for device in client.devices()]


def _specs(run: Submission) -> list[JobSpec]:
    return [
        JobSpec(
            org_id=run.org_id,
            app_version_id=run.app_version_id,
            test_path=test_path,
            priority=run.priority,
            target=run.target,
            run_id=run.run_id,
            max_retries=MAX_RETRIES,
        )
        for test_path in run.test_paths()
    ]

"""Submits the plan, and follows it to its end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from examples.demo.plan import MAX_RETRIES, SUBMISSIONS, Submission
from examples.demo.stack import START_SECONDS
from qgjob import AsyncClient, JobSpec, QgjobError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from examples.demo.board import Board
    from examples.demo.stack import Stack
    from examples.demo.view import View
    from qgjob import Job

DEVICES = 6  # of the two simulated agents
RUN_SECONDS = 90.0
POLL_SECONDS = 0.25


class DemoError(Exception):
    """The demo could not be carried out; the message says how far it came."""


async def drive(stack: Stack, board: Board, view: View) -> None:
    """Waits for the stack, submits all runs, and returns when every job has its verdict. Raises DemoError."""
    async with AsyncClient(stack.address) as client:
        await _ready(stack, client, board)
        try:
            async with asyncio.timeout(RUN_SECONDS):
                await _run(stack, client, board, view)
        except TimeoutError:
            raise DemoError(f"{board.unfinished} jobs had no verdict after {RUN_SECONDS:.0f} s") from None
        except QgjobError as error:
            raise DemoError(f"the coordinator answered: {error}") from error


async def logs_of(stack: Stack, jobs: Iterable[Job]) -> dict[str, str]:
    """The log of the last attempt of each job, by job id."""
    logs = {}
    async with AsyncClient(stack.address) as client:
        for job in jobs:
            chunks = [chunk.data async for chunk in client.logs(job.job_id)]
            logs[job.job_id] = b"".join(chunks).decode("utf-8", errors="replace")
    return logs


async def _ready(stack: Stack, client: AsyncClient, board: Board) -> None:
    """Returns when all devices are there."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        if not stack.alive():
            raise DemoError("qgjob up ended before it was ready; it said:")
        if time.monotonic() > deadline:
            raise DemoError(f"{len(board.devices)} of {DEVICES} devices after {START_SECONDS:.0f} s; qgjob up said:")
        try:
            board.devices = (await client.devices()).devices
        except QgjobError:
            board.devices = ()  # not up yet
        if sum(device.state == "idle" for device in board.devices) == DEVICES:
            return
        await asyncio.sleep(POLL_SECONDS)


async def _run(stack: Stack, client: AsyncClient, board: Board, view: View) -> None:
    for run in SUBMISSIONS:
        for job in await client.submit_many(_specs(run)):
            board.see(job)
    followers = [asyncio.create_task(_follow(client, org_id, board, view)) for org_id in _orgs()]
    try:
        while board.unfinished:
            if not stack.alive():
                raise DemoError("qgjob up ended in the middle; it said:")
            for follower in followers:
                if follower.done():
                    await follower
            board.devices = (await client.devices()).devices
            view.refresh()
            await asyncio.sleep(POLL_SECONDS)
        board.devices = (await client.devices()).devices
    finally:
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*followers, return_exceptions=True)


async def _follow(client: AsyncClient, org_id: str, board: Board, view: View) -> None:
    async for event in client.watch(org_id):
        if event.job is not None:
            line = board.see(event.job)
            if line is not None:
                view.tell(line)


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


def _orgs() -> list[str]:
    return sorted({run.org_id for run in SUBMISSIONS})

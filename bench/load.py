"""The submitting process: `python -m bench.load`. Prints one JSON object when all is acknowledged."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable

import grpc

from bench import requests
from bench.processes import peak_rss_mb
from qgjob import AsyncClient
from qgjob_proto.v1 import jobs_pb2_grpc


async def in_flight(count: int, total: int, step: int, send: Callable[[int, int], Awaitable[None]]) -> None:
    """Sends 0..total in steps, so many at once, each as soon as an earlier one was answered."""
    starts = iter(range(0, total, step))

    async def sender() -> None:
        for first in starts:
            await send(first, min(first + step, total))

    await asyncio.gather(*[sender() for _ in range(count)])


async def submit_jobs(address: str, jobs: int, size: int, calls: int) -> None:
    """SubmitJobs calls of `size` jobs, `calls` in flight."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)

        async def send(first: int, last: int) -> None:
            answer = await stub.SubmitJobs(requests.batch(first, last))
            if answer.created != last - first:
                raise SystemExit(f"SubmitJobs made {answer.created} of {last - first} jobs")

        await channel.channel_ready()
        await timed(in_flight(calls, jobs, size, send), jobs)


async def submit_singly(address: str, jobs: int, submitters: int) -> None:
    """`AsyncClient.submit`, so many in flight."""
    async with AsyncClient(address) as client:
        await client.health()

        async def send(first: int, last: int) -> None:
            del last
            await client.submit(requests.spec(first))

        await timed(in_flight(submitters, jobs, 1, send), jobs)


async def timed(work: Awaitable[None], jobs: int) -> None:
    """Does the work and prints what it took. The times are of the machine's monotonic clock."""
    cpu, begun = time.process_time(), time.monotonic()
    await work
    ended = time.monotonic()
    measured = {
        "jobs": jobs,
        "begun": begun,
        "ended": ended,
        "cpu_seconds": time.process_time() - cpu,
        "peak_rss_mb": peak_rss_mb(os.getpid()),
    }
    print(json.dumps(measured))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--batch", type=int, help="jobs in one SubmitJobs; without it the client submits singly")
    parser.add_argument("--in-flight", type=int, default=1)
    options = parser.parse_args()
    if options.batch:
        asyncio.run(submit_jobs(options.address, options.jobs, options.batch, options.in_flight))
    else:
        asyncio.run(submit_singly(options.address, options.jobs, options.in_flight))


if __name__ == "__main__":
    main()

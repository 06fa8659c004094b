"""The process that calls singly, with pauses: `python -m bench.lone`. Prints a JSON list of milliseconds."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import time
from collections.abc import Awaitable, Callable

import grpc

from bench import requests
from bench.echo_server import METHOD, SERVICE
from bench.sizes import MAX_PAUSE_SECONDS
from qgjob import AsyncClient
from qgjob_proto.v1 import jobs_pb2

START_SECONDS = 10.0
_DATAGRAM_BYTES = 4_096
_NS_PER_MS = 1_000_000


async def one_by_one(calls: int, warm_up: int, call: Callable[[int], Awaitable[float]]) -> list[float]:
    """Calls one after the other with random pauses; the first `warm_up` are left out of the answer."""
    pauses = random.Random(1)  # noqa: S311 - the same pauses in every run
    taken = []
    for number in range(warm_up + calls):
        taken.append(await call(number))
        await asyncio.sleep(pauses.uniform(0, MAX_PAUSE_SECONDS))
    return taken[warm_up:]


async def submissions(address: str, calls: int, warm_up: int, starts: str) -> list[float]:
    """Milliseconds from `AsyncClient.submit` to the start of which a datagram at the socket `starts` tells."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(starts)
        listener.setblocking(False)
        async with AsyncClient(address) as client:

            async def submit(number: int) -> float:
                begun = time.monotonic_ns()
                job = await client.submit(requests.spec(number))
                async with asyncio.timeout(START_SECONDS):
                    job_id, started = (await loop.sock_recv(listener, _DATAGRAM_BYTES)).decode().split()
                if job_id != job.job_id:
                    raise SystemExit(f"{job_id} started; {job.job_id} was submitted")
                return (int(started) - begun) / _NS_PER_MS

            return await one_by_one(calls, warm_up, submit)


async def echoes(address: str, calls: int, warm_up: int) -> list[float]:
    """Milliseconds of calls of the echo server."""
    async with grpc.aio.insecure_channel(address) as channel:
        method = channel.unary_unary(
            f"/{SERVICE}/{METHOD}",
            request_serializer=jobs_pb2.SubmitJobRequest.SerializeToString,
            response_deserializer=jobs_pb2.SubmitJobRequest.FromString,
        )
        async with asyncio.timeout(START_SECONDS):
            await channel.channel_ready()

        async def echo(number: int) -> float:
            begun = time.monotonic_ns()
            await method(requests.request(number))
            return (time.monotonic_ns() - begun) / _NS_PER_MS

        return await one_by_one(calls, warm_up, echo)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--calls", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--starts", metavar="SOCKET", help="submit, and hear of starts here; without it, call the echo")
    options = parser.parse_args()
    if options.starts:
        work = submissions(options.address, options.calls, options.warm_up, options.starts)
    else:
        work = echoes(options.address, options.calls, options.warm_up)
    print(json.dumps(asyncio.run(work)))


if __name__ == "__main__":
    main()

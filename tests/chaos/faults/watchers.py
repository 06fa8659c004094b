"""A watcher that does not read: it costs its coordinator no memory, and misses nothing silently."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio
import psutil

from qgjob_proto.v1 import jobs_pb2, jobs_pb2_grpc
from tests.chaos import clock
from tests.chaos.faults.base import Outcome
from tests.chaos.history import Recovery
from tests.chaos.lab import Lab
from tests.chaos.schedule import Fault
from tests.chaos.workload import ORGS

MOST_MIB = 50.0
WATCHERS = 20
_MIB = 1024 * 1024


async def slow_watcher(lab: Lab, fault: Fault) -> Outcome:
    """Twenty watchers of each org read nothing for a while."""
    i = [c.name for c in lab.coordinators].index(fault.target)
    pid = lab.coordinators[i].pid
    began = clock.now()
    try:
        process = psutil.Process(pid)
        before = process.memory_info().rss
        options = (("grpc.http2.lookahead_bytes", 1024), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{lab.ports[i]}", options=options) as channel:
            stub: Any = jobs_pb2_grpc.JobServiceStub(channel)
            calls = [stub.WatchJobs(jobs_pb2.WatchJobsRequest(org_id=org)) for org in ORGS for _ in range(WATCHERS)]
            await asyncio.sleep(fault.seconds)
            grown = (process.memory_info().rss - before) / _MIB
            for call in calls:
                call.cancel()
    except (psutil.NoSuchProcess, grpc.aio.AioRpcError):
        return Outcome(note="the coordinator ended meanwhile")
    fits = grown <= MOST_MIB
    held = Recovery("memory of the coordinator stays within 50 MiB", began, began if fits else None, 0.0)
    return Outcome(held, note=f"{grown:+.1f} MiB")

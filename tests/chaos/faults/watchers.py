"""A watcher that does not read: it costs its coordinator no memory, and misses nothing silently."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc
import grpc.aio
import psutil

from qgjob_proto.v1 import jobs_pb2, jobs_pb2_grpc
from tests.chaos.faults.base import Outcome
from tests.chaos.lab import Lab
from tests.chaos.memory import Growth, age, resident
from tests.chaos.schedule import Fault
from tests.chaos.workload import ORGS
from tests.fakes.small_windows import SMALL_WINDOWS

WATCHERS = 20
YOUNG_SECONDS = 5.0
"""A program that has just been started grows by what it loads: its memory is looked at from then on."""
ENDED = "the coordinator ended meanwhile"


async def slow_watcher(lab: Lab, fault: Fault) -> Outcome:
    """Twenty watchers of each org read nothing for a while."""
    i = [c.name for c in lab.coordinators].index(fault.target)
    try:
        await asyncio.sleep(max(0.0, YOUNG_SECONDS - age(lab.coordinators[i].pid)))
        growth = Growth(partial(resident, lab.coordinators[i].pid))
    except psutil.NoSuchProcess:
        return Outcome(note=ENDED)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{lab.ports[i]}", options=SMALL_WINDOWS) as channel:
        stub: Any = jobs_pb2_grpc.JobServiceStub(channel)
        calls = [stub.WatchJobs(jobs_pb2.WatchJobsRequest(org_id=org)) for org in ORGS for _ in range(WATCHERS)]
        await growth.watch(fault.seconds)
        for call in calls:
            call.cancel()
    note = f"{growth.mib:+.1f} MiB at most" + (f"; {ENDED}" if growth.ended else "")
    return Outcome(note=note, grown_mib=growth.mib)

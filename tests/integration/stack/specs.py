"""Jobs for the shared stack: simulated tests on emulators, shell scripts on devices."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from qgjob import AsyncClient, Job, JobSpec, JobStatus, Requirements
from tests.fakes.waiting import until

_paths = itertools.count(1)


def simulated(org_id: str, count: int = 1, **fields: Any) -> list[JobSpec]:
    """Tests of some 50 ms on an emulator, which pass."""
    values: dict[str, Any] = {"app_version_id": "v1", "target": "emulator"} | fields
    return [JobSpec(org_id=org_id, test_path=f"tests/{next(_paths)}.spec.js", **values) for _ in range(count)]


def command(org_id: str, script: str, **fields: Any) -> JobSpec:
    """A shell script on a device."""
    values: dict[str, Any] = {"app_version_id": "v1", "target": "device", "env": {"TEST": script}} | fields
    return JobSpec(org_id=org_id, test_path=f"tests/{next(_paths)}.spec.js", **values)


def again(spec: JobSpec, **changes: Any) -> JobSpec:
    """The same submission once more."""
    return JobSpec(**{name: getattr(spec, name) for name in spec.__slots__} | changes)


def pinned(device_id: str) -> Requirements:
    """Only on this device."""
    return Requirements(device_id=device_id)


def holding(folder: Path) -> str:
    """A script that writes its process id to `pid`, and passes when `go` is there."""
    return f"echo $$ >> {folder}/pid; while [ ! -e {folder}/go ]; do sleep 0.05; done"


async def pids(folder: Path, count: int = 1) -> list[int]:
    """The process ids that a `holding` script wrote, when there are so many."""
    file = folder / "pid"

    def look() -> list[int]:
        found = [int(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []
        return found if len(found) >= count else []

    found: list[int] = await until(look, f"{file} has no {count} lines")
    return found


async def reach(client: AsyncClient, job_id: str, *statuses: str, seconds: float = 20.0) -> Job:
    """The job when it is in one of these states."""
    last: list[Job] = []

    async def look() -> Job | None:
        last[:] = [await client.get(job_id)]
        return last[0] if last[0].status in statuses else None

    job: Job = await until(look, lambda: f"{job_id} does not reach {statuses}: {last}", seconds=seconds)
    return job


async def running(client: AsyncClient, job_id: str) -> Job:
    """The job when it runs."""
    return await reach(client, job_id, JobStatus.RUNNING)

"""Runs trees through a real coordinator and a real agent, cancels them, and looks whether something of them lives."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from qgjob import AsyncClient, JobSpec
from tests.fakes.stack import AgentPlan, Stack, Times
from tests.fakes.waiting import until
from tests.trees.kinds import KINDS, kind_of

ORG = "trees"
BEYOND_GRACE_SECONDS = 2.0
UP_SECONDS = 60.0
END_SECONDS = 60.0


@dataclass(slots=True)
class Kind:
    """What was seen of one kind: seconds from the cancelling call to the end of the tree, and what outlived that."""

    seconds: list[float] = field(default_factory=list)
    survivors: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Found:
    """All kinds, by name."""

    grace_seconds: float
    kinds: dict[str, Kind] = field(default_factory=dict)

    @property
    def seconds(self) -> list[float]:
        """Of all trees, in order of their length."""
        return sorted(s for kind in self.kinds.values() for s in kind.seconds)

    @property
    def survivors(self) -> list[str]:
        """Command lines of what outlived its tree's reported end."""
        return [line for kind in self.kinds.values() for line in kind.survivors]

    @property
    def p99(self) -> float:
        """Of all trees."""
        return quantile(self.seconds, 0.99)

    @property
    def bound_seconds(self) -> float:
        """What the p99 has to stay within."""
        return self.grace_seconds + BEYOND_GRACE_SECONDS


def quantile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, int(share * len(ordered) + 0.9999) - 1))]


def marked(mark: str) -> list[str]:
    """Command lines of living processes with the mark in environment or command line."""
    wanted = mark.encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            line = Path(entry.path, "cmdline").read_bytes()
            if line and (wanted in line or wanted in Path(entry.path, "environ").read_bytes()):
                found.append(line.replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended
    return found


async def measure(folder: Path, trees: int, at_once: int, grace_seconds: float) -> Found:
    """Runs so many trees on `at_once` devices of one agent, with the default times of leases and sessions."""
    agent = AgentPlan("trees", at_once, "device", runner="command")
    times = Times(heartbeat=5.0, session=15.0, lease=60.0)
    stack = Stack(folder, coordinators=1, agents=(agent,), times=times, KILL_GRACE_SECONDS=grace_seconds)
    found = Found(grace_seconds, {name: Kind() for name in KINDS})
    numbers = iter(range(trees))
    await stack.start()
    try:
        async with stack.client() as client:

            async def one_after_the_other() -> None:
                for number in numbers:
                    name = kind_of(number)
                    await _cancelled(client, folder, number, KINDS[name], found.kinds[name])

            async with asyncio.TaskGroup() as group:
                for _ in range(at_once):
                    group.create_task(one_after_the_other())
    finally:
        await stack.stop()
    return found


async def _cancelled(client: AsyncClient, folder: Path, number: int, script: str, kind: Kind) -> None:
    mark = f"tree-{os.getpid()}-{number}-"
    up = folder / f"up.{number}"
    env = {"TEST": script, "TREE": mark, "UP": str(up)}
    job = await client.submit(
        JobSpec(org_id=ORG, app_version_id="v1", test_path=f"{number}.js", target="device", env=env)
    )
    await until(up.exists, f"tree {number} is not up: {script}", seconds=UP_SECONDS)
    began = time.time()
    await client.cancel(job.job_id)

    async def ended() -> float | None:
        at = (await client.get(job.job_id)).attempts[0].ended_at
        return at.timestamp() if at is not None else None

    end: float = await until(ended, f"tree {number} does not end: {script}", seconds=END_SECONDS)
    kind.survivors += marked(mark)
    kind.seconds.append(end - began)
    up.unlink()


def lines(found: Found) -> list[str]:
    """A table for people, in Markdown."""

    def row(name: str, seconds: list[float], survivors: int) -> str:
        figures = (statistics.median(seconds), quantile(seconds, 0.99), max(seconds))
        return f"| {name} | {len(seconds)} | {survivors} | " + " | ".join(f"{s:.2f} s" for s in figures) + " |"

    head = ["| kind | trees | left alive | p50 | p99 | longest |", "|---|---|---|---|---|---|"]
    rows = [row(name, k.seconds, len(k.survivors)) for name, k in found.kinds.items() if k.seconds]
    return [*head, *rows, row("all", found.seconds, len(found.survivors))]

"""A caller that goes on submitting, whatever happens to the stack."""

from __future__ import annotations

import asyncio

from qgjob import AsyncClient, UnavailableError
from tests.fakes.waiting import until
from tests.integration.stack.specs import simulated

BOUND_SECONDS = 30.0


class Flow:
    """Submits a job after the other, for as long as it is told to; `refused` holds what callers were told instead."""

    def __init__(self, client: AsyncClient, org: str, pause_seconds: float = 0.01) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[str] = []
        self._client = client
        self._org = org
        self._pause = pause_seconds
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def reach(self, count: int) -> None:
        """Returns when so many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= wanted, "jobs are not acknowledged", seconds=BOUND_SECONDS)

    async def end(self) -> list[str]:
        """Returns what was acknowledged."""
        self._over.set()
        await self._task
        return self.acknowledged

    async def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.acknowledged.append((await self._client.submit(simulated(self._org)[0])).job_id)
            except UnavailableError as e:
                self.refused.append(str(e))
            await asyncio.sleep(self._pause)

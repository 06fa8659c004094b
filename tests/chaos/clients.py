"""Carries out a workload: asks what it says when it says so, and writes down what was answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from qgjob import AsyncClient, JobSpec, QgjobError
from qgjob._ids import new_job_id
from tests.chaos import clock
from tests.chaos.history import Asked
from tests.chaos.lab import COORDINATORS, Lab
from tests.chaos.workload import Action, Does, JobPlan, Verb

STUBBORN_SECONDS = 6.0
"""Hard limit of a test that does not end by itself."""


def spec(plan: JobPlan, job_id: str) -> JobSpec:
    """The submission of a job."""
    stubborn = plan.test is Does.STUBBORN
    env = {"DOES": plan.test.value, "SECONDS_LONG": str(plan.seconds), "KEY": plan.key} if plan.test else None
    return JobSpec(
        org_id=plan.org_id,
        app_version_id=plan.version,
        test_path=plan.path,
        target="device" if plan.test else "emulator",
        job_id=job_id,
        run_id=plan.run_id,
        env=env,
        max_retries=0 if stubborn else plan.max_retries,
        timeout_seconds=STUBBORN_SECONDS if stubborn else None,
        no_dedup=not plan.dedup,
    )


class Clients:
    """As many clients as there are coordinators, each with another one first. `asked` is the list of what was asked."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._ids: dict[int, str] = {}
        self._clients: list[AsyncClient] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.asked: list[Asked] = []

    async def carry_out(self, actions: Sequence[Action], begin: float) -> None:
        """Returns when everything was asked and answered, or refused."""
        async with AsyncExitStack() as stack:
            for i in range(COORDINATORS):
                order = [(i + k) % COORDINATORS for k in range(COORDINATORS)]
                self._clients.append(await stack.enter_async_context(self._lab.client(*order)))
            async with asyncio.TaskGroup() as group:
                for n, action in enumerate(actions):
                    await asyncio.sleep(max(0.0, begin + action.at - clock.now()))
                    group.create_task(self._ask(action, self._clients[n % COORDINATORS]))

    async def _ask(self, action: Action, client: AsyncClient) -> None:
        meant = None if action.mean is None else self._ids.get(action.mean)
        asked = Asked(action.verb, action.org_id, clock.now(), action.jobs, meant, run_id=action.run_id)
        self.asked.append(asked)
        try:
            asked.job_ids = await self._send(action, client, meant)
        except QgjobError as error:
            asked.error, asked.message = error.short, error.message
        asked.answered_at = clock.now()

    async def _send(self, action: Action, client: AsyncClient, meant: str | None) -> tuple[str, ...]:
        match action.verb:
            case Verb.SUBMIT | Verb.SUBMIT_MANY:
                specs = [spec(plan, self._new_id(plan)) for plan in action.jobs]
                if len(specs) == 1:
                    return ((await client.submit(specs[0])).job_id,)
                return tuple(job.job_id for job in await client.submit_many(specs))
            case Verb.REPEAT:
                (plan,) = action.jobs
                return ((await client.submit(spec(plan, meant or self._new_id(plan)))).job_id,)
            case Verb.EQUAL:
                (plan,) = action.jobs
                return ((await client.submit(spec(plan, new_job_id(plan.org_id)))).job_id,)
            case Verb.CANCEL if meant is not None:
                return ((await client.cancel(meant)).job_id,)
            case Verb.RETRY if meant is not None:
                return ((await client.retry(meant)).job_id,)
            case Verb.CANCEL_RUN:
                found = await client.cancel_many(action.org_id, run_id=action.run_id)
                return tuple(job.job_id for job in found.jobs)
            case _:
                return ()

    def _new_id(self, plan: JobPlan) -> str:
        self._ids[plan.number] = new_job_id(plan.org_id)
        return self._ids[plan.number]

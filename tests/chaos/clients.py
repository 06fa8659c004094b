"""Carries out a workload: asks what it says when it says so, and writes down what was answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from qgjob import AsyncClient, Bond, JobSpec, QgjobError, UnavailableError
from qgjob._ids import new_job_id
from tests.chaos import clock
from tests.chaos.history import Asked
from tests.chaos.lab import COORDINATORS, Lab
from tests.chaos.workload import BOND_SECONDS, SIGN_SECONDS, Action, Does, JobPlan, Verb

STUBBORN_SECONDS = 6.0
"""Hard limit of a test that does not end by itself."""


def spec(plan: JobPlan, job_id: str, key: str | None = None) -> JobSpec:
    """The submission of a job; `key`: under which its run supersedes."""
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
        supersede=key,
        queue_timeout_seconds=plan.deadline,
    )


def turned(names: Sequence[str], first: int, last: int) -> tuple[str, ...]:
    """From the first coordinator to the last: a client turns from each to the next one, after the last to the first."""
    return tuple(names[(first + k) % len(names)] for k in range((last - first) % len(names) + 1))


class Clients:
    """As many clients as there are coordinators, each with another one first. `asked` is the list of what was asked."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._ids: dict[int, str] = {}
        self._bonds: dict[str, Bond] = {}
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
        asked.key, asked.failed_only, asked.device_id = action.key, action.failed_only, action.device_id
        asked.coordinators, before = tuple(c.name for c in self._lab.coordinators), client.address
        self.asked.append(asked)
        try:
            asked.job_ids = await self._send(action, client, meant, asked)
        except QgjobError as error:
            asked.error, asked.message = error.short, error.message
            asked.away = error.away if isinstance(error, UnavailableError) else None
        asked.turned_to = turned(asked.coordinators, self._lab.index_of(before), self._lab.index_of(client.address))
        asked.answered_at = clock.now()
        if asked.error is None and action.verb is Verb.BOND:
            await self._live(action, client, asked)
        elif asked.error is None and asked.device_id is not None and not action.leaves:
            await self._give_back(action, client, asked)

    async def _live(self, action: Action, client: AsyncClient, asked: Asked) -> None:
        """Shows that the client is there, as `AsyncClient.kept` does; then it goes, with a word or without."""
        assert action.run_id is not None
        bond, end = self._bonds[action.run_id], clock.now() + action.seconds
        asked.signs.append(asked.at)
        while clock.now() < end:
            sent = clock.now()
            try:
                async with asyncio.timeout(SIGN_SECONDS):
                    await client.keep_run(action.org_id, action.run_id, bond)
                asked.signs.append(sent)
            except (QgjobError, TimeoutError):  # the next one is sent at its time
                pass
            await asyncio.sleep(max(0.0, sent + SIGN_SECONDS - clock.now()))
        asked.silent_at = clock.now()
        if action.leaves:
            asked.gone_at = asked.silent_at
        else:
            with contextlib.suppress(QgjobError):  # whether the bond is over then, nobody knows
                await client.keep_run(action.org_id, action.run_id, bond, release=True)
                asked.released_at = clock.now()

    async def _give_back(self, action: Action, client: AsyncClient, asked: Asked) -> None:
        """Ends a hold before its time."""
        assert asked.device_id is not None
        await asyncio.sleep(action.seconds / 2)
        asked.released_at = clock.now()
        with contextlib.suppress(QgjobError):
            if action.verb is Verb.RESERVE:
                await client.release(asked.device_id)
            else:
                await client.resume(device_id=asked.device_id)

    async def _send(self, action: Action, client: AsyncClient, meant: str | None, asked: Asked) -> tuple[str, ...]:
        match action.verb:
            case Verb.BOND:
                assert action.run_id is not None
                bond = self._bonds[action.run_id] = Bond(BOND_SECONDS)
                specs = self._propose(action, meant, asked)
                return tuple(job.job_id for job in await client.submit_many(specs, bond=bond))
            case Verb.RESERVE | Verb.MAINTAIN:
                await self._hold(action, client, asked)
                return ()
            case Verb.RETRY_RUN:
                assert action.run_id is not None
                found = await client.retry_many(action.org_id, action.run_id, failed_only=action.failed_only)
                return tuple(job.job_id for job in found.jobs)
            case Verb.SUBMIT | Verb.SUBMIT_MANY | Verb.SUPERSEDE | Verb.REPEAT | Verb.EQUAL:
                specs = self._propose(action, meant, asked)
                if len(specs) == 1:
                    return ((await client.submit(specs[0])).job_id,)
                return tuple(job.job_id for job in await client.submit_many(specs))
            case Verb.CANCEL if meant is not None:
                return ((await client.cancel(meant)).job_id,)
            case Verb.RETRY if meant is not None:
                return ((await client.retry(meant)).job_id,)
            case Verb.CANCEL_RUN:
                found = await client.cancel_many(action.org_id, run_id=action.run_id)
                return tuple(job.job_id for job in found.jobs)
            case _:
                return ()

    async def _hold(self, action: Action, client: AsyncClient, asked: Asked) -> None:
        assert action.device_id is not None
        asked.until = clock.now() + action.seconds
        until = datetime.fromtimestamp(clock.wall(asked.until), UTC)
        if action.verb is Verb.RESERVE:
            await client.reserve(action.device_id, until=until, reason="somebody looks at it")
        else:
            await client.set_device_health(action.device_id, "maintenance", reason="a new cable", until=until)

    def _propose(self, action: Action, meant: str | None, asked: Asked) -> list[JobSpec]:
        """The submissions of the jobs. Their ids are written down first: they may count though nobody hears so."""
        if action.verb is Verb.REPEAT and meant is not None:
            asked.proposed = (meant,)
        else:
            asked.proposed = tuple(new_job_id(plan.org_id) for plan in action.jobs)
        if action.verb is not Verb.EQUAL:  # what is asked of the job later means the first one
            self._ids.update((plan.number, job_id) for plan, job_id in zip(action.jobs, asked.proposed, strict=True))
        return [spec(plan, job_id, action.key) for plan, job_id in zip(action.jobs, asked.proposed, strict=True)]

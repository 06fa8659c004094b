"""The stack on a store of several servers: under a flow of jobs a master dies, and slots move."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from qgjob import AsyncClient, Job, NotFoundError
from qgjob_coordinator.store import keys
from tests.fakes import history
from tests.fakes.flow import Flow
from tests.fakes.program import Program
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.store_audit import audit
from tests.fakes.store_cluster import ClusterStore
from tests.fakes.store_sentinel import NAME, SentinelStore
from tests.fakes.waiting import until

BOUND_SECONDS = 30.0
PAUSE_MS = 15_000
AGENTS = (AgentPlan("sim-1", 3, "emulator", home=0), AgentPlan("sim-2", 3, "emulator", home=1))
ALWAYS = ("--appendonly", "yes", "--appendfsync", "always")


async def met_a_new_life(coordinator: Program) -> None:
    """It looks each second, so another one may serve before it has seen the new master."""
    said = ("store_new_life", "store_went_back")
    await until(lambda: any(map(coordinator.events, said)), coordinator.said)


async def known(client: AsyncClient, job_ids: list[str]) -> list[str]:
    """Those of them that the store knows."""
    found = []
    for job_id in job_ids:
        with suppress(NotFoundError):
            found.append((await client.get(job_id)).job_id)
    return found


def epochs(stack: Stack) -> dict[str, int]:
    with stack.store.client() as raw:
        found = {a: int(raw.hget(f"{keys.FLEET}ag:{a}", "epoch")) for a in stack.agents}
        return found | {"store": int(raw.hget(f"{keys.FLEET}store", "epoch"))}


async def judged(stack: Stack, client: AsyncClient, org: str, job_ids: list[str]) -> list[Job]:
    """The jobs with their verdicts, after a look at what happened to them and at the store."""
    done = list(await client.wait(job_ids, timeout_seconds=60))
    with stack.store.client() as raw:
        assert history.faults({job.job_id: job for job in done}, history.transitions(raw, org)) == []
        assert audit(raw) == []
    return done


async def on(folder: Path, store: SentinelStore | ClusterStore, scenario: Callable[[Stack], object]) -> None:
    stack = Stack(folder, agents=AGENTS, times=PATIENT, store=store)
    try:
        await stack.start()
        await scenario(stack)  # type: ignore[misc]
    finally:
        await stack.stop()


async def test_a_failover_under_load_costs_what_was_not_copied_and_nothing_else(tmp_path: Path) -> None:
    store = SentinelStore(tmp_path / "stores", *ALWAYS)

    async def scenario(stack: Stack) -> None:
        async with stack.client() as client:
            flow = Flow(client, "acme")
            await flow.reach(20)
            before = epochs(stack)
            dead = store.kill_master()
            begun = time.monotonic()
            await flow.reach(20)
            served = time.monotonic() - begun
            assert served < BOUND_SECONDS
            assert store.master is not dead
            for coordinator in stack.coordinators:
                await coordinator.says("store_away")
                await met_a_new_life(coordinator)
            await stack.online(*stack.agents)
            acknowledged = await flow.end()
            kept = await known(client, acknowledged)
            # None goes back or is given again; agents come one after the other.
            await until(
                lambda: all(after > before[name] for name, after in epochs(stack).items()),
                lambda: f"epochs {before} are now {epochs(stack)}",
            )
            lost = [job_id for job_id in acknowledged if job_id not in kept]
            print(f"served after {served:.1f} s; {len(lost)} of {len(acknowledged)} acknowledged jobs are lost")
            # Those that were acknowledged in the instant before the kill, at most.
            assert len(lost) <= 5
            assert lost == [] or acknowledged.index(lost[-1]) - acknowledged.index(lost[0]) < 10
            await judged(stack, client, "acme", kept)

    await on(tmp_path / "stack", store, scenario)


def accepted(sentinel: Redis) -> bool:
    """Whether the Sentinel begins the hand-over; it refuses while it has not heard of a replica for a moment."""
    try:
        sentinel.execute_command("SENTINEL FAILOVER", NAME)
    except ResponseError:
        return False
    return True


async def test_a_hand_over_for_which_writes_were_stopped_loses_nothing(tmp_path: Path) -> None:
    """As docs/operations.md has it."""
    store = SentinelStore(tmp_path / "stores", *ALWAYS)

    async def scenario(stack: Stack) -> None:
        async with stack.client() as client:
            flow = Flow(client, "acme")
            await flow.reach(20)
            old = store.master
            with old.client() as raw, store.sentinels[0].client() as sentinel:
                raw.execute_command("CLIENT PAUSE", PAUSE_MS, "WRITE")
                await until(lambda: copied(raw.info("replication")), "the replicas do not have all that the master has")
                await until(lambda: accepted(sentinel), "no replica is fit for it")
            await until(lambda: store.master is not old, "the master is the old one", seconds=PAUSE_MS / 1000)
            await flow.reach(20)
            await stack.online(*stack.agents)
            acknowledged = await flow.end()
            assert await known(client, acknowledged) == acknowledged
            await judged(stack, client, "acme", acknowledged)

    await on(tmp_path / "stack", store, scenario)


def copied(replication: dict[str, Any]) -> bool:
    return {replication[f"slave{i}"]["offset"] for i in (0, 1)} == {replication["master_repl_offset"]}


async def test_slots_that_move_under_load_cost_no_caller_an_error_and_no_job_an_attempt(tmp_path: Path) -> None:
    store = ClusterStore(tmp_path / "stores", *ALWAYS)

    async def scenario(stack: Stack) -> None:
        async with stack.client() as client:
            flow = Flow(client, "acme")
            await flow.reach(20)
            before = epochs(stack)
            for key in (keys.org("acme"), keys.FLEET, keys.org("acme")):
                target = next(node for node in store.nodes if node is not store.owner(key))
                for _ in store.move(key, target):
                    await asyncio.sleep(0.01)
                await flow.reach(5)
            acknowledged = await flow.end()
            assert flow.refused == []
            assert epochs(stack) == before, "sessions went on, in the same life of the store"
            done = await judged(stack, client, "acme", acknowledged)
            assert {(job.outcome, len(job.attempts)) for job in done} == {("passed", 1)}

    await on(tmp_path / "stack", store, scenario)

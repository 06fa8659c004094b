"""A network that passes nothing, one way or both: that is noticed in time, and soon after its end all is well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from tests.chaos.bounds import BACK, NOTICED
from tests.chaos.links import Link
from tests.fakes.stack import AGENT_KEY, AgentPlan, Stack, Times
from tests.fakes.waiting import until

WAYS = {"both": {"up": True, "down": True}, "up": {"up": True}, "down": {"down": True}}
"""By the agent's name: what of its link is held. What goes up is what the agent says."""
TIMES = Times(heartbeat=1.0, session=3.0, lease=12.0)


@asynccontextmanager
async def linked(folder: Path) -> AsyncIterator[tuple[Stack, dict[str, Link]]]:
    """One coordinator, and an agent with a link of its own for each way."""
    async with AsyncExitStack() as entered:
        links = {name: await entered.enter_async_context(Link()) for name in WAYS}
        leads = {name: {"QGJOB_COORDINATOR": f"127.0.0.1:{link.port}"} for name, link in links.items()}
        plans = [AgentPlan(name, 1, "emulator", settings=dict(leads[name])) for name in WAYS]
        stack = Stack(folder, coordinators=1, agents=plans, times=TIMES)
        try:
            stack.start_store()
            stack.coordinators[0].start(**stack.coordinator_settings())
            await stack.serving(0)
            for plan in plans:
                links[plan.agent_id].to(stack.ports[0])
                stack.agents[plan.agent_id].start(**stack.agent_settings(plan))
            await stack.online(*WAYS)
            yield stack, links
        finally:
            await stack.stop()


async def test_a_partition_is_noticed_within_a_session_timeout_and_a_heartbeat(tmp_path: Path) -> None:
    async with linked(tmp_path) as (stack, links):
        before = {name: session(stack, name) for name in WAYS}
        opened = {name: len(stack.agents[name].events("session_opened")) for name in WAYS}
        begun = time.monotonic()
        for name, link in links.items():
            link.hold(**WAYS[name])
        noticed = await seconds_until(begun, {n: partial(over, stack, n, before[n]) for n in WAYS})
        begun = time.monotonic()
        for link in links.values():
            link.heal()
        back = await seconds_until(begun, {n: partial(more, stack, n, opened[n]) for n in WAYS})
    assert max(noticed.values()) < NOTICED.within(TIMES), noticed
    assert max(back.values()) < BACK.within(TIMES), back


async def seconds_until(begun: float, looks: dict[str, partial[bool]]) -> dict[str, float]:
    """After how long each was so."""

    async def taken(name: str) -> float:
        await until(looks[name], f"{name}: it does not come to that")
        return time.monotonic() - begun

    return dict(zip(looks, await asyncio.gather(*map(taken, looks)), strict=True))


def session(stack: Stack, agent_id: str) -> list[str]:
    """The state and the epoch of the agent's session, as the store has them."""
    with stack.store.client() as redis:
        return [str(value) for value in redis.hmget(f"{AGENT_KEY}{agent_id}", ["state", "epoch"])]


def over(stack: Stack, agent_id: str, before: list[str]) -> bool:
    """Whether the session of before has timed out, or was followed by another one."""
    return session(stack, agent_id) != before


def more(stack: Stack, agent_id: str, opened: int) -> bool:
    """Whether the agent knows of more sessions than so many."""
    return len(stack.agents[agent_id].events("session_opened")) > opened

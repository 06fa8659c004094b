"""Faults of coordinators: killed, stopped, restarted one after the other."""

from __future__ import annotations

import asyncio
import contextlib
import random

from qgjob import JobSpec, QgjobError
from tests.chaos import bounds, clock
from tests.chaos.bounds import Bound
from tests.chaos.faults.base import News, Outcome, recovery
from tests.chaos.history import Recovery
from tests.chaos.lab import Lab
from tests.chaos.schedule import Fault

PROBES = "probes"
"""The org of jobs that are submitted to see whether clients are served."""
TRY_SECONDS = 1.0
WRONG_SECONDS = (-86_400, -3600, -30, 30, 3600, 86_400)


async def coordinator_kill(lab: Lab, fault: Fault) -> Outcome:
    """SIGKILL; it comes back on the same port."""
    i = _index(lab, fault.target)
    coordinator = lab.coordinators[i]
    orphans = await lab.held_by(i)
    async with lab.meant(coordinator.name), lab.away(coordinator.name):
        killed = clock.now()
        coordinator.kill()
        served = asyncio.gather(
            clients_served(lab, killed, coordinator.name),
            _agents_served(lab, {a: mark.begun for a, mark in orphans.items()}, killed, coordinator.name),
        )
        await asyncio.sleep(fault.seconds)
        coordinator.start()
        await coordinator.says("coordinator_ready")
    return Outcome(*await served)


async def coordinator_stop(lab: Lab, fault: Fault) -> Outcome:
    """SIGSTOP for up to two leases, then SIGCONT: what it still wants to write is fenced."""
    i = _index(lab, fault.target)
    coordinator = lab.coordinators[i]
    orphans = await lab.held_by(i)
    async with lab.away(coordinator.name):
        coordinator.pause()
        await asyncio.sleep(fault.seconds)
        news = {agent_id: (await lab.mark(agent_id)).renewed for agent_id in orphans}
        coordinator.resume()
    return Outcome(await _agents_served(lab, news, clock.now(), coordinator.name))


async def coordinator_roll(lab: Lab, fault: Fault) -> Outcome:
    """SIGTERM to each in turn, the next when this one serves again: costs no attempt."""
    recoveries = []
    for coordinator in lab.coordinators:
        async with lab.meant(coordinator.name):
            told = clock.now()
            served = asyncio.create_task(clients_served(lab, told, coordinator.name))
            async with lab.away(f"rolled {coordinator.name}"):
                await coordinator.end()
                coordinator.start()
                await coordinator.says("coordinator_ready")
            recoveries.append(await served)
    return Outcome(*recoveries)


async def coordinator_clock(lab: Lab, fault: Fault) -> Outcome:
    """Its wall clock jumps by seconds or hours, ahead or back, and later jumps right again: costs nothing."""
    i = _index(lab, fault.target)
    coordinator = lab.coordinators[i]
    wrong = random.Random(f"{fault}").choice(WRONG_SECONDS)  # noqa: S311 - one seed is one schedule
    held = await lab.held_by(i)
    jumped = clock.now()
    lab.set_clock(coordinator.name, wrong)
    seen = await clients_served(lab, jumped, coordinator.name)
    await asyncio.sleep(fault.seconds)
    right, news = clock.now(), {agent_id: (await lab.mark(agent_id)).renewed for agent_id in held}
    lab.set_clock(coordinator.name, 0)
    return Outcome(
        seen, await _agents_served(lab, news, right, coordinator.name), note=f"the clock was wrong by {wrong} s"
    )


async def clients_served(lab: Lab, since: float, own: str, bound: Bound = bounds.SERVED) -> Recovery:
    """A client gets a job acknowledged, whichever coordinator it asks first."""
    async with lab.client(timeout_seconds=TRY_SECONDS) as client:

        async def look() -> bool:
            with contextlib.suppress(QgjobError):
                await client.submit(JobSpec(PROBES, "v1", "probe.spec.js", target="emulator", no_dedup=True))
                return True
            return False

        return await recovery(bound, lab, since, _needs(lab, own), look)


async def _agents_served(lab: Lab, news: dict[str, News], since: float, own: str) -> Recovery:
    """Each of the agents has a session, by a record that is news."""
    waiting = dict(news)

    async def look() -> bool:
        sessions = await lab.sessions() or {}
        for agent_id in [a for a, is_news in waiting.items() if is_news(sessions.get(a))]:
            del waiting[agent_id]
        return not waiting

    places = tuple(place for agent_id in news for place in (agent_id, f"link {agent_id}"))
    needs = (*_needs(lab, own), *places)
    return await recovery(bounds.AGENTS_SERVED, lab, since, needs, look)


def _needs(lab: Lab, own: str) -> tuple[str, ...]:
    """All that serving needs but the place whose fault it is."""
    return tuple(place for place in lab.others if place != own)


def _index(lab: Lab, name: str) -> int:
    return [c.name for c in lab.coordinators].index(name)

"""Faults of agents: killed, gone with all that they run, paused, stopped for two leases, told to end, without disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from tests.chaos import bounds, clock
from tests.chaos.faults.base import News, Outcome, recovery
from tests.chaos.history import Recovery
from tests.chaos.lab import Lab
from tests.chaos.schedule import Fault


async def agent_kill(lab: Lab, fault: Fault) -> Outcome:
    """SIGKILL of the daemon, whose supervisors go on; it comes back."""
    agent, before = lab.agents[fault.target], await lab.mark(fault.target)
    async with lab.meant(agent.name), lab.away(agent.name):
        agent.kill()
        await asyncio.sleep(fault.seconds)
        agent.start()
        started = await _at_work(lab, agent.name)
    return Outcome(await _settled(lab, agent.name, started, before.begun))


async def agent_term(lab: Lab, fault: Fault) -> Outcome:
    """SIGTERM with nothing to drain; it comes back."""
    agent, before = lab.agents[fault.target], await lab.mark(fault.target)
    async with lab.meant(agent.name), lab.away(agent.name):
        await agent.end()
        await asyncio.sleep(fault.seconds)
        agent.start()
        started = await _at_work(lab, agent.name)
    return Outcome(await _settled(lab, agent.name, started, before.begun))


async def agent_pause(lab: Lab, fault: Fault) -> Outcome:
    """SIGSTOP for less than tests survive, then SIGCONT."""
    agent = lab.agents[fault.target]
    async with lab.away(agent.name):
        agent.pause()
        await asyncio.sleep(fault.seconds)
        before = await lab.mark(agent.name)
        agent.resume()
    return Outcome(await _settled(lab, agent.name, clock.now(), before.renewed))


async def agent_stop(lab: Lab, fault: Fault) -> Outcome:
    """SIGSTOP for longer than a lease: its tests go on, are killed by their supervisors, and run elsewhere."""
    agent = lab.agents[fault.target]
    held = await lab.leases(agent.name) or {}
    async with lab.away(agent.name):
        stopped = clock.now()
        agent.pause()
        try:
            left = asyncio.create_task(_released(lab, agent.name, set(held), stopped))
            await asyncio.sleep(fault.seconds)
            released = await left
            before = await lab.mark(agent.name)
        finally:
            agent.resume()
    return Outcome(*released, await _settled(lab, agent.name, clock.now(), before.renewed), note=f"held {len(held)}")


async def agent_gone(lab: Lab, fault: Fault) -> Outcome:
    """The whole host: the daemon, its supervisors and their tests. It comes back, much later."""
    agent, before = lab.agents[fault.target], await lab.mark(fault.target)
    held = await lab.leases(agent.name) or {}
    async with lab.meant(agent.name), lab.away(agent.name):
        gone = clock.now()
        await _take_host(lab, agent.name)
        left = asyncio.create_task(_released(lab, agent.name, set(held), gone))
        await asyncio.sleep(fault.seconds)
        released = await left
        agent.start()
        started = await _at_work(lab, agent.name)
    return Outcome(*released, await _settled(lab, agent.name, started, before.begun), note=f"held {len(held)}")


async def agent_reboot(lab: Lab, fault: Fault) -> Outcome:
    """The whole host, which is back before anybody gives up what it held."""
    agent, before = lab.agents[fault.target], await lab.mark(fault.target)
    held = await lab.leases(agent.name) or {}
    async with lab.meant(agent.name), lab.away(agent.name):
        await _take_host(lab, agent.name)
        await asyncio.sleep(fault.seconds)
        agent.start()
        started = await _at_work(lab, agent.name)
    return Outcome(await _settled(lab, agent.name, started, before.begun), note=f"held {len(held)}")


async def _take_host(lab: Lab, agent_id: str) -> None:
    """Ends the daemon, its supervisors and their tests, as if at once: none sees another one's end."""
    lab.agents[agent_id].kill()
    while processes := lab.processes_of_agent(agent_id):
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        await asyncio.sleep(0)


async def _at_work(lab: Lab, agent_id: str) -> float:
    """When the program runs: what a machine takes to load it is not the product's time."""
    await lab.agents[agent_id].says("agent_started")
    return clock.now()


async def _settled(lab: Lab, agent_id: str, since: float, news: News) -> Recovery:
    """It has a session, by a record that is news, and every lease of before is adopted or released."""

    async def look() -> bool:
        sessions, leases = await lab.sessions(), await lab.leases(agent_id)
        session = None if sessions is None else sessions.get(agent_id)
        if session is None or leases is None or not news(session):
            return False
        return all(epoch >= session.epoch for epoch, _ in leases.values())

    return await recovery(bounds.SETTLED, lab, since, lab.others, look)


async def _released(lab: Lab, agent_id: str, held: set[str], since: float) -> list[Recovery]:
    """What it held is no longer its own; none when it was not known to hold anything."""
    if not held:
        return []

    async def look() -> bool:
        leases = await lab.leases(agent_id)
        return leases is not None and not held & leases.keys()

    return [await recovery(bounds.GIVEN, lab, since, lab.others, look)]

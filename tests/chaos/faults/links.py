"""Faults of links: of agents, of clients, and of coordinators to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from tests.chaos import bounds, clock
from tests.chaos.faults.base import News, Outcome, recovery
from tests.chaos.history import MACHINE, Recovery
from tests.chaos.lab import CLIENTS, STORE, Lab
from tests.chaos.links import Link
from tests.chaos.schedule import Fault
from tests.chaos.sessions import Mark

DELAY_SHARE = 0.1
"""Of a session's time, that each piece on a slow link is late."""


async def net_hole(lab: Lab, fault: Fault) -> Outcome:
    """The way out of an agent's network namespace is a black hole, both ways."""
    assert lab.space is not None, "no lab without a network space has this kind"
    return await _parted(lab, fault, lab.space.closed())


async def link_both(lab: Lab, fault: Fault) -> Outcome:
    """An agent's network holds everything, then lets it through."""
    return await _held(lab, fault, up=True, down=True)


async def link_up(lab: Lab, fault: Fault) -> Outcome:
    """What the agent says is held, what it is told arrives."""
    return await _held(lab, fault, up=True)


async def link_down(lab: Lab, fault: Fault) -> Outcome:
    """What the agent is told is held, what it says arrives."""
    return await _held(lab, fault, down=True)


async def _held(lab: Lab, fault: Fault, *, up: bool = False, down: bool = False) -> Outcome:
    return await _parted(lab, fault, _holding(lab.agent_links[fault.target], up=up, down=down))


@contextmanager
def _holding(links: Sequence[Link], *, up: bool, down: bool) -> Iterator[None]:
    for link in links:
        link.hold(up=up, down=down)
    try:
        yield
    finally:
        _heal(links)


async def _parted(lab: Lab, fault: Fault, parting: AbstractContextManager[None]) -> Outcome:
    mark = await lab.mark(fault.target)
    connected = mark.session is not None and mark.session.serves
    began = clock.now()
    noticed = asyncio.create_task(_noticed(lab, fault.target, mark, began, began + fault.seconds))
    async with lab.away(f"link {fault.target}"):
        with parting:
            await asyncio.sleep(fault.seconds)
            before = await lab.mark(fault.target)
    healed = clock.now()
    recoveries = [await _back(lab, fault.target, healed, before.renewed)]
    seen = await noticed
    # A partition that ends before its bound may pass unnoticed, and one that begins without a session can't be seen.
    if seen is not None and connected:
        recoveries.append(seen)
    return Outcome(*recoveries)


async def link_slow(lab: Lab, fault: Fault) -> Outcome:
    """Everything is late by a tenth of a session's time."""
    links = lab.agent_links[fault.target]
    for link in links:
        link.delay(DELAY_SHARE * lab.scale.session)
    await asyncio.sleep(fault.seconds)
    before = await lab.mark(fault.target)
    _heal(links)
    return Outcome(await _back(lab, fault.target, clock.now(), before.renewed))


async def link_cut(lab: Lab, fault: Fault) -> Outcome:
    """Its connections break; new ones can be made at once."""
    before = await lab.mark(fault.target)
    cut = clock.now()
    for link in lab.agent_links[fault.target]:
        link.cut()
    return Outcome(await _back(lab, fault.target, cut, before.begun))


async def link_eats(lab: Lab, fault: Fault) -> Outcome:
    """What the agent is told is lost for a while, and its connections break."""
    links = lab.agent_links[fault.target]
    async with lab.away(f"link {fault.target}"):
        eaten = await _eat(links, fault.seconds)
        before = await lab.mark(fault.target)
    return Outcome(await _back(lab, fault.target, clock.now(), before.renewed), note=f"{eaten} bytes were eaten")


async def store_link_eats(lab: Lab, fault: Fault) -> Outcome:
    """A coordinator's scripts run, and it does not hear their answers."""
    async with lab.store_lock, lab.away(f"store link {fault.target}"):
        eaten = await _eat([_store_link(lab, fault)], fault.seconds)
    return Outcome(note=f"{eaten} bytes were eaten")


async def store_link_both(lab: Lab, fault: Fault) -> Outcome:
    """A coordinator does not reach the store; what it said meanwhile arrives late."""
    link = _store_link(lab, fault)
    async with lab.store_lock, lab.away(f"store link {fault.target}"):
        link.hold(up=True, down=True)
        await asyncio.sleep(fault.seconds)
        link.heal()
    return Outcome()


async def store_link_twice(lab: Lab, fault: Fault) -> Outcome:
    """Each of a coordinator's scripts runs twice."""
    link = _store_link(lab, fault)
    async with lab.store_lock, lab.away(f"store link {fault.target}"):
        link.twice = True
        link.cut()
        await asyncio.sleep(fault.seconds)
        link.heal()
        link.cut()
    return Outcome()


async def client_link_eats(lab: Lab, fault: Fault) -> Outcome:
    """What clients ask has its effect, and they do not hear so; they ask again."""
    async with lab.away(CLIENTS):
        eaten = await _eat(lab.client_links, fault.seconds)
    return Outcome(note=f"{eaten} bytes were eaten")


async def client_link_cut(lab: Lab, fault: Fault) -> Outcome:
    """Their connections break, whatever is under way."""
    del fault
    for link in lab.client_links:
        link.cut()
    return Outcome()


async def _eat(links: Sequence[Link], seconds: float) -> int:
    before = sum(link.down.eaten for link in links)
    for link in links:
        link.eat()
    await asyncio.sleep(seconds)
    _heal(links)
    return sum(link.down.eaten for link in links) - before


def _heal(links: Sequence[Link]) -> None:
    for link in links:
        link.heal()


def _store_link(lab: Lab, fault: Fault) -> Link:
    return lab.store_link[[c.name for c in lab.coordinators].index(fault.target)]


async def _back(lab: Lab, agent_id: str, since: float, news: News) -> Recovery:
    """The agent has a session, by a record that is news: within what it may wait between two tries, and S to notice."""

    async def look() -> bool:
        return news((await lab.sessions() or {}).get(agent_id))

    return await recovery(bounds.BACK, lab, since, lab.others, look)


async def _noticed(lab: Lab, agent_id: str, mark: Mark, since: float, until: float) -> Recovery | None:
    """The session of before is known to be over; None when the partition ended first, and within the bound."""

    async def look() -> bool:
        return clock.now() >= until or mark.ended((await lab.records() or {}).get(agent_id))

    seen = await recovery(bounds.NOTICED, lab, since, _who_notices(lab, mark), look)
    return seen if seen.at is None or seen.at < until or until - since > seen.bound + lab.scale.load_seconds else None


def _who_notices(lab: Lab, mark: Mark) -> tuple[str, ...]:
    """What noticing needs: the coordinator of the session, its way to the store, and no other one's."""
    place = mark.session.place if mark.session is not None else None
    own = () if place is None else (lab.coordinators[place].name, f"store link {lab.coordinators[place].name}")
    return (MACHINE, STORE, *own)

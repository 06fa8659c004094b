"""Holds in the store: one of each kind on a device, and conditions that two callers at once can't both meet."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from qgjob_coordinator.model.enums import HoldKind, HoldSlot
from qgjob_coordinator.model.fleet import Hold
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.holds import Held, HoldRule, HoldWord
from tests.fakes.jobs import NOW
from tests.integration.store.test_sessions import connect

DRAIN = Hold(HoldKind.DRAINING, "lab move")
BROKEN = Hold(HoldKind.BAD, "screen is broken")
DEMO = Hold(HoldKind.RESERVED, "demo", NOW + 2000)
operations = map(str, itertools.count())


@pytest.fixture(autouse=True)
async def _device(store: Store) -> None:
    await connect(store, "agent-1", devices=("d",))


async def tell(
    store: Store, *holds: Hold, end: tuple[HoldSlot, ...] = (), rule: HoldRule = HoldRule.NONE, now: int = NOW
) -> Held:
    words = {h.slot: h for h in holds} | dict.fromkeys(end)
    return await store.fleet.set_holds("dv", "d", words, now, next(operations), rule)


async def reserve(store: Store, hold: Hold = DEMO, now: int = NOW) -> Held:
    return await tell(store, hold, rule=HoldRule.RESERVE, now=now)


async def extend(store: Store, until: int, reason: str | None = None, now: int = NOW) -> Held:
    return await tell(store, Hold(HoldKind.RESERVED, reason, until), rule=HoldRule.EXTEND, now=now)


async def release(store: Store, now: int = NOW) -> Held:
    return await tell(store, end=(HoldSlot.RESERVED,), rule=HoldRule.RELEASE, now=now)


async def resume(store: Store, now: int = NOW) -> Held:
    return await tell(store, end=(HoldSlot.DRAINING, HoldSlot.HEALTH), rule=HoldRule.RESUME, now=now)


async def holds(store: Store) -> set[tuple[str, str | None, int | None]]:
    (row,) = (await store.fleet.read(["agent-1"]))[0].devices
    return {(h.kind, h.reason, h.until) for h in row.holds}


def told(*of: Hold) -> set[tuple[str, str | None, int | None]]:
    return {(h.kind, h.reason, h.until) for h in of}


async def test_a_hold_of_each_kind_and_a_newer_one_replaces_its_kind_only(store: Store) -> None:
    for hold in (DRAIN, BROKEN, DEMO):
        assert (await tell(store, hold)).word is HoldWord.OK
    assert await holds(store) == told(DRAIN, BROKEN, DEMO)
    battery, later = Hold(HoldKind.MAINTENANCE, "battery", NOW + 5), Hold(HoldKind.DRAINING, None, NOW + 9)
    for hold in (battery, later):
        await tell(store, hold)
    assert await holds(store) == told(later, battery, DEMO)


async def test_resume_and_release_end_what_is_theirs(store: Store) -> None:
    for hold in (DRAIN, BROKEN, DEMO):
        await tell(store, hold)
    assert (await resume(store)).word is HoldWord.OK
    assert await holds(store) == told(DEMO)
    assert (await release(store)).word is HoldWord.OK
    assert await holds(store) == set()


async def test_of_two_reservations_at_once_one_is_refused_with_the_other(store: Store) -> None:
    wanted = [Hold(HoldKind.RESERVED, f"person {n}", NOW + 1000 + n) for n in range(8)]
    answers = await asyncio.gather(*(reserve(store, hold) for hold in wanted))
    (winner,) = [hold for hold, answer in zip(wanted, answers, strict=True) if answer.word is HoldWord.OK]
    refused = [answer for answer in answers if answer.word is not HoldWord.OK]
    assert [(a.word, a.reservation) for a in refused] == [(HoldWord.RESERVED, winner)] * 7
    assert await holds(store) == told(winner)
    # Nothing was said to the agent's coordinator of what was refused.
    assert await store.fleet.hold_number() == 1


async def test_of_two_releases_at_once_one_finds_no_reservation(store: Store) -> None:
    await reserve(store)
    answers = await asyncio.gather(release(store), release(store))
    assert sorted(a.word for a in answers) == [HoldWord.FREE, HoldWord.OK]


async def test_a_reservation_that_is_over_is_none(store: Store) -> None:
    await reserve(store)
    assert DEMO.until is not None
    assert (await reserve(store, now=DEMO.until - 1)).word is HoldWord.RESERVED
    assert (await release(store, now=DEMO.until)).word is HoldWord.FREE
    again = Hold(HoldKind.RESERVED, None, DEMO.until + 5)
    assert (await reserve(store, again, now=DEMO.until)).word is HoldWord.OK
    assert await holds(store) == told(again)


async def test_a_reservation_gets_another_end_and_keeps_its_reason(store: Store) -> None:
    await reserve(store)
    for until in (NOW + 90_000, NOW + 10):
        assert (await extend(store, until)).word is HoldWord.OK
        assert await holds(store) == told(Hold(HoldKind.RESERVED, "demo", until))
    await extend(store, NOW + 20, "longer demo")
    assert await holds(store) == told(Hold(HoldKind.RESERVED, "longer demo", NOW + 20))
    unsaid = Hold(HoldKind.RESERVED, None, NOW + 30)
    await tell(store, unsaid)
    await extend(store, NOW + 40)
    assert await holds(store) == told(Hold(HoldKind.RESERVED, None, NOW + 40))


async def test_a_reservation_that_is_over_or_was_ended_is_not_extended(store: Store) -> None:
    assert (await extend(store, NOW + 5, "mine")).word is HoldWord.FREE
    await reserve(store)
    assert DEMO.until is not None
    assert (await extend(store, DEMO.until + 5, now=DEMO.until)).word is HoldWord.FREE
    assert await holds(store) == told(DEMO)
    await release(store)
    assert (await extend(store, NOW + 5)).word is HoldWord.FREE
    assert await holds(store) == set()


async def test_a_device_that_is_only_reserved_is_not_resumed(store: Store) -> None:
    assert (await resume(store)).word is HoldWord.OK  # nothing to end, and nothing in the way
    await reserve(store)
    await tell(store, Hold(HoldKind.DRAINING, None, NOW + 1))
    assert (await resume(store, now=NOW + 1)).word is HoldWord.RESERVED
    assert (await resume(store, now=NOW)).word is HoldWord.OK
    assert await resume(store) == Held(HoldWord.RESERVED, reservation=DEMO)


async def test_a_hold_of_what_is_not_there_is_refused(store: Store) -> None:
    answer = await store.fleet.set_holds("dv", "unknown", {HoldSlot.DRAINING: DRAIN}, NOW, "x")
    assert answer == Held(HoldWord.UNKNOWN)

"""What an agent gives back, while others settle the same attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.service.agents import recalls
from qgjob_coordinator.service.agents.recalls import Recalls
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.agents.slots import Lease
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.types.endings import Release
from tests.fakes.waiting import until

NOTHING = cast(Any, None)


class Leases:
    """A store that takes every release unless it is away; while it writes, something may happen, once."""

    def __init__(self) -> None:
        self.released: list[str] = []
        self.away = False
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def release(self, _org_id: str, rows: Sequence[Release], _now: int) -> tuple[list[str], list[None]]:
        if self.away:
            raise StoreUnavailableError("its slot moves")
        self.released += [row.token for row in rows]
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return ["APPLIED"] * len(rows), [None] * len(rows)


class Scene:
    """A session with two attempts on two devices, and the devices that were touched."""

    def __init__(self) -> None:
        self.session = Session("agent-1", 1, 8, NOTHING, Times(5000, 15000, 60000, 5000, 0, 0))
        for n in (1, 2):
            self.session.take(Lease("acme", f"u{n}", f"t{n}", "g", f"d{n}", 1), 0)
        self.leases = Leases()
        self.touched: list[str] = []
        store, occupants = SimpleNamespace(leases=self.leases), SimpleNamespace(touch=self.touched.append)
        self.recalls = Recalls(self.session, cast(Any, occupants), cast(Any, store), Hub(), NOTHING, faults=OrgFaults())


async def test_an_attempt_that_was_settled_otherwise_is_no_fault() -> None:
    scene = Scene()
    scene.session.drop("t1", 0)
    number = scene.recalls.ask_nothing()
    await scene.recalls.answered(number, ["t1", "t2"])
    assert scene.recalls.answer_came(number)
    assert (scene.leases.released, scene.session.leases, scene.touched) == (["t2"], {}, ["d2"])


async def test_what_is_given_back_while_the_store_writes_is_told_it_too() -> None:
    scene = Scene()
    scene.leases.away = True
    await scene.recalls.answered(scene.recalls.ask_nothing(), ["t1"])
    assert (scene.leases.released, scene.touched) == ([], ["d1"])
    scene.leases.meanwhile = lambda: scene.recalls.answered(scene.recalls.ask_nothing(), ["t2"])
    scene.leases.away = False
    await until(lambda: scene.leases.released == ["t1", "t2"], "the store is not told")
    await scene.recalls.close()


async def test_who_waits_for_the_agent_waits_for_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has said that it begins none of them. And its stream waits for a moment only."""
    scene = Scene()
    monkeypatch.setattr(recalls, "PATIENCE_SECONDS", 0.05)
    hangs = asyncio.Event()
    scene.leases.meanwhile = hangs.wait
    asking = asyncio.create_task(scene.recalls.ask_and_wait(["t1"]))
    await asyncio.sleep(0)
    answering = asyncio.create_task(scene.recalls.answered(1, ["t1"]))
    async with asyncio.timeout(2):
        await asking
        assert not hangs.is_set()
        await answering
    await until(lambda: scene.leases.released == ["t1", "t1"], "the store is not asked again")
    await scene.recalls.close()


async def test_an_attempt_that_is_named_twice_is_released_once() -> None:
    scene = Scene()
    await scene.recalls.answered(scene.recalls.ask_nothing(), ["t1", "t1"])
    assert (scene.leases.released, scene.touched) == (["t1"], ["d1"])
    assert list(scene.session.leases) == ["t2"]

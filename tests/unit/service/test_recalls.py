"""What an agent gives back, while others settle the same attempts."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.recalls import Recalls
from qgjob_coordinator.service.session import Session, Times
from qgjob_coordinator.service.slots import Lease
from qgjob_coordinator.store.types import Release

NOTHING = cast(Any, None)


class Leases:
    """A store that takes every release; while it writes, something happens."""

    def __init__(self, session: Session) -> None:
        self.released: list[str] = []
        self.meanwhile = ""
        """The token whose attempt the session loses."""
        self._session = session

    async def release(self, _org_id: str, rows: Sequence[Release], now: int) -> tuple[list[str], list[None]]:
        self.released += [row.token for row in rows]
        self._session.drop(self.meanwhile, now)
        return ["APPLIED"] * len(rows), [None] * len(rows)


class Scene:
    """A session with two attempts on two devices, and the devices that were touched."""

    def __init__(self) -> None:
        self.session = Session("agent-1", 1, 8, NOTHING, Times(5000, 15000, 60000, 5000, 0, 0))
        for n in (1, 2):
            self.session.take(Lease("acme", f"u{n}", f"t{n}", "g", f"d{n}", 1), 0)
        self.leases = Leases(self.session)
        self.touched: list[str] = []
        store, occupants = SimpleNamespace(leases=self.leases), SimpleNamespace(touch=self.touched.append)
        self.recalls = Recalls(self.session, cast(Any, occupants), cast(Any, store), Hub(), NOTHING)


async def test_an_attempt_that_was_settled_while_the_store_wrote_is_no_fault() -> None:
    scene = Scene()
    scene.leases.meanwhile = "t1"
    number = scene.recalls.ask_nothing()
    await scene.recalls.answered(number, ["t1", "t2"])
    assert scene.recalls.answer_came(number)
    assert (scene.session.leases, scene.touched) == ({}, ["d2"])


async def test_an_attempt_that_is_named_twice_is_released_once() -> None:
    scene = Scene()
    await scene.recalls.answered(scene.recalls.ask_nothing(), ["t1", "t1"])
    assert (scene.leases.released, scene.touched) == (["t1"], ["d1"])
    assert list(scene.session.leases) == ["t2"]

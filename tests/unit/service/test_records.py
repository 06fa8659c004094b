"""What a session plans a device by that comes back while something about holds is on its way."""

from __future__ import annotations

from typing import Any, cast

from qgjob_coordinator.model.enums import HoldKind, Target
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.service.agents.records import Records
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.store.fleet import AgentRow, DeviceRow
from tests.fakes.jobs import NOW

INFO = DeviceInfo("d1", "u1", Target.EMULATOR)
BROKEN = Hold(HoldKind.BAD, "screen is broken")


def rows() -> list[AgentRow]:
    row = DeviceRow(INFO, "a1", True, None, 0, 0, NOW, (BROKEN,), {})
    return [AgentRow("a1", 1, "open", {}, "c1", NOW, NOW, (), 0, (row,))]


class Fleet:
    """A store's fleet whose number of holds moves on with each look."""

    def __init__(self) -> None:
        self.number = 0
        self.fleet = self

    async def hold_number(self) -> int:
        self.number += 1
        return self.number

    async def read(self, _agent_ids: list[str]) -> list[AgentRow]:
        return rows()


def session() -> Session:
    return Session("a1", 1, 100, cast(Any, None), Times(1000, 5000, 60_000, 1000, 60_000, 0))


async def test_a_device_that_comes_back_is_not_planned_by_an_older_look_than_the_others() -> None:
    its, store = session(), Fleet()
    nothing = cast(Any, None)
    records = Records(its, nothing, cast(Any, store), nothing, nothing, lambda _rows: None)
    records.know(3, rows())  # came in while the look below was under way
    known = await records.read_for_new()
    slot = its.show(INFO)
    records.know(*known)
    assert slot.holds == (BROKEN,)
    assert not slot.takes_work(NOW)


def test_a_device_that_comes_back_still_runs_what_the_store_does_not_grant() -> None:
    its = session()
    its.show(INFO)
    its.stray("t1", "d1")
    its.slots.pop("d1")
    slot = its.show(INFO)
    assert slot.strays == {"t1"}
    its.drop("t1", NOW)
    assert not slot.strays

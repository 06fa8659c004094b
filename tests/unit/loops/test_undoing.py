"""Claims that are given back: none is forgotten that came while others were on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.loops.undoing import Undoing
from qgjob_coordinator.service import beside
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.types.endings import Release, ReportWord
from qgjob_coordinator.telemetry import Telemetry
from tests.fakes.waiting import until


@dataclass
class Leases:
    """Takes what is released; the first call answers when it is let, those of `away` never."""

    away: Callable[[int], bool] = lambda _call: False
    calls: int = 0
    released: list[str] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    async def release(self, _org_id: str, rows: Sequence[Release], _now: int) -> tuple[list[ReportWord], list[None]]:
        self.calls += 1
        call, rows = self.calls, list(rows)
        if call == 1:
            await self.first.wait()
        if self.away(call):
            raise StoreUnavailableError("away")
        self.released += [row.token for row in rows]
        return [ReportWord.APPLIED] * len(rows), [None] * len(rows)


def undoing(leases: Leases, telemetry: Telemetry) -> Undoing:
    store: Any = type("StoreOfLeases", (), {"leases": leases})
    return Undoing(store, telemetry, OrgFaults(telemetry))


async def test_what_comes_while_others_are_given_back_is_given_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own try fails, so that it is left to the one that is under way."""
    monkeypatch.setattr(beside, "PAUSE_SECONDS", 0.0)
    leases = Leases(away=lambda call: call == 2)
    it = undoing(leases, Telemetry())
    first = asyncio.create_task(it.give_back("acme", [("u1", "t1")]))
    await until(lambda: leases.calls == 1, "nothing is released")
    await it.give_back("acme", [("u2", "t2")])
    assert it.waits("acme")
    leases.first.set()
    await first
    await until(lambda: {"t1", "t2"} <= set(leases.released), "what came meanwhile is forgotten")
    await until(lambda: not it.waits("acme"), "the org waits for ever")
    await it.close()


async def test_what_can_be_given_back_at_once_is_no_damage_of_the_org() -> None:
    leases, telemetry = Leases(), Telemetry()
    it = undoing(leases, telemetry)
    first = asyncio.create_task(it.give_back("acme", [("u1", "t1")]))
    await until(lambda: leases.calls == 1, "nothing is released")
    await it.give_back("acme", [("u2", "t2")])
    leases.first.set()
    await first
    assert set(leases.released) == {"t1", "t2"}
    assert not telemetry.org_faults
    assert not it.waits("acme")
    await it.close()


async def test_what_fails_when_the_org_was_just_served_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has asked yet whether it still waits."""
    monkeypatch.setattr(beside, "PAUSE_SECONDS", 0.0)
    leases = Leases(away=lambda call: call in (1, 3))
    leases.first.set()
    it = undoing(leases, Telemetry())
    await it.give_back("acme", [("u1", "t1")])
    await until(lambda: leases.released == ["t1"], "it is not tried again")
    await it.give_back("acme", [("u2", "t2")])
    await until(lambda: leases.released == ["t1", "t2"], "it is not tried again")
    await it.close()

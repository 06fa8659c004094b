"""What a coordinator does with the hints of another one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from qgjob_coordinator.loops.hints import Receiver
from qgjob_coordinator.service.hub import Hub


async def test_a_hold_that_was_changed_elsewhere_is_in_force_confirmed_and_then_planned_by() -> None:
    """A device that another coordinator resumed gets work at once, and not with the next timer."""
    done: list[str] = []
    planned = asyncio.Event()
    hub = Hub()

    def woken(*_: object) -> None:
        done.append("work")
        planned.set()

    async def apply_holds(_settled: object) -> None:
        done.append("applied")

    async def confirm_holds(agent_id: str, epoch: int, number: int) -> None:
        done.append(f"confirmed {agent_id} {epoch} {number}")

    async def hold_number() -> int:
        return 7

    async def settled() -> None:
        return

    live = SimpleNamespace(session=SimpleNamespace(epoch=3), apply_holds=apply_holds)
    sessions: Any = SimpleNamespace(get={"agent-1": live}.get)
    store: Any = SimpleNamespace(fleet=SimpleNamespace(hold_number=hold_number, confirm_holds=confirm_holds))
    hub.on_work(woken)
    receiver = Receiver(hub, store, sessions, settled)
    receiver.heard("holds agent-2\nholds agent-1")
    async with asyncio.timeout(5):
        await planned.wait()
    assert done == ["applied", "confirmed agent-1 3 7", "work"]

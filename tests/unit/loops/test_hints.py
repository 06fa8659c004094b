"""What a coordinator does with the hints of another one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qgjob_coordinator.loops.hints import Receiver
from qgjob_coordinator.service.hub import Hub


class Holder:
    """Stands for the sessions of this coordinator: agent-1 is here."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def get(self, agent_id: str) -> Any:
        if agent_id != "agent-1":
            return None
        return SimpleNamespace(records=SimpleNamespace(follow=lambda: self.done.append("follows its holds")))

    def revoke(self, agent_id: str, token: str, reason: str) -> bool:
        self.done.append(f"revokes {token} of {agent_id}: {reason}")
        return True


@pytest.mark.parametrize(
    ("message", "done"),
    [
        ("work acme", ["plans for acme"]),
        ("changed acme", ["looks at acme"]),
        ("revoke agent-1 t7", ["revokes t7 of agent-1: cancelled"]),
        ("holds agent-1", ["follows its holds"]),
        ("holds agent-2", []),
        ("of-a-newer-version x", []),
        ("holds agent-2\nwork acme\nholds agent-1", ["plans for acme", "follows its holds"]),
    ],
)
async def test_each_line_is_done_and_told_to_nobody_else(message: str, done: list[str]) -> None:
    hub, holder = Hub(), Holder()
    sessions: Any = holder
    hub.on_work(lambda org_id, _seen: holder.done.append(f"plans for {org_id}"))
    changed = hub.subscribe("acme")
    Receiver(hub, sessions).heard(message)
    if changed.is_set():
        holder.done.append("looks at acme")
    assert holder.done == done
    assert hub.take_hints() == []

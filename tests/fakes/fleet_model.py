"""What the operations on agents' sessions do, said plainly. See store_model.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qgjob_coordinator.store.types import Opened, OpenWord


@dataclass
class ModelSession:
    """The newest session of an agent."""

    instance_id: str
    epoch: int
    state: str
    coordinator: str
    connected_at: int
    seen_at: int
    counter: int


@dataclass
class FleetModel:
    """The operations of the fleet."""

    sessions: dict[str, ModelSession] = field(default_factory=dict)
    orgs: dict[str, set[str]] = field(default_factory=dict)
    to_sweep: set[tuple[str, int]] = field(default_factory=set)

    def open(self, agent_id: str, instance_id: str, epoch: int, coordinator: str, now: int) -> Opened:
        old = self.sessions.get(agent_id)
        if old is not None:
            same = (old.instance_id, old.epoch, old.coordinator, old.connected_at, old.state)
            if same == (instance_id, epoch, coordinator, now, "open"):
                return Opened(OpenWord.OPENED, epoch, "")  # the same call again
            if old.state in ("open", "detached") and _home(old.instance_id) != _home(instance_id):
                return Opened(OpenWord.IN_USE, old.epoch, old.instance_id)
            if epoch <= old.epoch:
                return Opened(OpenWord.STALE, old.epoch, "")
            self.to_sweep.discard((agent_id, old.epoch))
        counter = (old.counter if old else 0) + 1
        self.sessions[agent_id] = ModelSession(instance_id, epoch, "open", coordinator, now, now, counter)
        return Opened(OpenWord.OPENED, epoch, "")

    def renew(self, agent_id: str, epoch: int, now: int) -> int | None:
        s = self.sessions.get(agent_id)
        if s is None or s.epoch != epoch or s.state == "closed":
            return None
        s.counter += 1
        s.state, s.seen_at = "open", now
        return 0  # the machine sets no holds

    def observe(self, agent_id: str, epoch: int, counter: int, state: str) -> bool:
        s = self.sessions.get(agent_id)
        if s is None or s.epoch != epoch or s.state == "closed" or counter not in (-1, s.counter):
            return False
        s.state = state
        if state == "closed":
            s.counter += 1
            self.to_sweep.add((agent_id, epoch))
        return True

    def admit(self, agent_id: str, epoch: int, orgs: Sequence[str]) -> bool:
        s = self.sessions.get(agent_id)
        if s is None or s.epoch != epoch or s.state != "open":
            return False
        self.orgs.setdefault(agent_id, set()).update(orgs)
        return True

    def swept(self, agent_id: str, epoch: int, orgs: Sequence[str]) -> bool:
        self.to_sweep.discard((agent_id, epoch))
        s = self.sessions.get(agent_id)
        if s is None or s.epoch != epoch or s.state != "closed":
            return False
        self.orgs.setdefault(agent_id, set()).difference_update(orgs)
        return True


def _home(instance_id: str) -> str:
    """What two lives of one agent share."""
    return instance_id.partition(".")[0]

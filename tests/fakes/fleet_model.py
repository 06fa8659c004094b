"""What the operations on the fleet do, said plainly: agents' sessions, orgs with work, lives of the store.

See store_model.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from qgjob_coordinator.model.enums import HoldSlot
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.store.types.holds import ForgetWord, Forgotten, Held, HoldWord
from qgjob_coordinator.store.types.sessions import Opened, OpenWord

ALL = "*"
"""In an agent's set: all orgs, those too that come later."""


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
    life: int | None = None  # of the store, in which it was opened
    back: int = 0  # below which epoch leases came back with that life
    spared: int = 0  # the epoch in which orgs left the agent's set


@dataclass
class FleetModel:
    """The operations of the fleet."""

    sessions: dict[str, ModelSession] = field(default_factory=dict)
    orgs: dict[str, set[str]] = field(default_factory=dict)
    to_sweep: set[tuple[str, int]] = field(default_factory=set)
    forgotten: dict[str, int] = field(default_factory=dict)  # the epoch of each agent that is not back
    active: set[str] = field(default_factory=set)
    registry: set[str] = field(default_factory=set)
    devices: dict[str, str] = field(default_factory=dict)  # whose each device is
    holds: int = 0  # words of operators, counted
    holds_seen: dict[str, int] = field(default_factory=dict)  # up to which one an agent's coordinator plans by them
    run_id: str | None = None
    epoch: int = 0
    epoch_before: int = 0

    def open(self, agent_id: str, instance_id: str, epoch: int, coordinator: str, now: int) -> Opened:
        old = self.sessions.get(agent_id)
        stored = max(old.epoch if old else 0, self.forgotten.get(agent_id, 0))
        if old is not None:
            same = (old.instance_id, old.epoch, old.coordinator, old.connected_at, old.state)
            if same == (instance_id, epoch, coordinator, now, "open"):
                return Opened(OpenWord.OPENED, epoch, "", old.back)  # the same call again
            other = old.instance_id and _home(old.instance_id) != _home(instance_id)
            if old.state in ("open", "detached") and other:
                return Opened(OpenWord.IN_USE, stored, old.instance_id)
        if epoch <= stored:
            return Opened(OpenWord.STALE, stored, "")
        if old is not None:
            self.to_sweep.discard((agent_id, old.epoch))
        elif epoch > 1:  # the fleet forgot its sessions, which may have leases in any org
            self.orgs.setdefault(agent_id, set()).add(ALL)
        self.forgotten.pop(agent_id, None)
        counter = (old.counter if old else 0) + 1
        back = 0
        if old is not None and old.instance_id == instance_id and old.life is not None:
            back = old.back if old.life == self.epoch else epoch
        opened = ModelSession(instance_id, epoch, "open", coordinator, now, now, counter, self.epoch, back)
        self.sessions[agent_id] = opened
        return Opened(OpenWord.OPENED, epoch, "", back)

    def renew(self, agent_id: str, epoch: int, now: int) -> int | None:
        s = self._current(agent_id, epoch)
        if s is None or s.state == "closed":
            return None
        s.counter += 1
        s.state, s.seen_at = "open", now
        return self.holds

    def observe(self, agent_id: str, epoch: int, counter: int, state: str) -> bool:
        s = self._current(agent_id, epoch)
        if s is None or s.state == "closed" or counter not in (-1, s.counter):
            return False
        s.state = state
        if state == "closed":
            s.counter += 1
            self.to_sweep.add((agent_id, epoch))
        return True

    def overtaken(self, agent_id: str, epoch: int) -> bool:
        """An org has leases of a session that is unknown: from now on it is one that has timed out."""
        s = self.sessions.get(agent_id)
        if s is not None and s.epoch >= epoch:
            return False
        if s is None:
            s = self.sessions[agent_id] = ModelSession("", epoch, "timed_out", "", 0, 0, 0)
        s.epoch, s.state = epoch, "timed_out"
        s.counter += 1
        self.orgs.setdefault(agent_id, set()).add(ALL)
        return True

    def orgs_of(self, agent_id: str) -> set[str]:
        """Where the agent may have leases."""
        held = self.orgs.get(agent_id, set())
        return held - {ALL} | (self.registry if ALL in held else set())

    def admit(self, agent_id: str, epoch: int, orgs: Sequence[str]) -> bool:
        s = self._current(agent_id, epoch)
        if s is None or s.state != "open":
            return False
        self.orgs.setdefault(agent_id, set()).update(orgs)
        return True

    def spare(self, agent_id: str, epoch: int, store_epoch: int, orgs: Sequence[str]) -> bool:
        s = self._current(agent_id, epoch)
        if store_epoch != self.epoch or s is None:
            return False
        if s.spared != epoch:
            s.spared = epoch
            self.orgs.setdefault(agent_id, set()).difference_update(orgs, {ALL})
        return True

    def swept(self, agent_id: str, epoch: int, store_epoch: int, orgs: Sequence[str]) -> bool:
        if store_epoch != self.epoch:
            return False
        self.to_sweep.discard((agent_id, epoch))
        s = self._current(agent_id, epoch)
        if s is None or s.state != "closed":
            return False
        self.orgs.setdefault(agent_id, set()).difference_update(orgs, {ALL})
        return True

    def forget(self, agent_id: str, _now: int, heard_before: int | None) -> Forgotten:
        """An agent that holds nothing anywhere; what operators said of its devices keeps none here."""
        s = self.sessions.get(agent_id)
        if s is None:
            return Forgotten(ForgetWord.UNKNOWN)
        if s.state != "closed":
            return Forgotten(ForgetWord.OPEN)
        if (agent_id, s.epoch) in self.to_sweep or self.orgs.get(agent_id):
            return Forgotten(ForgetWord.LEASES)
        if heard_before is not None and s.seen_at >= heard_before:
            return Forgotten(ForgetWord.HEARD)
        devices = tuple(sorted(d for d, owner in self.devices.items() if owner == agent_id))
        for device_id in devices:
            del self.devices[device_id]
        self.forgotten[agent_id] = self.sessions.pop(agent_id).epoch
        self.holds_seen.pop(agent_id, None)
        return Forgotten(ForgetWord.OK, devices)

    def inventory(
        self,
        agent_id: str,
        epoch: int,
        changed: Sequence[DeviceInfo],
        _gone: Sequence[str],
        _now: int,
        *,
        complete: bool,
    ) -> bool:
        """Of devices that no other agent has, and that stay."""
        assert complete
        s = self._current(agent_id, epoch)
        if s is None or s.state == "closed":
            return False
        self.devices |= {d.device_id: agent_id for d in changed}
        return True

    def set_holds(self, _kind: str, id_: str, _holds: Mapping[HoldSlot, Hold | None], _now: int, _op: str) -> Held:
        """A word on a device."""
        if id_ not in self.devices:
            return Held(HoldWord.UNKNOWN)
        self.holds += 1
        return Held(HoldWord.OK, self.holds, self.devices[id_])

    def confirm_holds(self, agent_id: str, epoch: int, number: int) -> None:
        if self._current(agent_id, epoch) is not None:
            self.holds_seen[agent_id] = number

    def mark(self, kind: str, org_id: str) -> None:
        """`act`: the org may have work; `orgs`: it exists."""
        (self.active if kind == "act" else self.registry).add(org_id)

    def mark_active(self, org_id: str) -> None:
        self.active.add(org_id)
        self.registry.add(org_id)

    def mark_idle(self, org_ids: Sequence[str]) -> None:
        self.active.difference_update(org_ids)

    def hello(self, run_id: str, known_epoch: int, epoch_given: int) -> tuple[int, int]:
        """Epoch and the one before; `epoch_given` is what the store made of its clock, should the life be new."""
        if run_id != self.run_id and not 0 < known_epoch < self.epoch:
            assert epoch_given > self.epoch
            self.run_id, self.epoch_before, self.epoch = run_id, self.epoch, epoch_given
            for agent_id, s in self.sessions.items():
                self.orgs.setdefault(agent_id, set()).add(ALL)
                if s.state == "closed":
                    self.to_sweep.add((agent_id, s.epoch))
        return self.epoch, self.epoch_before

    def _current(self, agent_id: str, epoch: int) -> ModelSession | None:
        s = self.sessions.get(agent_id)
        return s if s is not None and s.epoch == epoch else None


def _home(instance_id: str) -> str:
    """What two lives of one agent share."""
    return instance_id.partition(".")[0]

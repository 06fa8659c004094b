"""Which node of a Cluster has a key. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.address import Host
from qgjob_coordinator.store.exchange import Command, Reply

_SCRIPTS = ("EVALSHA", "EVAL")
_KEY_OF_SCRIPT, _KEY = 3, 1


@lru_cache(maxsize=8192)
def slot_of(key: str) -> int:
    """The slot of a key, which its hash tag decides."""
    return key_slot(key.encode())


def slot_of_command(command: Command) -> int:
    """The slot of the first key of a script or a plain command; all its keys share one."""
    return slot_of(command[_KEY_OF_SCRIPT if command[0] in _SCRIPTS else _KEY])


@dataclass(frozen=True)
class SlotMap:
    """Who has which slots, as one node told it. `moved` are slots of which another node told better since."""

    starts: Sequence[int]
    ends: Sequence[int]
    hosts: Sequence[Host]
    moved: Mapping[int, Host] = field(default_factory=dict)

    def host(self, slot: int) -> Host | None:
        """The master of a slot; None while no one has it."""
        if slot in self.moved:
            return self.moved[slot]
        at = bisect_right(self.starts, slot) - 1
        return self.hosts[at] if at >= 0 and slot <= self.ends[at] else None

    def with_moved(self, slot: int, host: Host) -> SlotMap:
        """The map that knows of one more move."""
        return SlotMap(self.starts, self.ends, self.hosts, {**self.moved, slot: host})

    def masters(self) -> list[Host]:
        """All nodes that have a slot, in order."""
        return sorted({*self.hosts, *self.moved.values()})

    def probe_key(self, host: Host) -> str:
        """A key on that node, for which `masters` must name it."""
        return next(key for key in map(keys.probe, count()) if self.host(slot_of(key)) == host)


def decode(reply: Reply, asked: Host) -> SlotMap:
    """The reply to CLUSTER SLOTS of the node at `asked`, which is what an empty address in it stands for."""
    rows = sorted((int(row[0]), int(row[1]), (str(row[2][0] or asked[0]), int(row[2][1]))) for row in reply)
    return SlotMap([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


def covered(slots: SlotMap) -> bool:
    """Whether every slot has a master."""
    reached = 0
    for start, end in zip(slots.starts, slots.ends, strict=True):
        if start > reached:
            return False
        reached = max(reached, end + 1)
    return reached >= REDIS_CLUSTER_HASH_SLOTS

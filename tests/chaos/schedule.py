"""Which fault comes when. Pure: one seed is one schedule.

A schedule has lanes that run beside each other: one for each agent, one for the coordinators, one for the store, one
for the links between them, one for watchers, one for devices. In a lane one fault ends before the next one begins, so
that a target never has two at once and one coordinator of several is always left; between lanes they meet as they like.
A lane takes its kinds from a shuffled bag, which is filled anew when it is empty: even a short run has every kind.

What a silent agent held is given up by whoever has watched it all along, so faults of stores and coordinators would
forgive nearly every lateness of that. Each third agent that is silent for so long meets none: its fault begins when
those are over, and they wait until what it held has to be free.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tests.chaos.scale import Scale


class Kind(StrEnum):
    """What is done. The functions of the same names are in `faults`."""

    AGENT_KILL = "agent_kill"
    AGENT_GONE = "agent_gone"
    AGENT_REBOOT = "agent_reboot"
    AGENT_PAUSE = "agent_pause"
    AGENT_STOP = "agent_stop"
    AGENT_TERM = "agent_term"
    LINK_BOTH = "link_both"
    LINK_UP = "link_up"
    LINK_DOWN = "link_down"
    LINK_SLOW = "link_slow"
    LINK_CUT = "link_cut"
    LINK_EATS = "link_eats"
    NET_HOLE = "net_hole"
    COORDINATOR_KILL = "coordinator_kill"
    COORDINATOR_STOP = "coordinator_stop"
    COORDINATOR_ROLL = "coordinator_roll"
    COORDINATOR_CLOCK = "coordinator_clock"
    STORE_STOP = "store_stop"
    STORE_STOP_LONG = "store_stop_long"
    STORE_KILL = "store_kill"
    STORE_CUT = "store_cut"
    STORE_FULL = "store_full"
    STORE_DISK = "store_disk"
    STORE_FAILOVER = "store_failover"
    STORE_WAKES_UP = "store_wakes_up"
    STORE_SWITCH = "store_switch"
    STORE_SLOTS = "store_slots"
    STORE_NODE_KILL = "store_node_kill"
    STORE_NODE_STOP = "store_node_stop"
    STORE_LINK_EATS = "store_link_eats"
    STORE_LINK_BOTH = "store_link_both"
    STORE_LINK_TWICE = "store_link_twice"
    CLIENT_LINK_EATS = "client_link_eats"
    CLIENT_LINK_CUT = "client_link_cut"
    SPOOL_FULL = "spool_full"
    SLOW_WATCHER = "slow_watcher"
    DEVICE_BREAKS = "device_breaks"


class Form(StrEnum):
    """What the store is made of; see stores.py."""

    ONE = "one"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True)
class Fault:
    """`at`: seconds after the schedule's begin; `seconds`: how long it lasts; `target`: the place."""

    number: int
    kind: Kind
    at: float
    seconds: float
    target: str
    lane: str = ""

    def __str__(self) -> str:
        return f"#{self.number} {self.kind} of {self.target} at {self.at:.1f} s for {self.seconds:.1f} s"


@dataclass(frozen=True)
class Lane:
    """Faults of one place, one after the other. `rest`: seconds between two, least and most.

    Lanes that name the same `bag` have the same kinds, and share them out.
    """

    name: str
    bag: str
    targets: tuple[str, ...]
    kinds: tuple[Kind, ...]
    rest: tuple[float, float]


OF_STORE = {
    Form.ONE: (
        *(Kind.STORE_STOP, Kind.STORE_STOP_LONG, Kind.STORE_KILL),
        *(Kind.STORE_CUT, Kind.STORE_FULL, Kind.STORE_DISK),
    ),
    Form.SENTINEL: (Kind.STORE_FAILOVER, Kind.STORE_WAKES_UP, Kind.STORE_SWITCH),
    Form.CLUSTER: (Kind.STORE_SLOTS, Kind.STORE_NODE_KILL, Kind.STORE_SLOTS, Kind.STORE_NODE_STOP),
}
"""The kinds of a store, by what it is made of."""


SILENT = (Kind.AGENT_GONE, Kind.AGENT_STOP)
"""After these others get what the agent held."""
WATCHED_EACH = 3
"""One of so many of them is left alone by faults of what watches it."""
WATCHERS = ("store", "store links", "coordinators")
"""The lanes of what a silent agent is watched by."""


def lengths(kind: Kind, scale: Scale) -> tuple[float, float]:
    """Least and most seconds of a kind of fault."""
    s, a = scale.session, scale.lease
    short = (0.4 * s, 0.8 * scale.patience)
    return {
        Kind.AGENT_KILL: (0.0, 0.7 * s),
        Kind.AGENT_GONE: (1.1 * a + s, 1.3 * a + s),
        Kind.AGENT_REBOOT: (0.0, 0.7 * s),
        Kind.AGENT_PAUSE: (0.5 * s, 0.8 * scale.patience),
        Kind.AGENT_STOP: (1.5 * a, 2.0 * a),
        Kind.AGENT_TERM: (0.0, 0.7 * s),
        Kind.LINK_BOTH: (0.5 * s, 1.5 * a),
        Kind.LINK_UP: (0.5 * s, 1.5 * a),
        Kind.LINK_DOWN: (0.5 * s, 1.5 * a),
        Kind.NET_HOLE: (0.5 * s, 1.5 * a),
        Kind.LINK_SLOW: (s, 2 * s),
        Kind.LINK_CUT: (0.0, 0.0),
        Kind.LINK_EATS: (0.1 * s, 0.4 * s),
        Kind.COORDINATOR_KILL: (0.3 * s, 1.5 * s),
        Kind.COORDINATOR_STOP: (0.5 * s, 2.0 * a),
        Kind.COORDINATOR_ROLL: (0.0, 0.0),
        Kind.COORDINATOR_CLOCK: (s, 3 * s),
        Kind.STORE_STOP: short,
        Kind.STORE_STOP_LONG: (1.05 * a, 1.2 * a),
        Kind.STORE_KILL: (0.0, 0.6 * s),
        Kind.STORE_CUT: (0.3 * s, 0.6 * s),
        Kind.STORE_FULL: short,
        Kind.STORE_DISK: short,
        Kind.STORE_FAILOVER: (s, 2 * s),
        Kind.STORE_WAKES_UP: (s, 2 * s),
        Kind.STORE_SWITCH: (0.0, 0.0),
        Kind.STORE_SLOTS: (0.0, 0.0),
        Kind.STORE_NODE_KILL: (0.0, 0.6 * s),
        Kind.STORE_NODE_STOP: short,
        Kind.STORE_LINK_EATS: (0.1 * s, 0.4 * s),
        Kind.STORE_LINK_BOTH: (0.5 * s, scale.patience),
        Kind.STORE_LINK_TWICE: (s, 3 * s),
        Kind.CLIENT_LINK_EATS: (0.1 * s, 0.4 * s),
        Kind.CLIENT_LINK_CUT: (0.0, 0.0),
        Kind.SPOOL_FULL: (s, 2 * s),
        Kind.SLOW_WATCHER: (2 * s, 4 * s),
        Kind.DEVICE_BREAKS: (5 * s, 9 * s),
    }[kind]


def lanes(
    coordinators: Sequence[str],
    agents: Sequence[str],
    devices: Sequence[str],
    spaced: str,
    left_out: Sequence[Kind],
    scale: Scale,
    form: Form = Form.ONE,
    rests: float = 1.0,
) -> list[Lane]:
    """The lanes of a lab. `devices`: those that can break; `spaced`: the agent with a network of its own; `left_out`:
    what this machine can't have; `rests`: a factor of the pauses in each lane.

    `form`: what the store is made of decides over its kinds; only one server has links that can be made bad.
    """
    r = rests * scale.session
    of_agent = (
        *(Kind.AGENT_KILL, Kind.AGENT_GONE, Kind.AGENT_REBOOT, Kind.AGENT_PAUSE, Kind.AGENT_STOP, Kind.AGENT_TERM),
        Kind.SPOOL_FULL,
        *(Kind.LINK_BOTH, Kind.LINK_UP, Kind.LINK_DOWN, Kind.LINK_SLOW, Kind.LINK_CUT, Kind.LINK_EATS),
    )
    of_coordinator = (
        *(Kind.COORDINATOR_KILL, Kind.COORDINATOR_STOP),
        *(Kind.COORDINATOR_ROLL, Kind.COORDINATOR_CLOCK),
    )
    of_store_links = (Kind.STORE_LINK_EATS, Kind.STORE_LINK_BOTH, Kind.STORE_LINK_TWICE) if form is Form.ONE else ()
    of_clients = (Kind.CLIENT_LINK_EATS, Kind.CLIENT_LINK_CUT)
    found = [
        *(Lane(f"agent {a}", "agents", (a,), of_agent, (2.5 * r, 7 * r)) for a in agents if a != spaced),
        Lane(f"agent {spaced}", "spaced", (spaced,), (Kind.NET_HOLE, *of_agent, Kind.NET_HOLE), (2.5 * r, 7 * r)),
        Lane("coordinators", "coordinators", tuple(coordinators), of_coordinator, (2.5 * r, 6.5 * r)),
        Lane("store", "store", ("store",), OF_STORE[form], (3.5 * r, 8 * r)),
        Lane("store links", "store links", tuple(coordinators), of_store_links, (3 * r, 7 * r)),
        Lane("clients", "clients", ("clients",), of_clients, (3 * r, 7 * r)),
        Lane("devices", "devices", tuple(devices), (Kind.DEVICE_BREAKS,), (3 * r, 8 * r)),
        Lane("watchers", "watchers", tuple(coordinators), (Kind.SLOW_WATCHER,), (5 * r, 12 * r)),
    ]
    kept = [replace(lane, kinds=tuple(k for k in lane.kinds if k not in left_out)) for lane in found]
    return [lane for lane in kept if lane.kinds]


def schedule(seed: int, seconds: float, lanes_: Sequence[Lane], scale: Scale) -> list[Fault]:
    """All faults of a run, by time. None begins, nor lasts, beyond `seconds`."""
    rng = random.Random(f"{seed} schedule")  # noqa: S311 - no secret
    quiet = _Quiet(scale)
    bags: dict[str, list[Kind]] = defaultdict(list)
    due = [(rng.uniform(0.0, lane.rest[1]), n) for n, lane in enumerate(lanes_)]
    heapq.heapify(due)
    found: list[Fault] = []
    put_off: dict[int, Kind] = {}
    while due:
        at, n = heapq.heappop(due)
        lane = lanes_[n]
        if lane.name in WATCHERS and at < quiet.until:
            heapq.heappush(due, (quiet.until + rng.uniform(0.0, lane.rest[0]), n))
            continue
        kind = put_off.pop(n, None)
        if kind is None:
            bag = bags[lane.bag]
            if not bag:
                bag += rng.sample(lane.kinds, len(lane.kinds))
            kind = bag.pop()
            if kind in SILENT and (begin := quiet.begin(at)) > at:
                put_off[n] = kind
                heapq.heappush(due, (begin, n))
                continue
        length = rng.uniform(*lengths(kind, scale))
        if at + length <= seconds:
            found.append(Fault(len(found) + 1, kind, at, length, rng.choice(lane.targets), lane.name))
            quiet.met(found[-1])
            heapq.heappush(due, (at + length + rng.uniform(*lane.rest), n))
    return found


@dataclass
class _Quiet:
    """`until`: so long what watches agents has no new fault; `over`: when all have recovered from those that it had."""

    scale: Scale
    until: float = 0.0
    over: float = 0.0
    silent: int = 0

    def begin(self, at: float) -> float:
        """When the next silence, which is due at `at`, begins; one that is to be left alone keeps the others off."""
        self.silent += 1
        if self.silent % WATCHED_EACH:
            return at
        begin = max(at, self.over)
        self.until = max(self.until, begin + watched_seconds(self.scale))
        return begin

    def met(self, fault: Fault) -> None:
        """A fault was placed; S after it all have found together again, and S is for what it takes itself."""
        if fault.lane in WATCHERS:
            self.over = max(self.over, fault.at + fault.seconds + 2 * self.scale.session)


def watched_seconds(scale: Scale) -> float:
    """So long a silent agent is watched until it is late that others have not got what it held."""
    return scale.lease + scale.session + scale.load_seconds

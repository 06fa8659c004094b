"""How long what recovers from a fault may take. Pure.

One text is what people read and what is computed: docs/reliability has these rows, and a test holds the two equal. The
lab judges by them, and so do the tests that cause one of these faults in a stack.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.chaos.scale import Scale
from tests.chaos.schedule import Kind
from tests.fakes.stack import GRACE_SECONDS, Times
from tests.fakes.waiting import BUSY_SECONDS

MOST_MIB = 50.0
"""What watchers that read nothing may cost a coordinator, at any time."""
_TERM = re.compile(r"(?:(?P<times>[\d.]+) )?(?P<unit>S|A|heartbeat|grace|s of work|s)")


@dataclass(frozen=True)
class Bound:
    """`what` is so within `text` after faults of the kinds `after`, or after what clients ask.

    `text` is a sum of S, A, `heartbeat` and `10 s`, which are scaled as all times of the product are, and of `grace`
    and `2 s of work`, which are not: ending a process tree takes what it takes.
    """

    after: tuple[str, ...]
    what: str
    text: str

    def seconds(self, scale: Scale) -> float:
        """Raises ValueError for a text that is no such sum."""
        return self._sum(scale.times, scale.factor)

    def within(self, times: Times) -> float:
        """Seconds that a stack of the tests with these times may take on a busy machine.

        Its programs have the product's own constants, so what is bound by one of them (`10 s`) is not scaled.
        """
        return self._sum(times, 1.0) + BUSY_SECONDS

    def _sum(self, times: Times, factor: float) -> float:
        return sum(_term(term, times, factor) for term in self.text.split(" + "))


def _term(term: str, times: Times, factor: float) -> float:
    match = _TERM.fullmatch(term)
    if match is None:
        raise ValueError(f"a bound is a sum of S, A, heartbeat, grace, `10 s` and `2 s of work`, and not of {term!r}")
    units = {
        "S": times.session,
        "A": times.lease,
        "heartbeat": times.heartbeat,
        "grace": GRACE_SECONDS,
        "s": factor,
        "s of work": 1.0,
    }
    return float(match["times"] or 1) * units[match["unit"]]


_AGENT = (
    *(Kind.AGENT_KILL, Kind.AGENT_TERM, Kind.AGENT_GONE),
    *(Kind.AGENT_REBOOT, Kind.AGENT_STOP, Kind.AGENT_PAUSE),
)
_PARTED = (Kind.LINK_BOTH, Kind.LINK_UP, Kind.LINK_DOWN, Kind.NET_HOLE)

SETTLED = Bound(_AGENT, "its jobs are adopted or released", "S")
GIVEN = Bound((Kind.AGENT_GONE, Kind.AGENT_STOP), "what it held is free for others", "A + S")
ROOM = Bound((Kind.SPOOL_FULL,), "it has a session", "S")
SERVED = Bound((Kind.COORDINATOR_KILL, Kind.COORDINATOR_ROLL, Kind.COORDINATOR_CLOCK), "clients are served", "S")
AGENTS_SERVED = Bound(
    (Kind.COORDINATOR_KILL, Kind.COORDINATOR_STOP, Kind.COORDINATOR_CLOCK), "its agents are served", "S"
)
NOTICED = Bound(_PARTED, "the partition is noticed", "S + heartbeat")
BACK = Bound((*_PARTED, Kind.LINK_SLOW, Kind.LINK_CUT, Kind.LINK_EATS), "its agent has a session", "2 S")
TOLD = Bound(_PARTED, "what ended meanwhile is told", "2 S")
RESUMED = Bound(
    (*(Kind.STORE_STOP, Kind.STORE_STOP_LONG, Kind.STORE_FULL), *(Kind.STORE_SLOTS, Kind.STORE_NODE_STOP)),
    "clients are served",
    "5 s",
)
LOADED = Bound(
    (
        *(Kind.STORE_KILL, Kind.STORE_CUT, Kind.STORE_DISK, Kind.STORE_NODE_KILL),
        *(Kind.STORE_FAILOVER, Kind.STORE_WAKES_UP, Kind.STORE_SWITCH),
    ),
    "clients are served",
    "10 s",
)
CANCELLED = Bound(("cancel",), "the tree of a cancelled job is dead", "grace + 2 s of work + heartbeat")
CANCELLED_99 = Bound(("cancel",), "99 of 100 such trees are dead", "grace + 2 s of work")

TAKEN_OUT = Bound((Kind.DEVICE_BREAKS,), "enough has failed on the device, it is quarantined", "S")
READMITTED = Bound((Kind.DEVICE_BREAKS,), "its quarantine over, the device is in service", "S")
GETS_NOTHING = Bound((Kind.DEVICE_BREAKS,), "quarantined, the device gets no job", "heartbeat")

SUPERSEDED = Bound(("supersede",), "the older run has nothing unfinished", "S")
BOND_ENDED = Bound(("bond",), "the bond's time over, its run has nothing unfinished", "S")
HELD = Bound(("reserve", "maintain"), "the device begins no test", "2 heartbeat")
DEADLINE = Bound(("deadline",), "the job is given to no device", "S")

BOUNDS = (
    *(SETTLED, GIVEN, ROOM, SERVED, AGENTS_SERVED, NOTICED, BACK, TOLD),
    *(RESUMED, LOADED, TAKEN_OUT, READMITTED, GETS_NOTHING, CANCELLED, CANCELLED_99),
    *(SUPERSEDED, BOND_ENDED, HELD, DEADLINE),
)


def bound_of(after: str, what: str) -> Bound | None:
    """The row for it; None where there is none."""
    return next((bound for bound in BOUNDS if bound.what == what and after in bound.after), None)

"""Sessions of agents: how they are opened, what they show, what a reaper watches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum


class ShownWord(StrEnum):
    """What a new session is told of an attempt that it shows."""

    ADOPTED = "ADOPTED"
    REVOKED = "REVOKED"
    GONE = "GONE"


class OpenWord(StrEnum):
    """Whether a session was opened."""

    OPENED = "OPENED"
    STALE = "STALE"
    IN_USE = "IN_USE"
    DEVICE = "DEVICE"


@dataclass(frozen=True, slots=True)
class Opened:
    """Answer to an attempt to open a session; `other` names who stands in the way.

    Leases of sessions below `came_back_below` that the agent does not show came back with an older state of the store:
    it had a session before this life of the store and was not restarted since, so it knows that they are over.
    """

    word: OpenWord
    stored_epoch: int
    other: str
    came_back_below: int = 0


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What a reaper watches of one session. `seen_at` (ms) is when its agent was heard last, inf if nobody knows."""

    agent_id: str
    epoch: int
    counter: int
    state: str
    seen_at: float = field(default=math.inf, compare=False)

"""What words of people on devices and agents are answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qgjob_coordinator.model.fleet import Hold


class HoldRule(StrEnum):
    """On what condition holds are set or ended."""

    NONE = ""
    RESERVE = "reserve"
    """No reservation is in force."""
    EXTEND = "extend"
    """One is, of which the reason stays where none is given."""
    RELEASE = "release"
    """One is."""
    RESUME = "resume"
    """A reservation is not all that is in force."""


class HoldWord(StrEnum):
    """What became of a word on a device or an agent."""

    OK = "OK"
    UNKNOWN = "UNKNOWN"
    RESERVED = "RESERVED"
    FREE = "FREE"


@dataclass(frozen=True, slots=True)
class Held:
    """The answer to an operator's word. OK: the sequence number of the holds, and the agent that it concerns.

    RESERVED (a reservation is in the way, which is `reservation`), FREE (there is none to end) and UNKNOWN (no such
    device or agent) changed nothing.
    """

    word: HoldWord
    number: int = 0
    agent_id: str = ""
    reservation: Hold | None = None


class ForgetWord(StrEnum):
    """What became of the wish to forget an agent; all but OK changed nothing."""

    OK = "OK"
    UNKNOWN = "UNKNOWN"
    OPEN = "OPEN"
    """Its session is not closed."""
    LEASES = "LEASES"
    """Its session is closed, and its leases are still to be released."""
    HEARD = "HEARD"
    """It was heard too lately."""
    HELD = "HELD"
    """A hold of it, or of a device of it, is in force."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The answer to the wish to forget an agent, with its devices."""

    word: ForgetWord
    devices: tuple[str, ...] = ()

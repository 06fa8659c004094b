"""What `supervision` tells the parent to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Start:
    """A new process, to be known as `life`."""

    life: int
    place: int


@dataclass(frozen=True, slots=True)
class Terminate:
    """It is to end in order."""

    life: int


@dataclass(frozen=True, slots=True)
class ShowStack:
    """It is to write down what it does."""

    life: int


@dataclass(frozen=True, slots=True)
class Kill:
    """It is to end at once."""

    life: int


@dataclass(frozen=True, slots=True)
class Say:
    """A line of the log; that of a life names its place and process."""

    level: Level
    event: str
    life: int | None = None
    fields: tuple[tuple[str, object], ...] = ()
    place: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """Nothing is left: the parent ends."""

    exit_code: int


Instruction = Start | Terminate | ShowStack | Kill | Say | End

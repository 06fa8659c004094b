"""What the policy proposes. Whoever commits may refuse it: a proposal may be stale, never wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from qgjob_coordinator.policy.snapshot import Asked


class Assignment(NamedTuple):
    """A batch for one device. `serving_seen` is how many devices served the group when a cold device joins it.

    The jobs have `scores` and take `seconds` each, and `install` before them, where the device has to install first.
    `asks` is empty where any device of the target would do. `app_version_id` is that of the group.
    """

    device_id: str
    agent_id: str
    org_id: str
    gid: str
    ulids: tuple[str, ...]
    serving_seen: int | None
    seconds: tuple[float, ...] = ()
    install: float = 0.0
    scores: tuple[int, ...] = ()
    asks: tuple[Asked, ...] = ()
    app_version_id: str = ""


@dataclass(frozen=True, slots=True)
class Recall:
    """A device is to give back what it has not begun, since something better waits."""

    device_id: str
    agent_id: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Assignments in the order in which they are to be committed."""

    assignments: tuple[Assignment, ...]

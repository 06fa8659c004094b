"""What a diagnosis says: one finding of each check, or several where a check looks at several things."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is, from the best to the worst."""

    OK = "ok"
    NOTE = "note"  # nothing has to be done
    WARNING = "warning"  # it works, and somebody should do something about it
    PROBLEM = "problem"  # calls fail, work stands still, or what was promised is not kept


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `check` is a stable word, as in `store.eviction`; `advice` is what to do, None: nothing.

    `subject` names the agent, device, org or server that it is about, where it is about one.
    """

    check: str
    level: Level
    found: str
    advice: str | None = None
    subject: str | None = None


_ORDER = tuple(Level)


def worst(levels: Iterable[Level]) -> Level:
    """The worst of them; OK of none."""
    return max(levels, key=_ORDER.index, default=Level.OK)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings of one coordinator at a time (ms), in the order of the checks. `store_epoch` 0: it has no store."""

    coordinator: str
    version: str
    store_epoch: int
    timestamp: int
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """That of the worst finding."""
        return worst(f.level for f in self.findings)

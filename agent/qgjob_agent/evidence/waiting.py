"""Evidence that waits to be sent, in its order: of each org the oldest first, and orgs in turn. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from qgjob_agent.evidence.shelf import Evidence


@dataclass(slots=True)
class _OfOrg:
    """One org's. `failures`: calls in a row that sent nothing of it; none of it is tried before `due`."""

    waiting: dict[Path, Evidence] = field(default_factory=dict)
    failures: int = 0
    due: float = 0.0


def org_of(evidence: Evidence) -> str:
    """Whose job it is of."""
    return evidence.whose.job_id.partition("~")[0]


class Waiting:
    """Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._orgs: dict[str, _OfOrg] = {}
        self.size_bytes = 0

    def __len__(self) -> int:
        return sum(len(each.waiting) for each in self._orgs.values())

    def __iter__(self) -> Iterator[Evidence]:
        """All of it, one org's after another's."""
        return (each for org in self._orgs.values() for each in org.waiting.values())

    @property
    def due(self) -> float | None:
        """When something may be tried; None where nothing waits."""
        return min((each.due for each in self._orgs.values()), default=None)

    def ready(self, now: float) -> Iterator[Evidence]:
        """What may be tried now: the first of each org, then the second of each, and so on."""
        rows = deque(iter(each.waiting.values()) for each in self._orgs.values() if each.due <= now)
        while rows:
            row = rows.popleft()
            if (each := next(row, None)) is not None:
                yield each
                rows.append(row)

    def add(self, evidence: Evidence) -> None:
        """It waits behind all others of its org, also where it waited before."""
        org = self._orgs.setdefault(org_of(evidence), _OfOrg())
        if (before := org.waiting.pop(evidence.path, None)) is not None:
            self.size_bytes -= before.size_bytes
        org.waiting[evidence.path] = evidence
        self.size_bytes += evidence.size_bytes

    def remove(self, evidence: Evidence) -> None:
        """It does not wait any more."""
        name = org_of(evidence)
        org = self._orgs.get(name)
        if org is not None and (before := org.waiting.pop(evidence.path, None)) is not None:
            self.size_bytes -= before.size_bytes
            if not org.waiting:
                del self._orgs[name]

    def took(self, batch: Iterable[Evidence]) -> None:
        """These were tried: others' turn comes before theirs."""
        for name in dict.fromkeys(map(org_of, batch)):
            if (org := self._orgs.pop(name, None)) is not None:
                self._orgs[name] = org

    def well(self, name: str) -> None:
        """Something of an org was sent."""
        if (org := self._orgs.get(name)) is not None:
            org.failures, org.due = 0, 0.0

    def hold_back(self, name: str, now: float, pause_after: Callable[[int], float]) -> None:
        """An org's can't be sent now: none of it is tried for a while, by how often that was so in a row."""
        if (org := self._orgs.get(name)) is not None:
            org.failures += 1
            org.due = now + pause_after(org.failures)

    @property
    def held_back(self) -> bool:
        """Whether an org's waits that could not be sent when it was tried last."""
        return any(each.failures for each in self._orgs.values())

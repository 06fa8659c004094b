"""All that is known of durations, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from bench.scheduling.learning import observe, observe_typical
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.estimates.estimate import Estimate
from qgjob_coordinator.policy.estimates.typical import Typical, known_whole, typical_seconds

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass
class Durations:
    """What the store keeps, learned as its scripts learn it."""

    _tests: dict[tuple[str, str, Target], Estimate] = field(default_factory=dict)
    _groups: dict[tuple[str, str], Typical] = field(default_factory=dict)
    _orgs: dict[str, Typical] = field(default_factory=dict)
    _fleet: Typical | None = None

    def observe(self, org_id: str, gid: str, test_path: str, target: Target, seconds: float) -> None:
        """A test ran for so long. What can't be a duration is passed over."""
        test = (org_id, test_path, target)
        _keep(self._tests, test, observe(self._tests.get(test), seconds, known_whole(self.wholes(org_id, gid))))
        _keep(self._groups, (org_id, gid), observe_typical(self._groups.get((org_id, gid)), seconds))
        _keep(self._orgs, org_id, observe_typical(self._orgs.get(org_id), seconds))
        self._fleet = observe_typical(self._fleet, seconds)

    def estimate(self, org_id: str, test_path: str, target: Target) -> Estimate | None:
        """What is known of a test itself."""
        return self._tests.get((org_id, test_path, target))

    def of_test(self, org_id: str, test_path: str, target: Target) -> float | None:
        """What a test is expected to take by its own history (s)."""
        known = self._tests.get((org_id, test_path, target))
        return None if known is None else known.mean

    def typical(self, org_id: str, gid: str) -> float:
        """What a test of a group is expected to take of which nothing is known (s)."""
        return typical_seconds(self.wholes(org_id, gid), self._fleet)

    def wholes(self, org_id: str, gid: str) -> tuple[Typical | None, Typical | None]:
        """What is known of a group and of its org."""
        return self._groups.get((org_id, gid)), self._orgs.get(org_id)

    def forget_group(self, org_id: str, gid: str) -> None:
        """The group has no jobs any more."""
        self._groups.pop((org_id, gid), None)


def _keep(kept: dict[_K, _V], key: _K, value: _V | None) -> None:
    if value is not None:
        kept[key] = value

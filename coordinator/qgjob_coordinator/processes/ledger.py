"""What all processes of a parent have counted, those that ended too.

Every answer goes through here, and what was heard of a life is kept when it ends: so no counter ever goes back, whoever
is asked. What a killed process counted after its last beat is missing, and was in no answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from qgjob_coordinator.processes import counts
from qgjob_coordinator.telemetry import Telemetry


class Ledger:
    """By life."""

    def __init__(self) -> None:
        self._ended = Telemetry()
        self._last: dict[int, Telemetry] = {}
        self._times: dict[int, int] = {}

    def heard(self, life: int, said: counts.Json) -> None:
        """A process said what it has counted so far. Raises what `counts.load` does, and then keeps what it had."""
        self._last[life] = counts.load(said)
        self._times[life] = self._times.get(life, 0) + 1

    def times(self, life: int) -> int:
        """How often it said so."""
        return self._times.get(life, 0)

    def retire(self, life: int) -> None:
        """A process has ended. Its counts stay; how late its loop was and how long its plans took says nothing now."""
        said = self._last.pop(life, None)
        self._times.pop(life, None)
        if said is not None:
            counts.add(self._ended, said)
            self._ended.loop_lag_seconds = 0.0
            self._ended.recent_plan_ms.clear()

    def total(self, ends: Mapping[str, int], states: Mapping[str, int], lag_seconds: float) -> Telemetry:
        """The sum, and what the parent knows itself: how processes ended, their states, the longest silence."""
        total = Telemetry()
        counts.add(total, self._ended)
        for said in self._last.values():
            counts.add(total, said)
        total.process_ends.update(ends)
        total.processes = states
        total.loop_lag_seconds = max(total.loop_lag_seconds, lag_seconds)
        return total

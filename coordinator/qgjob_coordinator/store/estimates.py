"""Estimates as the store keeps them, and those of the whole fleet. What they mean is said in policy/estimates.

Texts: an `Estimate` is `mean spread count`, where the mean carries a `!` when the test's last run failed, and is 0
while no run of it was measured; a `Typical` is `log count`. A queue shows a job's mean, with the mark, beside its ulid.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.estimates.estimate import Estimate
from qgjob_coordinator.policy.estimates.typical import Typical
from qgjob_coordinator.store import codec, keys, names
from qgjob_coordinator.store.scripts import ScriptRunner

FAILED_MARK = "!"
TESTS = "*"
"""The fleet's field for typical durations of tests; the others are target letters, for installations."""


@lru_cache(maxsize=4096)
def seconds(known: str) -> float | None:
    """What a queue shows of a job's expected duration; None when only its last outcome is known, or nothing."""
    ms = known.rstrip(FAILED_MARK)
    return int(ms) / 1000 if ms and ms != "0" else None


def estimate(text: str) -> Estimate | None:
    """An estimate from its text; None for one that was never measured."""
    mean, spread, count = text.split(" ")
    return Estimate(int(mean.rstrip(FAILED_MARK)), int(spread), int(count)) if count != "0" else None


@lru_cache(maxsize=4096)
def typical(text: str) -> Typical | None:
    """A typical duration from its text; None for an empty one."""
    if not text:
        return None
    log, count = text.split(" ")
    return Typical(int(log), int(count))


class FleetEstimates:
    """What is known of the fleet as a whole, as it was read last: it changes slowly, and plans are made often."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner
        self.typical: Typical | None = None
        """The typical duration of a test."""
        self.install_seconds: Mapping[Target, float] = {}
        """What an installation on a device of a target takes; without those of which nothing is known."""

    async def read(self) -> None:
        """Reads what all coordinators have learned by now. Raises StoreUnavailableError."""
        fields = codec.pairs(await self._runner.run("learned", keys.FLEET, []))
        self.typical = typical(fields.pop(TESTS, ""))
        known = {names.LETTER_TARGET[letter]: estimate(text) for letter, text in fields.items()}
        self.install_seconds = {target: e.mean for target, e in known.items() if e is not None}

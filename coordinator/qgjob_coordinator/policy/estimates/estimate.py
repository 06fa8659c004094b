"""What one thing takes that is measured again and again, a test or an installation: a mean and a spread."""

from __future__ import annotations

from dataclasses import dataclass

_MS = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean and mean absolute deviation (ms) of `count` measurements, the newest weighing most.

    Of one measurement the deviation is half of it. Where it is not, that measurement is in doubt: it stands in place of
    the deviation, and the mean is as much of it as is believed.
    """

    mean_ms: int
    deviation_ms: int
    count: int

    @property
    def mean(self) -> float:
        """In seconds."""
        return self.mean_ms / _MS

    @property
    def deviation(self) -> float:
        """In seconds."""
        return self.deviation_ms / _MS

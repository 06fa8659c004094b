"""How much of a flow is done by when: a curve that is straight between its points."""

from __future__ import annotations

from bisect import bisect_left


class Served:
    """Work done (s) by times (s), in order; so far `amount` is, by `until`."""

    __slots__ = ("_amounts", "_rates", "_times", "amount", "until")

    def __init__(self) -> None:
        self.amount = self.until = 0.0
        self._times = [0.0]
        self._amounts = [0.0]
        self._rates = [0]  # how many devices drained up to each of the times

    def add(self, until: float, done: float, devices: int) -> None:
        """So much more was done by then, by so many devices."""
        self.until = until
        self.amount += done
        self._times.append(until)
        self._amounts.append(self.amount)
        self._rates.append(devices)

    @property
    def begun(self) -> bool:
        """Whether any device drained."""
        return any(self._rates)

    def begins(self) -> float:
        """When the first device began."""
        return next((t for t, rate in zip(self._times, self._rates[1:], strict=False) if rate), self.until)

    def ends(self) -> float:
        """Since when no more was done."""
        return self._times[bisect_left(self._amounts, self.amount)]

    def when(self, amount: float) -> tuple[float, int] | None:
        """When so much was done, and by how many devices then, 0 where that is nothing; None: never."""
        i = bisect_left(self._amounts, amount)
        if i == len(self._amounts):
            return None
        if i == 0:
            return self._times[0], 0
        share = (amount - self._amounts[i - 1]) / (self._amounts[i] - self._amounts[i - 1])
        return self._times[i - 1] + share * (self._times[i] - self._times[i - 1]), self._rates[i]

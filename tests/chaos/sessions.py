"""What the store says of an agent's session, and whether that is news: a record of before a fault proves nothing. Pure.

The epoch moves with each Connect, the counter with each heartbeat too. A store that goes back takes both back, so that
records are comparable only between two such faults.
"""

from __future__ import annotations

from dataclasses import dataclass

OPEN = "open"


@dataclass(frozen=True)
class Session:
    """`place`: index of its coordinator, None when that does not live. `cuts`: how often the store went back.

    `seen`: when that was said, by the wall clock (s since 1970).
    """

    state: str
    place: int | None
    epoch: int
    counter: int
    cuts: int = 0
    seen: float = 0.0

    @property
    def serves(self) -> bool:
        """Whether it is open, at a coordinator that lives."""
        return self.state == OPEN and self.place is not None


@dataclass
class Mark:
    """What the store had of an agent's session when the fault was there; None: it was away, or did not know the agent.

    Epochs the agent makes, and a store that goes back changes nothing of that: a higher one is always news. By counters
    a record can be compared only with one of the same life of the store; the first that can be is the mark then: better
    too late a mark than news that are none.
    """

    session: Session | None

    def renewed(self, now: Session | None) -> bool:
        """Whether the session serves and was opened, or had a heartbeat, after the mark."""
        return now is not None and now.serves and (self._later(now) or now.counter > self._comparable(now).counter)

    def begun(self, now: Session | None) -> bool:
        """Whether a session serves that was opened after the mark."""
        return now is not None and now.serves and self._later(now)

    def ended(self, now: Session | None) -> bool:
        """Whether the session of the mark is known to be over: closed, timed out, left, or followed by another one."""
        return now is not None and (self._later(now) or now.state != OPEN)

    def _later(self, now: Session) -> bool:
        self.session = self.session or now
        return now.epoch > self.session.epoch

    def _comparable(self, now: Session) -> Session:
        if self.session is None or self.session.cuts != now.cuts:
            self.session = now
        return self.session

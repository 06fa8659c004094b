"""What agents did lately at this coordinator's door: which came, how often, and which were turned away.

Known to this process alone, and for people who look for what is wrong: nothing is decided by it.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from qgjob_coordinator.policy.diagnosis.agents import FLAP_SECONDS, FLAPS
from qgjob_coordinator.policy.diagnosis.facts import Refusal
from qgjob_coordinator.service.agents.messages import Refused, RefusedReason

MOST_AGENTS = 2_000
MOST_REFUSED = 100
"""Who is turned away may be anybody, under any name."""
REFUSED_SECONDS = 600
_NORMAL = (RefusedReason.STALE_EPOCH, RefusedReason.GOING_AWAY)
"""After these an agent comes again by itself, at once."""


class Attendance:
    """Sessions that were opened and Hellos that were refused, within the last minutes. Times in ms."""

    def __init__(self) -> None:
        self._opened: OrderedDict[str, deque[int]] = OrderedDict()
        self._refused: OrderedDict[str, Refusal] = OrderedDict()

    def came(self, agent_id: str, now: int) -> None:
        """An agent opened a session."""
        self._refused.pop(agent_id, None)
        times = self._opened.setdefault(agent_id, deque(maxlen=10 * FLAPS))
        times.append(now)
        self._opened.move_to_end(agent_id)
        if len(self._opened) > MOST_AGENTS:
            self._opened.popitem(last=False)

    def turned_away(self, agent_id: str, refused: Refused, now: int) -> None:
        """A Hello was refused. What the agent mends by itself is not noted."""
        if refused.reason in _NORMAL:
            return
        self._refused[agent_id] = Refusal(agent_id, refused.message, now)
        self._refused.move_to_end(agent_id)
        if len(self._refused) > MOST_REFUSED:
            self._refused.popitem(last=False)

    def opened(self, now: int) -> dict[str, int]:
        """How many sessions each agent opened within FLAP_SECONDS."""
        since = now - FLAP_SECONDS * 1000
        counts = {agent_id: sum(at >= since for at in times) for agent_id, times in self._opened.items()}
        return {agent_id: n for agent_id, n in counts.items() if n}

    def refusals(self, now: int) -> list[Refusal]:
        """The latest of each agent that was turned away within REFUSED_SECONDS and has not come since."""
        since = now - REFUSED_SECONDS * 1000
        return [r for r in self._refused.values() if r.at >= since]

"""What a script did to jobs without a report of their attempts' outcome: a line of text each, as the scripts tell it.

A line is "ulid status-and-target outcome attempt lease-end agent device not_before"; "-" stands for nothing.
"""

from __future__ import annotations

from qgjob_coordinator.model.enums import Outcome
from qgjob_coordinator.store.codec import LETTER_STATUS
from qgjob_coordinator.store.names import LETTER_TARGET
from qgjob_coordinator.store.types.endings import LeaseEnd, Settled


def parse(line: str) -> Settled:
    """One line."""
    ulid, letters, outcome, attempt, end, agent, device, not_before = line.split(" ")
    return Settled(
        ulid=ulid,
        status=LETTER_STATUS[letters[0]],
        target=LETTER_TARGET[letters[1]],
        outcome=None if outcome == "-" else Outcome(outcome),
        attempt=int(attempt),
        lease=LeaseEnd(end),
        agent_id=None if agent == "-" else agent,
        device_id=None if device == "-" else device,
        not_before=None if not_before == "-" else int(not_before),
    )

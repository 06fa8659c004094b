"""The lines of the event stream."""

from __future__ import annotations

from dataclasses import dataclass

from qgjob_coordinator.model.enums import Outcome, Status


@dataclass(frozen=True, slots=True)
class Transition:
    """One line of the event stream."""

    ulid: str
    version: int
    status: Status
    attempt: int
    outcome: Outcome | None
    device_id: str | None
    agent_id: str | None

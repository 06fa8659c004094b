"""The event stream of an org: what watchers read."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Outcome
from qgjob_coordinator.store import keys
from qgjob_coordinator.store.codec import LETTER_STATUS
from qgjob_coordinator.store.commands import Commands
from qgjob_coordinator.store.types.transitions import Transition

START = "0-0"
KEPT = 1000
"""Entries of a stream are trimmed above this number (EVENTS_KEPT in lua/lib/org.lua)."""


def place_of(id_: str) -> tuple[int, int]:
    """An event id as something that sorts."""
    left, _, right = id_.partition("-")
    return int(left), int(right)


def _parse(line: str) -> Transition:
    ulid, version, letter, attempt, outcome, device, agent = line.split(" ")
    return Transition(
        ulid=ulid,
        version=int(version),
        status=LETTER_STATUS[letter],
        attempt=int(attempt),
        outcome=None if outcome == "-" else Outcome(outcome),
        device_id=None if device == "-" else device,
        agent_id=None if agent == "-" else agent,
    )


class EventStore:
    """Reads of event streams. All raise StoreUnavailableError."""

    def __init__(self, call: Commands) -> None:
        self._call = call

    async def last_id(self, org_id: str) -> str:
        """Id of the newest event, START when there is none."""
        entries = await self._call("XREVRANGE", _key(org_id), "+", "-", "COUNT", 1)
        return str(entries[0][0]) if entries else START

    async def first_id(self, org_id: str) -> str:
        """Id of the oldest event that is kept, START when there is none."""
        entries = await self._call("XRANGE", _key(org_id), "-", "+", "COUNT", 1)
        return str(entries[0][0]) if entries else START

    async def after(self, org_id: str, event_id: str, limit: int = 50) -> list[tuple[str, list[Transition]]]:
        """Up to `limit` entries after `event_id`; each has an id and the transitions of one script."""
        entries = await self._call("XRANGE", _key(org_id), f"({event_id}", "+", "COUNT", limit)
        return [(str(id_), [_parse(line) for line in fields["e"].split("\n")]) for id_, fields in entries]

    async def trimmed(self, org_id: str, event_id: str) -> bool:
        """Whether entries after `event_id` may be gone: older ones than it are not kept any more."""
        if event_id == START:  # the stream was empty; whether its first entry is still there, only its length tells
            return int(await self._call("XLEN", _key(org_id))) >= KEPT
        return place_of(event_id) < place_of(await self.first_id(org_id))


def _key(org_id: str) -> str:
    return f"{keys.org(org_id)}ev"

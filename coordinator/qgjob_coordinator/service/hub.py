"""Wake-ups: within this process at once, to other coordinators as a hint that may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from qgjob_coordinator.store.snapshots import OrgSnapshot


async def _at_once() -> None:
    pass


def _nobody(org_id: str) -> None:
    del org_id


class Hub:
    """Who waits for what. Nothing here is state: what is missed is found by the next timer."""

    def __init__(self) -> None:
        self._work_listeners: list[Callable[[str, OrgSnapshot | None], None]] = []
        self.heads_wanted: Callable[[], int | None] = lambda: None
        """Set by the scheduler: how many heads it would look at, were there work now; None while it is busy."""
        self.settled: Callable[[], Awaitable[None]] = _at_once
        """Set by the scheduler: returns when the round that is under way, if any, has made its claims."""
        self.runs_to_cancel: Callable[[str], None] = _nobody
        """Called with an org that has, or by a write may have, marks of runs to cancel; at each look while it has."""
        self.overflow_due: Callable[[str], None] = _nobody
        """Set by the loop that judges overflows: called with an org that has some to be judged; at each look while it
        has."""
        self.builds_due: Callable[[str], None] = _nobody
        """Set by the loop that ends what has no build: called with an org that has builds and unfinished jobs; at each
        look while it has."""
        self._changed: dict[str, set[asyncio.Event]] = {}
        self._hints: set[str] = set()
        self.hints_due = asyncio.Event()

    def on_work(self, listener: Callable[[str, OrgSnapshot | None], None]) -> None:
        """`listener(org_id, seen)` is called when an org may have work, or (with "") when a device may be free.

        `seen` is a snapshot of the org just taken, or None.
        """
        self._work_listeners.append(listener)

    def work(self, org_id: str, *, local: bool = True, seen: OrgSnapshot | None = None) -> None:
        """The org may have work for a device."""
        for listener in self._work_listeners:
            listener(org_id, seen)
        if local and org_id:
            self.hint(f"work {org_id}")

    def changed(self, org_id: str, *, local: bool = True) -> None:
        """Jobs of the org changed: watchers look again."""
        for event in self._changed.get(org_id, ()):
            event.set()
        if local:
            self.hint(f"changed {org_id}")

    def subscribe(self, org_id: str) -> asyncio.Event:
        """An event that is set whenever the org's jobs change; give it back with `unsubscribe`."""
        event = asyncio.Event()
        self._changed.setdefault(org_id, set()).add(event)
        return event

    def unsubscribe(self, org_id: str, event: asyncio.Event) -> None:
        """Ends a subscription."""
        events = self._changed.get(org_id)
        if events is not None:
            events.discard(event)
            if not events:
                del self._changed[org_id]

    def hint(self, message: str) -> None:
        """Tells the other coordinators, together with what else there is to tell."""
        self._hints.add(message)
        self.hints_due.set()

    def take_hints(self) -> list[str]:
        """What is to be told, once."""
        hints, self._hints = sorted(self._hints), set()
        self.hints_due.clear()
        return hints

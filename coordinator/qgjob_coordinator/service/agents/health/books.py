"""What a session knows of the health of its devices: each record, with what of it stands in the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.health.record import (
    Build,
    Kind,
    Mark,
    Record,
    bounded,
    failed,
    started,
    succeeded,
)
from qgjob_coordinator.policy.health.rules import is_suspect
from qgjob_coordinator.service.agents.slots import Slot
from qgjob_coordinator.service.fleet import hold_of
from qgjob_coordinator.store.fleet import DeviceRow
from qgjob_coordinator.store.health import Kept


@dataclass(slots=True)
class Page:
    """One device: what is stored, what came since, and what is being written."""

    stored: Kept
    record: Record
    sent: Kept | None = None
    outdated: bool = False
    """Something else stands in the store than was thought."""
    failed_at: dict[Build, int] = field(default_factory=dict)
    """When the first installation of a build failed (ms), for builds with a failure that is remembered."""

    @property
    def lasting(self) -> Record:
        """What is written of it. Questions beyond the first ones stand here alone until they were asked, in a second.

        Every look at the fleet reads what is written.
        """
        return bounded(self.record)

    @property
    def dirty(self) -> bool:
        """Something is to be written."""
        return self.lasting != self.stored.record

    def sent_is(self, there: Kept) -> bool:
        """What stands in the store is what is being written; its confirmation is on the way."""
        return self.sent is not None and there == Kept(self.sent.version + 1, self.sent.record)


class EndedBy(StrEnum):
    """Who ended a quarantine that this session did not end, in words."""

    HAND = "by hand"
    PROBE = "a probe of another session found it well"
    UNKNOWN = "by hand, or a probe of another session found it well"
    """More was written meanwhile. The coordinator of the other session tells which it was."""


def _who_ended(before: Kept, there: Kept) -> EndedBy:
    """A probe leaves the count of quarantines in a row, an operator's word leaves nothing; later successes may too."""
    if there.record.in_a_row:
        return EndedBy.PROBE
    return EndedBy.HAND if there.version == before.version + 1 else EndedBy.UNKNOWN


class HealthBooks:
    """By device. `clean` names those of which nothing but a failure would change anything."""

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self._slots = slots
        self._pages: dict[str, Page] = {}
        self.clean: set[str] = set()

    def know(self, rows: Iterable[DeviceRow]) -> dict[str, EndedBy]:
        """Takes over what the store has, where that is newer; who ended a quarantine that stood here, by device."""
        ended = {}
        for row in rows:
            device_id, there = row.info.device_id, row.kept
            page = self._pages.get(device_id)
            if page is None:
                self._pages[device_id] = Page(there, there.record)
            elif page.outdated or (there.version > page.stored.version and not page.sent_is(there)):
                if page.stored.record.quarantine and not there.record.quarantine:
                    ended[device_id] = _who_ended(page.stored, there)
                self._pages[device_id] = Page(there, there.record, failed_at=page.failed_at)
            self.show(device_id)
        return ended

    def page(self, device_id: str) -> Page | None:
        """Of a device of this session, as far as it is known."""
        return self._pages.get(device_id)

    def notable(self) -> dict[str, Page]:
        """Those of which there is something to remember, to write, or still to prove."""
        return {d: page for d, page in self._pages.items() if d not in self.clean}

    def note(self, device_id: str, what: Mark | Kind | Target, now: int) -> None:
        """A failure, or a success of a kind, at a time (ms); a target: something ran on the host that has it."""
        if isinstance(what, Target):
            for other_id, other in self._pages.items():
                slot = self._slots.get(other_id)
                if slot is None or slot.info.target is what:
                    other.record = started(other.record)
            return
        page = self._pages.get(device_id)
        if page is None:
            return
        page.record = failed(page.record, what) if isinstance(what, Mark) else succeeded(page.record, what)
        if isinstance(what, Mark) and what.kind is Kind.INSTALL:
            remembered = {m.build for m in page.record.marks if m.kind is Kind.INSTALL}
            page.failed_at = {build: at for build, at in page.failed_at.items() if build in remembered}
            page.failed_at.setdefault(what.build, now)

    def sending(self) -> dict[str, Kept]:
        """What is to be written, each with the version that it replaces; the same again while it is not confirmed."""
        rows = {}
        for device_id, page in self._pages.items():
            if page.sent is None and page.dirty:
                page.sent = Kept(page.stored.version, page.lasting)
            if page.sent is not None:
                rows[device_id] = page.sent
        return rows

    def written(self, device_id: str) -> tuple[Record, Record] | None:
        """What was sent stands in the store: before and after. None where something newer is known."""
        page = self._pages[device_id]
        sent, before = page.sent, page.stored
        page.sent = None
        if sent is None or before.version != sent.version:
            return None
        page.stored = Kept(sent.version + 1, sent.record)
        self.show(device_id)
        return before.record, sent.record

    def outdate(self, device_id: str) -> None:
        """Something else stands in the store than was thought: what stands there is to be made known."""
        page = self._pages[device_id]
        page.sent, page.outdated = None, True

    def drop_outdated(self) -> None:
        """What stands in the store was made known: it has no more of those that still are outdated."""
        self._drop([d for d, page in self._pages.items() if page.outdated])

    def prune(self, expected: Set[str]) -> None:
        """Drops devices that are shown no more, but for those of which more is `expected`, or is to be written."""
        gone = self._pages.keys() - self._slots.keys() - expected
        self._drop([d for d in gone if not self._pages[d].dirty and self._pages[d].sent is None])

    def _drop(self, device_ids: Iterable[str]) -> None:
        for device_id in device_ids:
            del self._pages[device_id]
            self.clean.discard(device_id)

    def __len__(self) -> int:
        return len(self._pages)

    def builds(self) -> set[Build]:
        """Those of which a failure is remembered."""
        return {m.build for page in self.notable().values() for m in page.record.marks}

    def show(self, device_id: str) -> None:
        """Has the device's slot say what is known; a quarantine holds when it is stored."""
        page = self._pages[device_id]
        if page.record.clean and page.record.proven and not page.dirty:
            self.clean.add(device_id)
        else:
            self.clean.discard(device_id)
        slot = self._slots.get(device_id)
        if slot is not None:
            slot.quarantine = hold_of(page.stored.record.quarantine)
            slot.suspect = is_suspect(page.record)

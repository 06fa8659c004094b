"""What is kept of a device: its last failures, how far it has made up for them, and the quarantine that it is in.

All functions here give a new record. Times are in ms since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

Build = tuple[str, str]
"""Org, and the id of the group: an app version for a target."""


class Kind(StrEnum):
    """What failed."""

    INSTALL = "i"
    DEVICE = "d"
    """An attempt, by an error of device or provider."""
    TEST = "t"
    HOST = "h"
    """An attempt that could not be started, whichever the device of its host. It stands beside that of the DEVICE."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A failure, which a job met at a time. `left` (0 to 1) is what later successes have left of it.

    `at` of an installation is when it was begun.
    `sure` is False while it is not known whether another device can do the job.
    """

    kind: Kind
    build: Build
    ulid: str
    at: int
    left: float = 1.0
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The device gets no work. At `until` it is probed; it comes back when a probe finds it well."""

    since: int
    until: int
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """`in_a_row` counts the quarantines that it has not made up for, `good` its successes since the last step of that.

    `proven`: it has once passed a test, installed an app, or been found well by a probe.
    """

    marks: tuple[Mark, ...] = ()
    in_a_row: int = 0
    good: int = 0
    quarantine: Quarantine | None = None
    proven: bool = False

    @property
    def clean(self) -> bool:
        """Nothing is to be remembered but that it is proven."""
        return not (self.marks or self.in_a_row or self.quarantine)


CLEAN = Record()

WINDOW_MS = 3_600_000
"""A failure of so long ago says nothing any more."""

MARKS_MOST = 32
"""So many failures of a kind are kept."""

HOST_MARKS_MOST = 4
"""The same of what could not be started: it is judged of all devices of a host together."""

UNASKED_MOST = 512
"""The same of questions until they were asked: one may be answered at once, and a device fails tens in a second.

They are held in memory and never written: 1,024 of both kinds would take 80 to 207 kB in the store, 64 take 5 to 13.
"""

SPAN_MS = 6_000
"""The failed installations that are kept were begun over so long a time, where a device has more of them."""

FORGIVES = 0.75
"""What a success leaves of each failure that it speaks for."""

FORGOTTEN = 0.1
"""What has less left is dropped."""

GOOD_FOR_A_STEP = 10
"""So many successes make up for one quarantine."""

_SPEAKS_FOR = {
    Kind.INSTALL: frozenset({Kind.INSTALL}),
    Kind.TEST: frozenset({Kind.DEVICE, Kind.TEST}),
}
"""Failures that a success of a kind speaks for: tests that pass say nothing of installations that fail."""


def failed(record: Record, mark: Mark) -> Record:
    """One more failure. Of one job a kind counts once, so that no job takes a device out by itself."""
    marks = tuple(m for m in record.marks if (m.kind, m.ulid) != (mark.kind, mark.ulid))
    most = HOST_MARKS_MOST if mark.kind is Kind.HOST else MARKS_MOST if mark.sure else UNASKED_MOST
    return _bounded(replace(record, marks=(*marks, mark)), mark.kind, most)


def started(record: Record) -> Record:
    """Something ran on its host: what could not be started there before is no sign of the host any more."""
    marks = tuple(m for m in record.marks if m.kind is not Kind.HOST)
    return record if len(marks) == len(record.marks) else replace(record, marks=marks)


def bounded(record: Record) -> Record:
    """Without the failures that are too many, of questions the newest. Others are asked for them before, or soon."""
    if len(record.marks) <= MARKS_MOST:
        return record
    for kind in Kind:
        record = _bounded(record, kind, MARKS_MOST)
    return record


def _bounded(record: Record, kind: Kind, most: int) -> Record:
    same = [m for m in record.marks if m.kind is kind]
    spare = set()
    while len(same) > most:
        spare.add(same.pop(_spare(same)))
    return replace(record, marks=tuple(m for m in record.marks if m not in spare)) if spare else record


def _spare(marks: Sequence[Mark]) -> int:
    """Where the one of a kind, oldest first, is that is not remembered: the newest that is a question, else the oldest.

    Of installations it is the newest while all came within SPAN_MS: they are judged when they are older than a moment.
    A device that fails all that it is given at once would push each question out before others have done the job.
    """
    newest = marks[-1]
    if newest.kind is Kind.INSTALL and newest.at - marks[0].at < SPAN_MS:
        return len(marks) - 1
    return next((i for i in reversed(range(len(marks))) if not marks[i].sure), 0)


def succeeded(record: Record, kind: Kind, times: int = 1) -> Record:
    """Installations (INSTALL) or tests (TEST) went well, one after the other."""
    spoken_for = _SPEAKS_FOR[kind]
    share = FORGIVES**times
    marks = tuple(
        m if m.kind not in spoken_for else replace(m, left=round(m.left * share, 3))
        for m in record.marks
        if m.kind not in spoken_for or m.left * share >= FORGOTTEN
    )
    steps, good = divmod(record.good + times, GOOD_FOR_A_STEP)
    in_a_row = max(0, record.in_a_row - steps)
    return replace(record, marks=marks, in_a_row=in_a_row, good=good if in_a_row else 0, proven=True)


def answered(record: Record, elsewhere: Mapping[tuple[Kind, str], bool]) -> Record:
    """By kind and job, whether what failed here went well on another device; False where it never will, or did here."""
    marks = tuple(
        m if m.sure or (m.kind, m.ulid) not in elsewhere else replace(m, sure=True)
        for m in record.marks
        if m.sure or elsewhere.get((m.kind, m.ulid), True)
    )
    return record if marks == record.marks else replace(record, marks=marks)


def recent(record: Record, now: int) -> Record:
    """Without what was too long ago."""
    marks = tuple(m for m in record.marks if now - m.at < WINDOW_MS)
    return record if len(marks) == len(record.marks) else replace(record, marks=marks)


def quarantined(record: Record, in_a_row: int, since: int, until: int, reason: str) -> Record:
    """The device is taken out; also once more, when a probe did not find it well."""
    return replace(record, in_a_row=in_a_row, good=0, quarantine=Quarantine(since, until, reason))


def readmitted(record: Record) -> Record:
    """A probe found it well: what led to the quarantine has been atoned for, and the next failure counts for more."""
    return replace(record, marks=(), good=0, quarantine=None, proven=True)


def only_sure(record: Record) -> Record:
    """Without failures of which it is not known whether another device can do the job."""
    return replace(record, marks=tuple(m for m in record.marks if m.sure))

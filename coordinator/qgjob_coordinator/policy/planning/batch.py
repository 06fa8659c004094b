"""What a device gets at once: as little as keeps it busy, and near a group's end the longest jobs first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.places import most
from qgjob_coordinator.policy.planning.work import Work
from qgjob_coordinator.policy.rank import urgency
from qgjob_coordinator.policy.snapshot import AHEAD_SECONDS, DeviceView, Head

TAIL_JOBS = 3
"""Near the tail are groups with so many waiting jobs, or fewer, for each device that serves them."""
DEALT_SECONDS = 0.1
"""There jobs are dealt singly, but for those that a device is done with before it could be given the next one."""


def batch(books: Books, work: Work, device: DeviceView) -> list[Head]:
    """The jobs that a device takes now of a group, in order. They are taken from the books."""
    lines = books.lines(work, device)
    room = most(books, work, device) - device.held
    taken: list[Head] = []
    ahead = books.fleet.free_in(device)
    serving = work.serving
    longest: Iterator[Head] | None = None
    while len(taken) < room and work.left and ahead < AHEAD_SECONDS:
        tail = work.left <= TAIL_JOBS * (len(serving) or 1)
        if tail and taken and ahead >= DEALT_SECONDS:
            break  # whoever is free first takes the next one
        if tail and longest is None:  # a group near its end stays there
            longest = iter(_longest_first(books, work, lines))
        head = next(longest, None) if longest is not None else work.first(lines)
        if head is None:
            break
        ahead += work.take(head, device.device_id)
        taken.append(head)
    return taken


def _longest_first(books: Books, work: Work, lines: Sequence[int]) -> list[Head]:
    """What is left, the most urgent jobs first, and of these the ones that take longest."""
    now = books.snapshot.now
    return sorted(work.heads(lines), key=lambda h: (-urgency(h, now), -work.seconds_of(h), h.score, h.ulid))

"""What a device gets at once: as little as keeps it busy; and near a group's end long jobs in time."""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.places import most
from qgjob_coordinator.policy.planning.work import Work
from qgjob_coordinator.policy.rank import CLASS_SECONDS, older_by, urgency
from qgjob_coordinator.policy.snapshot import AHEAD_SECONDS, DeviceView, Head

TAIL_JOBS = 3
"""With so many waiting jobs, or fewer, for each device that serves a group they are dealt singly."""
NEAR_JOBS = 8
"""With more jobs for each device it is not looked whether one takes as long as the work before each; with no more, a
snapshot shows them."""
DEALT_SECONDS = 0.1
"""But for those that a device is done with before it could be given the next one."""


def batch(books: Books, work: Work, device: DeviceView) -> list[Head]:
    """The jobs that a device takes now of a group, in order. They are taken from the books.

    They are as urgent as the first: whether the device stays for less urgent ones is asked anew, see `switching`.
    """
    now = books.snapshot.now
    lines = books.lines(work, device)
    room = most(books, work, device) - device.held
    taken: list[Head] = []
    ahead = books.fleet.free_in(device)
    serving = work.serving
    while len(taken) < room and work.left and ahead < AHEAD_SECONDS:
        tail = work.left <= TAIL_JOBS * (len(serving) or 1)
        if tail and taken and ahead >= DEALT_SECONDS:
            break  # whoever is free first takes the next one
        head = _overdue(books, work, device, lines) or work.first(lines)
        if head is None or (taken and urgency(head, now) < urgency(taken[0], now)):
            break
        ahead += work.take(head, device.device_id)
        taken.append(head)
    return taken


def _overdue(books: Books, work: Work, device: DeviceView, lines: Sequence[int]) -> Head | None:
    """Of the jobs that are as urgent as the next one the longest, if it takes as long as the work before each device,
    or longer, and is not younger by more than `CLASS_SECONDS`.

    It would end after all others if it began later. Sooner it would only keep shorter ones waiting, and so would one
    after the other where they keep coming.
    """
    joins = device.device_id not in work.serving
    if work.left > NEAR_JOBS * (len(work.serving) + joins):
        return None
    now = books.snapshot.now
    heads = list(work.heads(lines))
    first = min(heads, default=None)
    if first is None:
        return None
    peers = [h for h in heads if urgency(h, now) == urgency(first, now) and older_by(first, h) <= CLASS_SECONDS]
    longest = min(peers, key=lambda h: (-work.seconds_of(h), h))
    if work.seconds_of(longest) < work.per_device(int(joins)):
        return None
    return longest

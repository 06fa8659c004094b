"""When a device is to give back what it has not begun.

What a device holds ahead is little, and begins in a moment; unless the attempt that runs takes longer than expected.
"""

from __future__ import annotations

from itertools import chain

from qgjob_coordinator.policy.feasible import may_serve
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.proposals import Recall
from qgjob_coordinator.policy.rank import urgency_of
from qgjob_coordinator.policy.snapshot import DeviceView, Snapshot

LATE_SECONDS = 4.0
"""Attempts that should have begun so long ago are given back if something better waits for them or for the device."""


def late(device: DeviceView, now: int) -> bool:
    """Whether what the device holds ahead should have begun a while ago. `now` in ms."""
    return device.unstarted > 0 and now - device.next_at >= LATE_SECONDS * 1000


def recalls(snapshot: Snapshot) -> tuple[Recall, ...]:
    """Which of the late devices give back what they have not begun.

    Where another device with the same build has nothing to do, so that it begins sooner there; or where a more urgent
    job of the group waits, which is then the device's next one.
    """
    books = Books(snapshot)
    found = [
        Recall(device.device_id, device.agent_id)
        for device in snapshot.busy
        if late(device, snapshot.now) and (_idle_sibling(books, device) or _more_urgent(books, device))
    ]
    return tuple(sorted(found, key=lambda r: r.device_id))


def _idle_sibling(books: Books, device: DeviceView) -> bool:
    """Whether another device with the build has nothing to do, and may serve what this one holds next."""
    free = books.snapshot.devices
    return device.installed is not None and any(
        d.installed == device.installed and d.target is device.target and _may_take(books, d, device)
        for d in free
        if not d.held
    )


def _may_take(books: Books, idle: DeviceView, device: DeviceView) -> bool:
    if device.next_asks is None:
        return True
    requirements, avoid = device.next_asks
    fleet = chain(books.snapshot.devices, books.snapshot.busy)
    return may_serve(requirements, avoid, idle, (d for d in fleet if d.target is device.target))


def _more_urgent(books: Books, device: DeviceView) -> bool:
    work = books.home(device)
    first = books.next_for(work, device) if work is not None else None
    if first is None:
        return False
    now = books.snapshot.now
    return urgency_of(first.score, now) > urgency_of(device.next_score, now)

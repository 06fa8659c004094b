"""Whether the limits of orgs and groups let a device take work: quotas (the room of an org) and the cap of a group.

A limit that a flow without end fills would keep a job for ever from the devices that may serve it: where the org's room
goes to groups that other devices serve, or where those that fill the group's cap may not serve the job. So the last
place under a limit is left to a job that waits there for longer by `OLDER_SECONDS` than what would be taken, head
starts included, which nobody serves who may, and which the device may not serve itself but another one may. (Where it
may itself, the rule of age in `switching` calls it.) That other one may be in a session of another coordinator.
"""

from __future__ import annotations

from collections.abc import Iterable

from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.work import Work, oldest
from qgjob_coordinator.policy.rank import OLDER_SECONDS, ORDER_EPOCH_MS, ORDERS_PER_MS
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head

_OLDER = OLDER_SECONDS * 1000 * ORDERS_PER_MS


def may_take(books: Books, work: Work, device: DeviceView) -> bool:
    """Whether the limits let the device take the group's next job."""
    if not books.has_room(work.key[0]) or not books.may_join(work, device):
        return False
    if not _fills_room(books, work, 1) and not _fills_cap(books, work, device):
        return True
    return left_to(books, work, device) is None


def most(books: Books, work: Work, device: DeviceView) -> int:
    """How many jobs of the group the device may hold at once, those that it holds included."""
    batch, room = books.snapshot.limits.batch, books.room.get(work.key[0])
    if room is None:
        return batch
    if _fills_room(books, work, batch) and _older(books, books.groups.of_org(work.key[0]), work, device) is not None:
        room -= 1
    return min(batch, device.held + room)


def left_to(books: Books, work: Work, device: DeviceView) -> Head | None:
    """The older job to which the last place is left that the device would take; None: it may take it."""
    found = None
    if _fills_room(books, work, 1):
        found = _older(books, books.groups.of_org(work.key[0]), work, device)
    if found is None and _fills_cap(books, work, device):
        found = _older(books, [work.group], work, device)
    return found


def differs_by_device(books: Books, group: GroupView) -> bool:
    """Whether the room of a plain group's org may be left to a job from one device and not from another one."""
    heads = group.queues[0].heads
    if group.org_id not in books.room or not heads:
        return False
    return books.groups.oldest_of(group.org_id) < heads[-1].score - _OLDER


def may_be_left(groups: Iterable[GroupView], now: int) -> bool:
    """Whether some job has waited for so long that a place may be left to it, wherever it is served. `now` is in ms."""
    latest = (now - ORDER_EPOCH_MS) * ORDERS_PER_MS - _OLDER
    return any(score is not None and score < latest for score in map(oldest, groups))


def _fills_room(books: Books, work: Work, jobs: int) -> bool:
    return books.room.get(work.key[0], jobs + 1) <= jobs


def _fills_cap(books: Books, work: Work, device: DeviceView) -> bool:
    cap = books.snapshot.limits.group_max_devices
    return cap is not None and not work.plain and len(work.serving.keys() | {device.device_id}) >= cap


def _older(books: Books, groups: Iterable[GroupView], work: Work, device: DeviceView) -> Head | None:
    """A job of some groups that is so much older than the group's next one, and waits for another device."""
    mine = books.next_for(work, device)
    if mine is None or books.groups.oldest_of(work.key[0]) >= mine.score - _OLDER:
        return None
    for group in groups:
        first = oldest(group)
        if first is not None and first < mine.score - _OLDER:
            found = _waits_for_another(books, books.groups.work(group), mine.score - _OLDER, device)
            if found is not None:
                return found
    return None


def _waits_for_another(books: Books, work: Work, latest: int, device: DeviceView) -> Head | None:
    own = books.lines(work, device) if device.target is work.group.target else ()
    for line in range(len(work.group.queues)):
        head = None if line in own else work.first((line,))
        if head is None or head.score >= latest or books.servers(work, head):
            continue
        if books.may_be_served(work, line):
            return head
    return None

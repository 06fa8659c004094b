"""What the plan says of a device that idles while a job waits: it takes the job, or why it does not.

The plan is made as the scheduler makes it, and what it left undone is asked of the rules by which it decided: what a
device may serve (`Books.lines`), room of orgs (`Books.has_room`), the cap on a group's devices (`Books.may_join`), to
whom the last place under both is left (`left_to`), and whether an installation pays (`worth_joining`). So an
explanation says nothing else than what the next round does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from qgjob_coordinator.model.jobs import Job
from qgjob_coordinator.policy.feasible import suspicion
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.fanout import enough, worth_joining
from qgjob_coordinator.policy.planning.places import left_to
from qgjob_coordinator.policy.planning.plan import planned
from qgjob_coordinator.policy.planning.work import GroupKey, Work
from qgjob_coordinator.policy.proposals import Assignment, Plan
from qgjob_coordinator.policy.reasons.words import fine_span, span
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head, Snapshot


@dataclass(frozen=True, slots=True)
class Verdict:
    """One idle device and one waiting job.

    `short` is a few words for where devices are counted. `why` keeps the device from the job, in a clause that can
    follow "but"; empty when the device takes the job, or others of its group before it. `job_taken`: this idle device
    or another one takes the job.
    """

    short: str
    why: str = ""
    job_taken: bool = False


TAKES = Verdict("about to take it", job_taken=True)
TAKES_GROUP = Verdict("about to take jobs of its group that come first")
AVOIDED = Verdict("avoided", "it is avoided while another can serve the job: an attempt failed on it")
AVOIDED_HOST = Verdict("avoided", "it is avoided while another can serve the job: an attempt failed with its host")
_AVOIDED = (None, AVOIDED_HOST, AVOIDED)
CALLED = Verdict(
    "called to another group",
    "another group calls it away: its job is more urgent or older, or its org has less than its share",
)
ELSEWHERE = Verdict("about to take work of another group", "work of another group comes first")


class Verdicts:
    """Verdicts of one plan, which is made when somebody asks first."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def of(self, job: Job, key: GroupKey, device_id: str) -> Verdict | None:
        """What the plan says of an idle device that meets the job's requirements, and of a job of the group `key`.

        None where it says nothing: it does not know the device, or the job came after it.
        """
        device, group = self._idle.get(device_id), self._groups.get(key)
        if device is None or group is None:
            return None
        taker = self._takers.get((job.org_id, job.ulid))
        if taker == device_id:
            return TAKES
        given = self._given.get(device_id)
        if given is not None and (given.org_id, given.gid) == key:
            return TAKES_GROUP
        return self._refused(job, group, device, given, taker)

    def _refused(
        self, job: Job, group: GroupView, device: DeviceView, given: Assignment | None, taker: str | None
    ) -> Verdict | None:
        books, work = self._books, self._books.groups.work(group)
        line = _line(group, job)
        if line is None:
            return None
        if line not in books.lines(work, device):
            # What else keeps it from the queue is new to the fleet's reading, or old to it.
            return _AVOIDED[suspicion(job.avoid_devices, device)]
        if not books.has_room(job.org_id):
            return _no_room(job.org_id)
        if not books.may_join(work, device):
            return _capped(books)
        if given is not None:
            return CALLED if books.home(device) is work else ELSEWHERE
        older = left_to(books, work, device)
        if older is not None:
            return _left(job.org_id, older, books)
        if taker is not None:
            return Verdict("not needed", f"{taker} takes the job", job_taken=taker in self._idle)
        head = work.first((line,))
        if head is None or books.home(device) is work or worth_joining(books, work, head):
            return None
        return _not_worth(books, work, head)

    @cached_property
    def _round(self) -> tuple[Plan, Books]:
        return planned(self._snapshot)

    @property
    def _books(self) -> Books:
        return self._round[1]

    @cached_property
    def _given(self) -> Mapping[str, Assignment]:
        return {a.device_id: a for a in self._round[0].assignments}

    @cached_property
    def _takers(self) -> Mapping[tuple[str, str], str]:
        return {(a.org_id, ulid): a.device_id for a in self._round[0].assignments for ulid in a.ulids}

    @cached_property
    def _idle(self) -> Mapping[str, DeviceView]:
        return {d.device_id: d for d in self._snapshot.devices if not d.held}

    @cached_property
    def _groups(self) -> Mapping[GroupKey, GroupView]:
        return {(g.org_id, g.gid): g for g in self._snapshot.groups if g.queues}


def _line(group: GroupView, job: Job) -> int | None:
    """Index of the queue that the job is on."""
    for i, queue in enumerate(group.queues):
        if queue.requirements == job.requirements and set(queue.avoid) == set(job.avoid_devices):
            return i
    return None


def _no_room(org_id: str) -> Verdict:
    return Verdict("org is at its quota", f"org {org_id} holds as many attempts as it may (MAX_RUNNING_PER_ORG)")


def _left(org_id: str, older: Head, books: Books) -> Verdict:
    limit = "MAX_RUNNING_PER_ORG" if books.room.get(org_id, 2) <= 1 else "GROUP_MAX_DEVICES"
    return Verdict(
        "last place left to an older job",
        f"the last place under {limit} is left to job {org_id}~{older.ulid}, which waits longer, for another device",
    )


def _capped(books: Books) -> Verdict:
    most = _devices(books.snapshot.limits.group_max_devices or 0)
    return Verdict("group is at its cap", f"the group may use {most} (GROUP_MAX_DEVICES)")


def _not_worth(books: Books, work: Work, head: Head) -> Verdict:
    serving = len(books.servers(work, head))
    pays = enough(books, work) * work.install
    serve, each = ("serves", "") if serving == 1 else ("serve", " each")
    return Verdict(
        "not worth an installation",
        f"an installation (about {span(work.install)}) would not pay: {_devices(serving)} {serve} the group, "
        f"with about {fine_span(work.per_device())} of work{each}, "
        f"and one more pays from about {fine_span(pays)}{each}",
    )


def _devices(count: int) -> str:
    return f"{count} device{'' if count == 1 else 's'}"

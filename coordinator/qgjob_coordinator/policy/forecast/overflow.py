"""Which waiting jobs go to their second target: those whose wait is expected to be longer than they accept, and shorter
there.

Both waits are what the look ahead tells. A job that goes makes room for those behind it, and is before those that go
after it; so of a long queue goes as much as evens both out, and no more. That cannot be taken back, so the second
target is looked at as if all went that might, and few go at a time: the next look sees what became of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.forecast.flow import Flow
from qgjob_coordinator.policy.forecast.forecast import Forecast
from qgjob_coordinator.policy.planning.work import GroupKey
from qgjob_coordinator.policy.snapshot import HEADS, NO_BUILDS, TYPICAL_SECONDS, GroupView, Head, Queue, Snapshot

AGAIN_SHARE = 0.1
"""A job that stays is judged again after this share of its bound ..."""
SOONEST_SECONDS = 1.0
"""... but not before,"""
LATEST_SECONDS = 30.0
"""nor later than this."""
MOST = HEADS
"""So many jobs go to one group at a look."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A queued job that may go from its group `gid` to the group `second_gid` of its second target.

    `place` is its place in its group, None where it is on no queue. It waits since `since`, and accepts to wait for
    `after_ms`; in ms.
    """

    org_id: str
    ulid: str
    app_version_id: str
    gid: str
    second_gid: str
    second: Target
    score: int
    place: int | None
    since: int
    after_ms: int
    requirements: Requirements = ANY_DEVICE

    @property
    def key(self) -> GroupKey:
        """Its group."""
        return self.org_id, self.gid

    @property
    def second_key(self) -> GroupKey:
        """The group that it may go to."""
        return self.org_id, self.second_gid


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a job goes. `expected_wait_ms`: the wait for its first target, None where no start is to be expected.

    One that stays is to be judged again at `again` (ms).
    """

    moves: bool
    expected_wait_ms: int | None
    again: int


def judge(snapshot: Snapshot, candidates: Sequence[Candidate]) -> list[Judgement]:
    """A judgement for each, in their order."""
    now, look = snapshot.now, Forecast(snapshot)
    judged = [_stays(c, _wait_ms(c, _start(look, c, now), now), now) for c in candidates]
    late = [i for i in _in_order(candidates) if _too_long(candidates[i], judged[i].expected_wait_ms, now)]
    going = _first_of_each(late, candidates)
    for i in set(late) - set(going):
        judged[i] = replace(judged[i], again=now + round(1000 * SOONEST_SECONDS))
    if going:
        moves = _Moves(snapshot, look, [candidates[i] for i in going])
        for i in going:
            wait = moves.offer(candidates[i])
            if wait is not None:
                judged[i] = Judgement(moves=True, expected_wait_ms=wait.ms, again=now)
    return judged


@dataclass(frozen=True, slots=True)
class _Wait:
    """The wait (ms) that a job goes for; None: no start was to be expected."""

    ms: int | None


@dataclass(slots=True)
class _Share:
    """What jobs that went take in a flow: work (s), and how many they are."""

    work: float = 0.0
    jobs: int = 0

    def add(self, flow: Flow) -> None:
        self.work += flow.work.seconds / max(1, flow.work.left)
        self.jobs += 1


class _Moves:
    """Jobs that go, one after the other."""

    def __init__(self, snapshot: Snapshot, look: Forecast, candidates: Sequence[Candidate]) -> None:
        """`look` is that of the snapshot; all of the candidates may go."""
        self._now = snapshot.now
        self._look = look
        self._with_all = Forecast(_as_if_gone(snapshot, candidates))
        self._left: dict[Flow, _Share] = {}
        self._came: dict[Flow, _Share] = {}

    def offer(self, c: Candidate) -> _Wait | None:
        """Lets the job go, if it is worth it: the wait that it goes for."""
        here, there = self._look.flow(c.key, c.requirements), self._with_all.flow(c.second_key, c.requirements)
        if there is None:
            return None
        left = _Share() if here is None else self._left.setdefault(here, _Share())
        came = self._came.setdefault(there, _Share())
        first, second = _start(self._look, c, self._now, left), self._start_there(c, came)
        wait = _wait_ms(c, first, self._now)
        if second is None or (first is not None and first <= second) or not _too_long(c, wait, self._now):
            return None
        if here is not None:
            left.add(here)
        came.add(there)
        return _Wait(wait)

    def _start_there(self, c: Candidate, came: _Share) -> float | None:
        """In how many seconds the job would start behind what is there before it, and what went there before it."""
        own, before, work = self._look.flow(c.second_key, c.requirements), 0, 0.0
        if own is not None:
            shown = own.shown()
            before = bisect_left(shown, (c.score, c.ulid))
            before = before if before < len(shown) else own.work.left
            work = own.ahead(before)
        expected = self._with_all.start(c.second_key, work + came.work, before + came.jobs + 1, c.requirements)
        return None if expected is None else expected.seconds


def _start(look: Forecast, c: Candidate, now: int, left: _Share | None = None) -> float | None:
    """In how many seconds a job starts on its first target, without those that `left`; None: not known.

    One that has waited for longer than it accepts is expected to wait as long again: what was foretold did not come
    true. A test before it that takes longer than it ever did is foretold to end at any moment, for as long as it runs.
    """
    stands = None if c.place is None else look.before(c.key, c.ulid, c.place, c.requirements)
    if stands is None:
        return None
    left = left or _Share()
    work, position = stands
    expected = look.start(c.key, max(0.0, work - left.work), max(1, position - left.jobs), c.requirements)
    if expected is None:
        return None
    waited = now - c.since
    return expected.seconds if waited <= c.after_ms else max(expected.seconds, waited / 1000)


def _wait_ms(c: Candidate, start: float | None, now: int) -> int | None:
    """How long a job waits in all that starts in so many seconds."""
    return None if start is None else max(0, now - c.since) + round(1000 * start)


def _too_long(c: Candidate, wait_ms: int | None, now: int) -> bool:
    """Longer than it accepts. Where no start is to be expected, what it has waited counts."""
    return c.place is not None and (now - c.since if wait_ms is None else wait_ms) > c.after_ms


def _stays(c: Candidate, wait_ms: int | None, now: int) -> Judgement:
    seconds = min(max(SOONEST_SECONDS, AGAIN_SHARE * c.after_ms / 1000), LATEST_SECONDS)
    return Judgement(moves=False, expected_wait_ms=wait_ms, again=now + round(1000 * seconds))


def _in_order(candidates: Sequence[Candidate]) -> list[int]:
    """Their numbers, what is served first first."""
    return sorted(range(len(candidates)), key=lambda i: (candidates[i].score, candidates[i].ulid))


def _first_of_each(late: Iterable[int], candidates: Sequence[Candidate]) -> list[int]:
    """The first of those that may go to the same group."""
    count: Counter[GroupKey] = Counter()
    first = []
    for i in late:
        key = candidates[i].second_key
        count[key] += 1
        if count[key] <= MOST:
            first.append(i)
    return first


def _as_if_gone(snapshot: Snapshot, candidates: Iterable[Candidate]) -> Snapshot:
    """The snapshot with the candidates in the groups that they may go to."""
    groups = {(g.org_id, g.gid): g for g in snapshot.groups}
    coming: dict[GroupKey, dict[Requirements, list[Candidate]]] = {}
    for c in candidates:
        coming.setdefault(c.second_key, {}).setdefault(c.requirements, []).append(c)
    for key, by_requirements in coming.items():
        for requirements, jobs in by_requirements.items():
            group = groups.get(key) or _empty(jobs[0], groups.get(jobs[0].key))
            groups[key] = _with(group, requirements, jobs)
    return replace(snapshot, groups=tuple(groups.values()))


def _empty(c: Candidate, first: GroupView | None) -> GroupView:
    """The group that a job would found; it is expected to take there what it takes in its `first` group."""
    typical, pushed = (TYPICAL_SECONDS, NO_BUILDS) if first is None else (first.typical_seconds, first.pushed)
    return GroupView(c.org_id, c.second_gid, c.app_version_id, c.second, 0, 0, {}, (), typical, pushed)


def _with(group: GroupView, requirements: Requirements, jobs: Sequence[Candidate]) -> GroupView:
    queues = {(q.requirements, q.avoid): q for q in group.queues}
    own = queues.get((requirements, ()), Queue(requirements, (), 0, ()))
    heads = sorted([*own.heads, *(Head(c.score, c.ulid) for c in jobs)])
    queues[requirements, ()] = Queue(requirements, (), own.waiting + len(jobs), tuple(heads))
    return group._replace(unfinished=group.unfinished + len(jobs), queues=tuple(queues.values()))

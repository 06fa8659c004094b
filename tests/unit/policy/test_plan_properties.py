# ruff: noqa: S311 - randomness here is that of a seed
"""What holds of every plan, whatever the snapshot."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import TypeVar

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Priority
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.planning.batch import DEALT_SECONDS, NEAR_JOBS, TAIL_JOBS
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.switching import OLDER_SECONDS, PATIENCE_INSTALLS, STAY_INSTALLS
from qgjob_coordinator.policy.proposals import Assignment
from qgjob_coordinator.policy.rank import URGENT, older_by, urgency, urgent_for
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head, Queue, Snapshot
from tests.unit.policy.snapshots import NOW, device, group, queue, score, snapshot, snapshots, some_snapshot

_T = TypeVar("_T")

MUCH_TO_PLAN = st.integers(0, 1 << 32).map(lambda seed: some_snapshot(Random(seed), 7, 2, 6))
"""Small snapshots tell most about what is wrong; those of many devices and groups have more that could be."""
ANY = st.one_of(snapshots(), MUCH_TO_PLAN)


def _mostly_warm(s: Snapshot, random: Random) -> Snapshot:
    """The same, where idle devices have the builds of groups that wait, which nobody serves but for devices at work."""
    held = {d.device_id for d in (*s.devices, *s.busy) if d.held}

    def warm(d: DeviceView) -> DeviceView:
        builds = [(g.org_id, g.app_version_id) for g in s.groups if g.target is d.target]
        return d if d.held or not builds else d._replace(installed=random.choice(builds))

    groups = [g._replace(serving={i: n for i, n in g.serving.items() if i in held}) for g in s.groups]
    return replace(s, devices=tuple(map(warm, s.devices)), groups=tuple(groups))


def groups_of(s: Snapshot) -> dict[tuple[str, str], GroupView]:
    return {(g.org_id, g.gid): g for g in s.groups}


def fits(q: Queue, d: DeviceView) -> bool:
    """Said again, so that a mistake in `feasible` shows; the snapshots here require platforms and nothing else."""
    return q.requirements.platform in (None, d.platform)


def may_take(s: Snapshot, q: Queue, d: DeviceView) -> bool:
    others = (o for o in s.candidates[d.target] if o.device_id not in q.avoid)
    return fits(q, d) and (d.device_id not in q.avoid or not any(fits(q, o) for o in others))


def servable(s: Snapshot, g: GroupView, d: DeviceView) -> list[Queue]:
    return [q for q in g.queues if g.target is d.target and may_take(s, q, d)]


@given(ANY)
def test_no_device_and_no_job_is_given_twice(s: Snapshot) -> None:
    assignments = plan(s).assignments
    event(f"{min(len(assignments), 4)} assignments")
    assert all(n == 1 for n in Counter(a.device_id for a in assignments).values())
    assert all(n == 1 for n in Counter(u for a in assignments for u in a.ulids).values())
    assert all(a.ulids for a in assignments)


@settings(max_examples=300)
@given(ANY)
def test_every_job_goes_to_a_device_that_may_serve_it_the_first_ones_first(s: Snapshot) -> None:
    """But near the end of a group, where the longest of the most urgent may be first, and jobs are dealt singly."""
    devices = {d.device_id: d for d in s.devices}
    taken: set[str] = set()
    serving = {key: set(g.serving) for key, g in groups_of(s).items()}
    for a in plan(s).assignments:
        g = groups_of(s)[a.org_id, a.gid]
        heads = sorted(h for q in servable(s, g, devices[a.device_id]) for h in q.heads if h.ulid not in taken)
        assert set(a.ulids) <= {h.ulid for h in heads}
        left = g.waiting - len(taken & {h.ulid for q in g.queues for h in q.heads})
        served_by = serving[g.org_id, g.gid]
        if left <= TAIL_JOBS * max(1, len(served_by)):
            assert sum(a.seconds[:-1]) < DEALT_SECONDS
        near = left <= NEAR_JOBS * len(served_by | {a.device_id}) + len(a.ulids)
        for ulid, seconds in zip(a.ulids, a.seconds, strict=True):
            equals = [h for h in heads if urgency(h, s.now) == urgency(heads[0], s.now)]
            if ulid != heads[0].ulid:
                assert near
                assert ulid in {h.ulid for h in equals}
                assert seconds == max(g.typical_seconds if h.seconds is None else h.seconds for h in equals)
            heads = [h for h in heads if h.ulid != ulid]
        taken |= set(a.ulids)
        serving[g.org_id, g.gid].add(a.device_id)


@given(ANY)
def test_a_device_that_holds_attempts_gets_more_of_the_same_group_only_up_to_a_batch(s: Snapshot) -> None:
    devices = {d.device_id: d for d in s.devices}
    for a in plan(s).assignments:
        d = devices[a.device_id]
        assert d.holds_for in (None, (a.org_id, a.gid))
        assert d.held + len(a.ulids) <= s.limits.batch
        assert a.agent_id == d.agent_id


@given(ANY)
def test_the_cap_of_devices_and_the_room_of_orgs_are_kept(s: Snapshot) -> None:
    serving = {key: set(g.serving) for key, g in groups_of(s).items()}
    used: Counter[str] = Counter()
    for a in plan(s).assignments:
        joins = a.device_id not in serving[a.org_id, a.gid]
        assert a.serving_seen == (len(serving[a.org_id, a.gid]) if joins else None)
        serving[a.org_id, a.gid].add(a.device_id)
        if joins and s.limits.group_max_devices is not None:
            assert len(serving[a.org_id, a.gid]) <= s.limits.group_max_devices
        used[a.org_id] += len(a.ulids)
    assert all(used[org_id] <= room for org_id, room in s.room.items())


def _older_elsewhere(s: Snapshot, org_id: str, head: Head) -> bool:
    heads = [h for g in s.groups if g.org_id == org_id for q in g.queues for h in q.heads]
    return any(older_by(h, head) > OLDER_SECONDS for h in heads)


@given(ANY)
def test_no_idle_device_stays_without_work_while_nobody_serves_a_group_that_it_could_serve(s: Snapshot) -> None:
    assignments = plan(s).assignments
    busy = {a.device_id for a in assignments}
    taken = {u for a in assignments for u in a.ulids}
    serving = {key: set(g.serving) for key, g in groups_of(s).items()}
    used: dict[str, int] = defaultdict(int)
    for a in assignments:
        serving[a.org_id, a.gid].add(a.device_id)
        used[a.org_id] += len(a.ulids)
    for d in (d for d in s.devices if d.device_id not in busy and d.held == 0):
        for key, g in groups_of(s).items():
            cap = s.limits.group_max_devices
            may_join = cap is None or d.device_id in serving[key] or len(serving[key]) < cap
            room = s.room.get(g.org_id, 1) - (used[g.org_id] if g.org_id in s.room else 0)
            left = [h for q in servable(s, g, d) for h in q.heads if h.ulid not in taken]
            if left and (room == 1 or cap == 1) and _older_elsewhere(s, g.org_id, min(left)):
                continue  # the last place under a limit is left to it, see `test_places`
            assert not (may_join and room > 0 and left and not serving[key]), (
                f"{d.device_id} could take {left} of {key}"
            )


@given(ANY)
def test_a_warm_device_keeps_its_group_while_that_has_work_for_it(s: Snapshot) -> None:
    """Nobody but other warm devices is served before it; it leaves for an urgent job, or for another org's share."""
    given_to = {a.device_id: (a.org_id, a.gid) for a in plan(s).assignments}
    first = {a.device_id: a.ulids[0] for a in plan(s).assignments}
    urgent = {h.ulid for g in s.groups for q in g.queues for h in q.heads if urgency(h, s.now) >= URGENT}
    warm: Counter[tuple[str, str]] = Counter()
    homes = {}
    for d in s.devices:
        for key, g in groups_of(s).items():
            installed = (g.org_id, g.app_version_id) == d.installed and g.target is d.target
            if d.holds_for == key or (d.holds_for is None and installed):
                homes[d.device_id] = key
                warm[key] += 1
    for device_id, key in homes.items():
        g = groups_of(s)[key]
        d = next(d for d in s.devices if d.device_id == device_id)
        alone = warm[key] == 1 and s.limits.group_max_devices is None and g.org_id not in s.room
        if alone and servable(s, g, d) and d.held == 0:
            moved = given_to[device_id] != key
            assert not moved or given_to[device_id][0] != g.org_id or first[device_id] in urgent


@given(ANY)
def test_a_cold_device_passes_a_more_urgent_job_over_only_for_those_that_serve_its_group(s: Snapshot) -> None:
    """Its own group is what a warm device may stay with (see `test_switching`). A cold one joins a group for a less
    urgent job only if the more urgent one's group is served by a device that may serve that job: then the installation
    is not worth it, or the device that serves it takes that job within a few installations."""
    assignments = plan(s).assignments
    taken = {u for a in assignments for u in a.ulids}
    devices = {d.device_id: d for d in s.devices}
    serving: dict[tuple[str, str], set[str]] = {key: set(g.serving) for key, g in groups_of(s).items()}
    for a in assignments:
        serving[a.org_id, a.gid].add(a.device_id)
    views = {**devices, **{d.device_id: d for d in s.busy}}
    heads = {h.ulid: h for g in s.groups for q in g.queues for h in q.heads}
    homes = {(g.org_id, g.app_version_id, g.target) for g in s.groups if g.waiting}
    cold = {d.device_id for d in s.devices if d.installed is None or (*d.installed, d.target) not in homes}
    for a in (a for a in assignments if a.install and a.device_id in cold):
        given_urgency = urgency(heads[a.ulids[0]], s.now)
        for key, g in groups_of(s).items():
            cap, room = s.limits.group_max_devices, s.room.get(g.org_id, 1)
            used = sum(len(b.ulids) for b in assignments if b.org_id == g.org_id)
            if room <= (used if g.org_id in s.room else 0) or (cap is not None and len(serving[key]) >= cap):
                continue
            for q in servable(s, g, devices[a.device_id]):
                passed = [h for h in q.heads if h.ulid not in taken and urgency(h, s.now) > given_urgency]
                limited = g.org_id in s.room or cap is not None
                if limited and passed and _older_elsewhere(s, g.org_id, min(passed)):
                    continue  # the last place under a limit may be left to it, see `test_places`
                plain = len(g.queues) == 1 and q.requirements is ANY_DEVICE and not q.avoid
                may = serving[key] if plain else {i for i in serving[key] if i not in views or may_take(s, q, views[i])}
                assert not passed or may, f"{a.device_id} passed {passed} of {key} over for {a.ulids}"


@settings(max_examples=300)
@given(st.builds(_mostly_warm, ANY, st.randoms(use_true_random=False)))
def test_no_warm_device_stays_while_a_job_that_calls_it_away_is_left_to_nobody(s: Snapshot) -> None:
    """By class or by age: whatever else was planned in the round, if nobody serves the job's group after it, any device
    that stayed with its own was bound to by a rule. (`test_switching` tells the rules for one device alone.)"""
    taken: set[str] = set()
    serving = {key: set(g.serving) for key, g in groups_of(s).items()}
    spent: dict[tuple[str, str], float] = defaultdict(float)
    used: Counter[str] = Counter()
    stayed: list[tuple[Assignment, Head]] = []
    devices = {d.device_id: d for d in s.devices}
    for a in plan(s).assignments:
        d, g = devices[a.device_id], groups_of(s)[a.org_id, a.gid]
        if not a.install and not d.held:
            stayed.append((a, min(h for q in servable(s, g, d) for h in q.heads if h.ulid not in taken)))
        taken |= set(a.ulids)
        serving[g.org_id, g.gid].add(a.device_id)
        spent[g.org_id, g.gid] += sum(a.seconds)
        used[a.org_id] += len(a.ulids)
    for a, mine in stayed:
        d, here = devices[a.device_id], groups_of(s)[a.org_id, a.gid]
        home = Books(s).home(d)
        assert home is not None
        install = home.install
        least = home.seconds - spent[a.org_id, a.gid] + sum(a.seconds)  # at least so much was left when it was its turn
        soon_done = not here.serving and least < STAY_INSTALLS * install + 1e-6
        for key, there in groups_of(s).items():
            if serving[key] or there.org_id in s.room or s.limits.group_max_devices is not None:
                continue  # the last place may be left to an older job, see `test_places`
            theirs = min((h for q in servable(s, there, d) for h in q.heads), default=None)
            if theirs is None:
                continue
            patient = urgent_for(theirs.score, s.now) >= PATIENCE_INSTALLS * install
            by_class = urgency(theirs, s.now) >= URGENT > urgency(mine, s.now) and patient and not soon_done
            late = urgent_for(theirs.score, s.now) > OLDER_SECONDS or urgency(theirs, s.now) < URGENT
            as_urgent = urgency(mine, s.now) >= URGENT
            by_age = older_by(theirs, mine) > OLDER_SECONDS and (late or as_urgent)
            assert not by_class, f"{d.device_id} stays with {mine} though {theirs} is urgent"
            assert not by_age, f"{d.device_id} stays with {mine} though {theirs} is much older"
            event("stays beside a group that nobody serves")


@pytest.mark.parametrize("left", [1.9, 0.0], ids=["nearly free", "free at any moment"])
def test_a_device_that_never_idles_gets_no_more_of_its_group_once_another_calls_it_away(left: float) -> None:
    """With short tests a device always holds some, so that it never waits for a round trip. It gives way all the same:
    else an urgent job waits for as long as its group has work."""
    here = group("v1", queue("a", range(900, 964)), typical_seconds=0.5, serving={"d1": 1, "d2": 1})
    there = group("v2", queue("u", [0], Priority.HIGH))
    mates = [
        device(
            device_id,
            installed=("acme", "v1"),
            held=1,
            holds_for=("acme", "e-v1"),
            free_at=NOW + round(1000 * seconds),
        )
        for device_id, seconds in (("d1", left), ("d2", 600.0))
    ]
    given_out = {a.device_id: a.gid for a in plan(snapshot(mates, [here, there])).assignments}
    assert given_out.get("d1") != here.gid


def _shuffled(s: Snapshot, random: Random) -> Snapshot:
    """The same, with all its parts in another order."""

    def mixed(items: Iterable[_T]) -> tuple[_T, ...]:
        return tuple(random.sample(list(items), len(list(items))))

    groups = [g._replace(queues=mixed(g.queues), serving=dict(mixed(g.serving.items()))) for g in s.groups]
    return replace(
        s,
        devices=mixed(s.devices),
        busy=mixed(s.busy),
        groups=mixed(groups),
        room=dict(mixed(s.room.items())),
        weights=dict(mixed(s.weights.items())),
        install_seconds=dict(mixed(s.install_seconds.items())),
        candidates={t: mixed(c) for t, c in mixed(s.candidates.items())},
    )


def _alike(s: Snapshot) -> Snapshot:
    """The same, with jobs of the same score, groups of as much work and devices of the same wear: only ids differ."""

    def same(q: Queue) -> Queue:
        heads = tuple(sorted(Head(score(0), h.ulid, 30.0) for h in q.heads))
        return q._replace(heads=heads, waiting=40)

    return replace(
        s,
        devices=tuple(d._replace(idle_since=NOW, installs=0, busy_hours=0.0) for d in s.devices),
        groups=tuple(g._replace(queues=tuple(map(same, g.queues)), typical_seconds=30.0) for g in s.groups),
        weights={},
    )


@settings(max_examples=200)
@given(ANY, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_seen_does_not_matter(s: Snapshot, alike: bool, random: Random) -> None:
    """Also where nothing but ids tells jobs, groups, orgs or devices apart."""
    s = _alike(s) if alike else s
    assert plan(_shuffled(s, random)) == plan(s)


OF_ANY_PLAN = (
    test_no_device_and_no_job_is_given_twice,
    test_every_job_goes_to_a_device_that_may_serve_it_the_first_ones_first,
    test_a_device_that_holds_attempts_gets_more_of_the_same_group_only_up_to_a_batch,
    test_the_cap_of_devices_and_the_room_of_orgs_are_kept,
    test_no_idle_device_stays_without_work_while_nobody_serves_a_group_that_it_could_serve,
    test_a_warm_device_keeps_its_group_while_that_has_work_for_it,
    test_a_cold_device_passes_a_more_urgent_job_over_only_for_those_that_serve_its_group,
    test_no_warm_device_stays_while_a_job_that_calls_it_away_is_left_to_nobody,
)


@settings(max_examples=150)
@given(ANY, st.data())
def test_without_one_of_its_devices_a_plan_is_as_legal(s: Snapshot, data: st.DataObject) -> None:
    """A device that goes away takes nothing with it but itself, whether it could take work or served a group, and
    though the store still names it: all that holds of plans holds of the one without it."""
    if not (s.devices or s.busy):
        return
    gone = data.draw(st.sampled_from((*s.devices, *s.busy)))
    left = replace(
        s,
        devices=tuple(d for d in s.devices if d is not gone),
        busy=tuple(d for d in s.busy if d is not gone),
        candidates={t: tuple(d for d in c if d.device_id != gone.device_id) for t, c in s.candidates.items()},
    )
    for holds in OF_ANY_PLAN:
        holds.hypothesis.inner_test(left)  # type: ignore[attr-defined]
    assert all(a.device_id != gone.device_id for a in plan(left).assignments)

"""What holds of every plan, whatever the snapshot."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import TypeVar

from hypothesis import event, given, settings
from hypothesis import strategies as st

from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.batch import DEALT_SECONDS, TAIL_JOBS
from qgjob_coordinator.policy.feasible import may_serve
from qgjob_coordinator.policy.plan import plan
from qgjob_coordinator.policy.rank import URGENT, urgency
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Queue, Snapshot
from tests.unit.policy.snapshots import snapshots

_T = TypeVar("_T")


def groups_of(s: Snapshot) -> dict[tuple[str, str], GroupView]:
    return {(g.org_id, g.gid): g for g in s.groups}


def servable(s: Snapshot, g: GroupView, d: DeviceView) -> list[Queue]:
    if g.target is not d.target:
        return []
    return [q for q in g.queues if may_serve(q.requirements, q.avoid, d, s.candidates[g.target])]


def may_take(s: Snapshot, q: Queue, d: DeviceView) -> bool:
    return may_serve(q.requirements, q.avoid, d, s.candidates[d.target])


@given(snapshots())
def test_no_device_and_no_job_is_given_twice(s: Snapshot) -> None:
    assignments = plan(s).assignments
    event(f"{min(len(assignments), 4)} assignments")
    assert all(n == 1 for n in Counter(a.device_id for a in assignments).values())
    assert all(n == 1 for n in Counter(u for a in assignments for u in a.ulids).values())
    assert all(a.ulids for a in assignments)


@given(snapshots())
def test_every_job_goes_to_a_device_that_may_serve_it_the_first_ones_first(s: Snapshot) -> None:
    """But near the tail of a group, where of the most urgent jobs the longest is first."""
    devices = {d.device_id: d for d in s.devices}
    taken: set[str] = set()
    serving = {key: set(g.serving) for key, g in groups_of(s).items()}
    for a in plan(s).assignments:
        g = groups_of(s)[a.org_id, a.gid]
        heads = sorted(h for q in servable(s, g, devices[a.device_id]) for h in q.heads if h.ulid not in taken)
        left = g.waiting - len(taken & {h.ulid for q in g.queues for h in q.heads})
        if left <= TAIL_JOBS * max(1, len(serving[g.org_id, g.gid])):
            equals = [h for h in heads if urgency(h, s.now) == urgency(heads[0], s.now)]
            longest = max(g.typical_seconds if h.seconds is None else h.seconds for h in equals)
            assert a.ulids[0] in {h.ulid for h in equals}
            assert a.seconds[0] == longest
            assert sum(a.seconds[:-1]) < DEALT_SECONDS
        else:
            assert list(a.ulids) == [h.ulid for h in heads[: len(a.ulids)]]
        taken |= set(a.ulids)
        serving[g.org_id, g.gid].add(a.device_id)


@given(snapshots())
def test_a_device_that_holds_attempts_gets_more_of_the_same_group_only_up_to_a_batch(s: Snapshot) -> None:
    devices = {d.device_id: d for d in s.devices}
    for a in plan(s).assignments:
        d = devices[a.device_id]
        assert d.holds_for in (None, (a.org_id, a.gid))
        assert d.held + len(a.ulids) <= s.limits.batch
        assert a.agent_id == d.agent_id


@given(snapshots())
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


@given(snapshots())
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
            assert not (may_join and room > 0 and left and not serving[key]), (
                f"{d.device_id} could take {left} of {key}"
            )


@given(snapshots())
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


@given(snapshots())
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
                plain = len(g.queues) == 1 and q.requirements is ANY_DEVICE and not q.avoid
                may = serving[key] if plain else {i for i in serving[key] if i not in views or may_take(s, q, views[i])}
                assert not passed or may, f"{a.device_id} passed {passed} of {key} over for {a.ulids}"


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


@settings(max_examples=100)
@given(snapshots(), st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_seen_does_not_matter(s: Snapshot, random: Random) -> None:
    assert plan(_shuffled(s, random)) == plan(s)


@given(snapshots(), st.data())
def test_without_one_of_its_devices_a_plan_is_as_legal(s: Snapshot, data: st.DataObject) -> None:
    """A device that goes away takes nothing with it but itself: all that holds of plans holds of the one without it."""
    if not s.devices:
        return
    gone = data.draw(st.sampled_from(s.devices))
    left = replace(
        s,
        devices=tuple(d for d in s.devices if d is not gone),
        candidates={t: tuple(d for d in c if d is not gone) for t, c in s.candidates.items()},
    )
    for holds in (
        test_no_device_and_no_job_is_given_twice,
        test_every_job_goes_to_a_device_that_may_serve_it_the_first_ones_first,
        test_the_cap_of_devices_and_the_room_of_orgs_are_kept,
        test_no_idle_device_stays_without_work_while_nobody_serves_a_group_that_it_could_serve,
    ):
        holds.hypothesis.inner_test(left)  # type: ignore[attr-defined]
    assert all(a.device_id != gone.device_id for a in plan(left).assignments)

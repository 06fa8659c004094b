"""When a warm device leaves its group: the stated rules one at a time, and all of them against an oracle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Priority
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.feasible import may_serve
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.calling import MOST
from qgjob_coordinator.policy.planning.fanout import REACH_INSTALLS
from qgjob_coordinator.policy.planning.places import left_to
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.switching import OLDER_SECONDS, PATIENCE_INSTALLS, STAY_INSTALLS, TURN_INSTALLS
from qgjob_coordinator.policy.rank import CLASS_SECONDS, ORDER_EPOCH_MS, ORDERS_PER_MS, URGENT_SECONDS
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, DeviceView, GroupView, Head, Queue, Snapshot
from tests.unit.policy.snapshots import ANDROID, NOW, device, group, queue, snapshot, snapshots

V1 = ("acme", "v1")
FRESH = 999
"""A job of the last second. `PATIENT`: one that has waited as long as an urgent one has to, to call a device away."""
PATIENT = 1000 - round(PATIENCE_INSTALLS * INSTALL_SECONDS)
MANY = range(900, 964)


def goes_to(s: Snapshot, device_id: str = "d1") -> str | None:
    """The version that a device is given work of."""
    versions = {(g.org_id, g.gid): g.app_version_id for g in s.groups}
    return next((versions[a.org_id, a.gid] for a in plan(s).assignments if a.device_id == device_id), None)


# ---- one at a time ----


def running(s: Snapshot) -> Snapshot:
    """The same, a second before d1 is done with a last job of v1's group."""
    d1, *others = s.devices
    runs = d1._replace(held=1, holds_for=("acme", "e-v1"), free_at=NOW + 1000)
    groups = [g._replace(serving={**g.serving, "d1": 1}) if g.app_version_id == "v1" else g for g in s.groups]
    return replace(s, devices=(runs, *others), groups=tuple(groups))


def warm_beside(there: GroupView, *busy: DeviceView, here: GroupView | None = None, **changes: object) -> Snapshot:
    """A device that has v1, whose group has much work, beside another group."""
    home = here or group("v1", queue("a", MANY), typical_seconds=60.0)
    return snapshot([device("d1", installed=V1, **changes)], [home, there], busy=busy)


@pytest.mark.parametrize("priority", [Priority.LOW, Priority.MEDIUM])
def test_a_device_does_not_leave_for_older_work_or_for_a_lower_class(priority: Priority) -> None:
    assert goes_to(warm_beside(group("v2", queue("b", [0], priority)))) == "v1"


def test_an_urgent_job_calls_a_device_away_once_it_has_been_urgent_for_a_while() -> None:
    for second, expected in ((FRESH, "v1"), (PATIENT + 1, "v1"), (PATIENT, "v2"), (0, "v2")):
        assert goes_to(warm_beside(group("v2", queue("u", [second], Priority.HIGH)))) == expected


def test_a_job_that_waited_until_it_is_urgent_calls_like_one() -> None:
    """A low job is urgent after 8 hours, a medium one after 20 minutes less. (Beside work that is younger by less than
    an hour: else it calls by age.)"""
    low = PATIENT - URGENT_SECONDS
    for priority, urgent_at in ((Priority.LOW, low), (Priority.MEDIUM, low + CLASS_SECONDS)):
        here = group(
            "v1", queue("a", range(low + CLASS_SECONDS + 500, low + CLASS_SECONDS + 564)), typical_seconds=60.0
        )
        for second, expected in ((urgent_at + 1, "v1"), (urgent_at, "v2")):
            assert goes_to(warm_beside(group("v2", queue("m", [second], priority)), here=here)) == expected


def test_a_device_that_is_urgent_itself_stays() -> None:
    here = group("v1", queue("a", [FRESH], Priority.HIGH), queue("b", MANY, requirements=ANDROID))
    assert goes_to(warm_beside(group("v2", queue("u", [0], Priority.HIGH)), here=here)) == "v1"


@pytest.mark.parametrize(("free_in", "expected"), [(0, "v1"), (134, "v1"), (136, "v2")])
def test_an_urgent_job_is_left_to_a_device_of_its_group_that_is_free_soon(free_in: int, expected: str) -> None:
    server = device("b0", installed=("acme", "v2"), held=1, holds_for=("acme", "e-v2"), free_at=NOW + free_in * 1000)
    urgent = group("v2", queue("u", [0], Priority.HIGH), serving={"b0": 1})
    assert REACH_INSTALLS * INSTALL_SECONDS == 135
    assert goes_to(warm_beside(urgent, server)) == expected


def test_a_device_of_the_group_that_may_not_serve_the_urgent_job_is_none_to_wait_for() -> None:
    server = device("b0", platform="ios", installed=("acme", "v2"), held=1, holds_for=("acme", "e-v2"), free_at=NOW)
    urgent = group("v2", queue("u", [0], Priority.HIGH, requirements=ANDROID), serving={"b0": 1})
    assert goes_to(warm_beside(urgent, server, platform="android")) == "v2"
    assert goes_to(warm_beside(urgent, server._replace(platform="android"), platform="android")) == "v1"


def test_a_device_that_is_soon_done_with_a_group_of_its_own_does_that_first() -> None:
    urgent = group("v2", queue("u", [0], Priority.HIGH))
    jobs = 10
    for seconds, expected in ((STAY_INSTALLS * INSTALL_SECONDS - 1, "v1"), (STAY_INSTALLS * INSTALL_SECONDS, "v2")):
        here = group("v1", queue("a", range(900, 900 + jobs)), typical_seconds=seconds / jobs)
        assert goes_to(warm_beside(urgent, here=here)) == expected
    short = group("v1", queue("a", range(900, 910)), typical_seconds=1.0, serving={"b0": 1})
    helper = device("b0", installed=V1, held=1, holds_for=("acme", "e-v1"))
    assert goes_to(warm_beside(urgent, helper, here=short)) == "v2"  # the other one goes on with it


def test_a_device_that_is_to_leave_gets_nothing_ahead_of_what_it_runs() -> None:
    """It would never be free to leave. One that is to stay does get something."""
    urgent, fresh = (group("v2", queue("u", [second], Priority.HIGH)) for second in (PATIENT, FRESH))
    older = group("v2", queue("o", [-9000]))
    turn = {"home_since": NOW - round(TURN_INSTALLS * INSTALL_SECONDS * 1000)}
    others = group("v2", queue("b", MANY), org_id="globex")
    for s, idle in (
        (warm_beside(urgent), "v2"),
        (warm_beside(fresh), "v1"),
        (warm_beside(older), "v2"),
        (warm_beside(others, **turn), "v2"),
        (warm_beside(others, home_since=NOW), "v1"),
    ):
        assert goes_to(s) == idle
        assert goes_to(running(s)) == (None if idle == "v2" else "v1")


def test_what_is_less_urgent_is_not_given_along_with_an_urgent_job_while_another_group_calls() -> None:
    """A job that is expected to take a moment may take an hour: what is given ahead of it waits for that."""
    patient = Head(queue("a", [PATIENT - 1], Priority.HIGH).heads[0].score, "short", 0.5)
    here = queue("a", MANY, Priority.LOW)
    home = group("v1", here._replace(waiting=here.waiting + 1, heads=(patient, *here.heads)), typical_seconds=60.0)
    s = warm_beside(group("v2", queue("b", [PATIENT], Priority.HIGH)), here=home)
    assert [(a.gid, a.ulids) for a in plan(s).assignments] == [("e-v1", ("short",))]


def test_a_device_that_is_soon_done_with_a_group_of_its_own_gets_the_next_job_ahead() -> None:
    """What it runs itself does not make it one of several that serve the group."""
    urgent = group("v2", queue("u", [0], Priority.HIGH))
    for seconds, expected in ((STAY_INSTALLS * INSTALL_SECONDS - 1, "v1"), (STAY_INSTALLS * INSTALL_SECONDS, None)):
        here = group("v1", queue("a", range(900, 910)), typical_seconds=seconds / 10)
        assert goes_to(running(warm_beside(urgent, here=here))) == expected


@pytest.mark.parametrize("others", [2, 3, 4, 5])
def test_shares_hold_back_work_as_they_move_a_device_that_is_done(others: int) -> None:
    """What it runs is no device more for its org."""
    busy = [
        device(f"b{n}", installed=V1, held=1, holds_for=("acme", "e-v1"), free_at=NOW + 60_000) for n in range(others)
    ]
    busy += [
        device(f"c{n}", installed=("globex", "v2"), held=1, holds_for=("globex", "e-v2"), free_at=NOW + 60_000)
        for n in range(2)
    ]
    here = group("v1", queue("a", MANY), typical_seconds=60.0, serving={d.device_id: 1 for d in busy[:others]})
    there = group("v2", queue("b", MANY), org_id="globex", typical_seconds=600.0, serving={"c0": 1, "c1": 1})
    s = warm_beside(there, *busy, here=here, home_since=NOW - 10_000_000)
    idle = goes_to(s)
    assert idle == ("v2" if others >= 3 else "v1")
    assert goes_to(running(s)) == ("v1" if idle == "v1" else None)


def test_a_much_older_job_of_a_group_without_devices_calls_a_device_away() -> None:
    """Also where the work here is as urgent: so nothing waits for ever behind a group that never runs dry."""
    here = group("v1", queue("a", MANY, Priority.HIGH))
    as_old = 900 - URGENT_SECONDS + CLASS_SECONDS
    for second, expected in ((as_old - OLDER_SECONDS, "v1"), (as_old - OLDER_SECONDS - 1, "v2")):
        assert goes_to(warm_beside(group("v2", queue("o", [second])), here=here)) == expected
    served = group("v2", queue("o", [2 * as_old]), serving={"away": 1})
    assert goes_to(warm_beside(served, here=here)) == "v1"


def test_the_head_start_of_the_highest_class_makes_no_job_much_older() -> None:
    """Else each urgent job would call a device away at once. But it does when it has been urgent for an hour."""
    soon_done = group("v1", queue("a", range(900, 910)), typical_seconds=30.0)
    for second, expected in ((1000 - OLDER_SECONDS, "v1"), (1000 - OLDER_SECONDS - 1, "v2")):
        assert goes_to(warm_beside(group("v2", queue("u", [second], Priority.HIGH)), here=soon_done)) == expected


def test_a_much_older_job_counts_where_those_that_serve_its_group_may_not_serve_it() -> None:
    server = device("b0", platform="ios", installed=("acme", "v2"), held=1, holds_for=("acme", "e-v2"), free_at=NOW)
    here = group("v1", queue("a", MANY, Priority.HIGH))
    there = group("v2", queue("o", [-40_000], requirements=ANDROID), queue("p", MANY), serving={"b0": 1})
    assert goes_to(warm_beside(there, server, here=here, platform="android")) == "v2"


def test_a_device_goes_to_an_org_that_has_less_when_it_has_stayed_for_a_turn() -> None:
    long_ago = NOW - round(TURN_INSTALLS * INSTALL_SECONDS * 1000)
    mates = [device(f"b{n}", installed=V1, held=1, holds_for=("acme", "e-v1"), free_at=NOW) for n in range(2)]
    mine = group("v1", queue("a", MANY), typical_seconds=60.0, serving={"b0": 1, "b1": 1})
    theirs = group("v2", queue("b", MANY), org_id="globex", typical_seconds=30.0)
    assert goes_to(warm_beside(theirs, *mates, here=mine, home_since=long_ago)) == "v2"
    half = round(
        TURN_INSTALLS * INSTALL_SECONDS * 500
    )  # as long as it has to stay where it leaves two for the first one
    for since, expected in ((NOW - half, "v2"), (NOW - half + 1, "v1")):
        assert goes_to(warm_beside(theirs, *mates, here=mine, home_since=since)) == expected
    assert goes_to(warm_beside(theirs._replace(org_id="acme"), *mates, here=mine, home_since=long_ago)) == "v1"
    low = group("v2", queue("b", MANY, Priority.LOW), org_id="globex", typical_seconds=30.0)
    assert goes_to(warm_beside(low, *mates, here=mine, home_since=long_ago)) == "v1"


@pytest.mark.parametrize("here_since", [900, -7000, 1100 - URGENT_SECONDS + CLASS_SECONDS])
def test_shares_count_whatever_the_age_of_a_backlog_of_the_same_class(here_since: int) -> None:
    """Minutes, hours, or nearly eight of them: what is fresh of another org is as urgent."""
    mine = group("v1", queue("a", range(here_since, here_since + 64)), typical_seconds=60.0)
    theirs = group("v2", queue("b", range(FRESH - 20, FRESH)), org_id="globex", typical_seconds=30.0)
    turn = {"home_since": NOW - round(TURN_INSTALLS * INSTALL_SECONDS * 1000)}
    assert goes_to(warm_beside(theirs, here=mine, **turn)) == "v2"


@pytest.mark.parametrize(
    ("jobs", "seconds", "second", "expected"),
    [
        (1, 30.0, FRESH, "v1"),
        (1, 30.0, PATIENT + 1, "v1"),
        (1, 30.0, PATIENT, "v2"),  # it has waited for five installations
        (8, 28.0, FRESH - 8, "v1"),
        (8, 28.125, FRESH - 8, "v2"),  # work for five installations
    ],
)
def test_shares_move_a_device_to_a_group_that_nobody_serves_for_what_is_worth_two_installations(
    jobs: int, seconds: float, second: int, expected: str
) -> None:
    theirs = group("v2", queue("b", range(second, second + jobs)), org_id="globex", typical_seconds=seconds)
    assert goes_to(warm_beside(theirs, home_since=NOW - 10_000_000)) == expected


def test_an_org_whose_work_is_not_worth_a_turn_hides_none_whose_work_is() -> None:
    """Nor does one whose work is less urgent. Neither has a device, and the first comes first by name."""
    for priority, seconds in ((Priority.MEDIUM, 1.0), (Priority.LOW, 600.0)):
        little = [
            group(f"v{n}", queue(f"l{n}-", [FRESH], priority), org_id="a-trickle", typical_seconds=seconds)
            for n in range(3, 3 + 2 * MOST)
        ]
        theirs = group("v2", queue("b", MANY), org_id="globex", typical_seconds=30.0)
        here = group("v1", queue("a", MANY), typical_seconds=60.0)
        d1 = device("d1", installed=V1, home_since=NOW - 10_000_000)
        assert goes_to(snapshot([d1], [here, *little, theirs])) == "v2"


@pytest.mark.parametrize("held", [0, 1], ids=["idle", "runs something"])
@pytest.mark.parametrize(("mine", "theirs", "leaves"), [(3, 1, True), (2, 1, False), (2, 2, False)])
def test_shares_make_two_orgs_even(held: int, mine: int, theirs: int, leaves: bool) -> None:
    """Of four devices each gets two: the third of one goes over, whether it idles or is about to."""
    busy = [
        device(f"{org_id}{n}", installed=(org_id, "v1"), held=1, holds_for=(org_id, "e-v1"), free_at=NOW + 60_000)
        for org_id, count in (("acme", mine - 1), ("globex", theirs))
        for n in range(count)
    ]
    here = group("v1", queue("a", MANY), typical_seconds=60.0, serving={f"acme{n}": 1 for n in range(mine - 1)})
    there = group(
        "v1", queue("b", MANY), org_id="globex", typical_seconds=600.0, serving={f"globex{n}": 1 for n in range(theirs)}
    )
    s = warm_beside(there, *busy, here=here, home_since=NOW - 10_000_000)
    given = plan(running(s) if held else s).assignments
    orgs = [a.org_id for a in given]
    assert orgs == ((["globex"] if not held else []) if leaves else ["acme"])


def test_devices_that_idle_at_the_same_time_do_not_change_places() -> None:
    """Whoever is asked first does not leave for an org whose own devices are asked next."""
    orgs = ("acme", "globex", "initech")
    stayed = NOW - 10_000_000
    idle = [device(f"{n}{o}", installed=(o, "v1"), home_since=stayed) for n in range(3) for o in orgs]
    groups = [group("v1", queue(org_id, MANY), org_id=org_id, typical_seconds=600.0) for org_id in orgs]
    given = plan(snapshot(idle, groups)).assignments
    assert {a.device_id: a.org_id for a in given} == {d.device_id: d.device_id[1:] for d in idle}


def test_where_there_are_more_orgs_than_devices_they_take_turns() -> None:
    turn = round(TURN_INSTALLS * INSTALL_SECONDS)
    for stayed, second, expected in (
        (turn, 1000 - turn, "v2"),
        (turn, 999, "v2"),
        (turn, 1200 - URGENT_SECONDS, "v2"),  # also when it has waited for hours
        (turn - 1, 1000 - turn, "v1"),  # the other's turn is not over
    ):
        theirs = group("v2", queue("b", [second]), org_id="globex", typical_seconds=600.0)
        assert goes_to(warm_beside(theirs, home_since=NOW - stayed * 1000)) == expected


def test_any_number_of_old_jobs_that_nobody_here_may_serve_keeps_no_device_from_an_urgent_one() -> None:
    """A device that many wait for may be gone for days."""
    here = group("v1", queue("a", MANY), typical_seconds=60.0)
    lost = [group(f"lost{n}", queue(f"l{n}-", [-9000], requirements=ANDROID), org_id="acme") for n in range(MOST + 1)]
    urgent = group("v2", queue("u", [0], Priority.HIGH))
    assert goes_to(snapshot([device("d1", installed=V1, platform="ios")], [here, *lost, urgent])) == "v2"


# ---- all of them ----


@dataclass(frozen=True)
class Oracle:
    """The rules as the document of `switching` tells them, for the only device of a snapshot that may take work."""

    s: Snapshot
    d: DeviceView

    def groups(self) -> Iterator[GroupView]:
        """Those that may give the device a job."""
        cap = self.s.limits.group_max_devices
        for g in self.s.groups:
            full = cap is not None and self.d.device_id not in g.serving and len(g.serving) >= cap
            if g.target is self.d.target and not full and self.s.room.get(g.org_id, 1) > 0 and self.next(g):
                yield g

    def may(self, q: Queue, d: DeviceView) -> bool:
        others = (self.d, *self.s.candidates[d.target])
        return may_serve(q.requirements, q.avoid, d, others)

    def next(self, g: GroupView) -> Head | None:
        return min((h for q in g.queues if self.may(q, self.d) for h in q.heads), default=None)

    def waited(self, h: Head) -> float:
        return (self.s.now - ORDER_EPOCH_MS) / 1000 - h.score / (1000 * ORDERS_PER_MS)

    def urgency(self, h: Head) -> int:
        """Here no order is ahead of the clock; so by whole seconds this is what waited so long, less one."""
        return sum(self.waited(h) + 1 >= least for least in (CLASS_SECONDS, URGENT_SECONDS))

    def urgent(self, h: Head) -> bool:
        return self.urgency(h) == 2

    def urgent_for(self, h: Head) -> float:
        return self.waited(h) - (0, CLASS_SECONDS, URGENT_SECONDS)[self.urgency(h)]

    def install(self, g: GroupView) -> float:
        return self.s.install_seconds.get(g.target, INSTALL_SECONDS)

    def servers(self, g: GroupView, h: Head) -> list[float]:
        """Seconds until each device that serves the group, and may serve this job, is free."""
        q = next(q for q in g.queues if h in q.heads)
        views = {d.device_id: d for d in self.s.busy}
        free = []
        for device_id in g.serving:
            d = views.get(device_id)
            if d is None and (q.requirements is not ANY_DEVICE or q.avoid):
                continue
            if d is None or self.may(q, d):
                holds = d is not None and d.holds_for == (g.org_id, g.gid)
                free.append(abs(d.free_at - self.s.now) / 1000 if d is not None and holds else 0.0)
        return free

    def seconds(self, g: GroupView) -> float:
        shown = [h.seconds for q in g.queues for h in q.heads]
        known = [x for x in shown if x is not None]
        hidden = g.waiting - len(shown)
        mean = sum(known) / len(known) if known else g.typical_seconds
        return sum(known) + (len(shown) - len(known)) * g.typical_seconds + hidden * mean

    def by_class(self, here: GroupView, there: GroupView, mine: Head, theirs: Head) -> bool:
        reached = any(x <= REACH_INSTALLS * self.install(there) for x in self.servers(there, theirs))
        soon_done = not here.serving and self.seconds(here) < STAY_INSTALLS * self.install(here)
        patient = self.urgent_for(theirs) >= PATIENCE_INSTALLS * self.install(there)
        return self.urgent(theirs) and not self.urgent(mine) and not reached and patient and not soon_done

    def by_age(self, there: GroupView, mine: Head, theirs: Head) -> bool:
        older = self.waited(theirs) - self.waited(mine)
        if self.urgent(theirs) and not self.urgent(mine):
            older = min(older, self.urgent_for(theirs))
        return older > OLDER_SECONDS and not self.servers(there, theirs)

    def by_shares(self, here: GroupView, there: GroupView, mine: Head, theirs: Head) -> bool | None:
        """None: it depends on the fan-out, whether another device is worth it where some serve; see `test_fanout`."""
        devices = {g.org_id: 0 for g in (here, there)}
        for d in (*self.s.busy, self.d):
            if d.holds_for is not None and d.target is here.target:
                devices[d.holds_for[0]] = devices.get(d.holds_for[0], 0) + 1
        weight = self.s.weights.get
        giving = devices[here.org_id] / weight(here.org_id, 1.0)  # without the device, which has nothing to do
        taking = (devices[there.org_id] + 1) / weight(there.org_id, 1.0)
        if here.org_id == there.org_id or self.urgency(theirs) < self.urgency(mine):
            return False
        if giving < taking and devices[there.org_id] > 0:
            return False
        uneven = min(1.0, taking / giving) if giving else 1.0
        if (self.s.now - self.d.home_since) / 1000 < uneven * TURN_INSTALLS * self.install(here):
            return False
        if there.serving:
            return None
        needed = PATIENCE_INSTALLS * self.install(there)
        return self.seconds(there) >= needed or self.urgent_for(theirs) >= needed


def alone(s: Snapshot, d: DeviceView) -> Snapshot:
    """Where only this device may take work, and has none."""
    idle = d._replace(held=0, holds_for=None)
    groups = tuple(g._replace(serving={i: n for i, n in g.serving.items() if i != d.device_id}) for g in s.groups)
    others = tuple(o for o in s.devices if o is not d and o.held)
    return replace(s, devices=(idle,), busy=(*s.busy, *others), groups=groups)


@settings(max_examples=500)
@given(snapshots(), st.data())
def test_a_device_leaves_its_group_by_the_stated_rules_and_by_no_other(any_of: Snapshot, data: st.DataObject) -> None:
    assume(any_of.devices and any_of.groups)
    chosen = data.draw(st.sampled_from(any_of.devices))
    home = data.draw(st.sampled_from(any_of.groups))
    s = alone(any_of, chosen._replace(target=home.target, installed=(home.org_id, home.app_version_id)))
    (d,) = s.devices
    oracle = Oracle(s, d)
    open_ = list(oracle.groups())
    books = Books(s)  # where the last place under a limit is left to another device's job, see `test_places`
    assume(all(left_to(books, books.groups.work(g), d) is None for g in open_))
    here = next((g for g in open_ if (g.org_id, g.gid) == (home.org_id, home.gid)), None)
    assume(here is not None)
    assert here is not None
    mine = oracle.next(here)
    assert mine is not None
    heads = [(g, h) for g in open_ if g is not here and (h := oracle.next(g)) is not None]
    must = {g.gid + g.org_id for g, h in heads if oracle.by_class(here, g, mine, h) or oracle.by_age(g, mine, h)}
    shares = {g.gid + g.org_id: oracle.by_shares(here, g, mine, h) for g, h in heads}
    must |= {key for key, found in shares.items() if found}
    may = must | {key for key, found in shares.items() if found is None}
    (a,) = plan(s).assignments
    left = (a.org_id, a.gid) != (here.org_id, here.gid)
    event(f"{'left' if left else 'stayed'}, {'had' if must else 'may have' if may else 'had not'} to")
    assert not left or a.gid + a.org_id in may
    assert left or not must

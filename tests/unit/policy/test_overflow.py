"""Which waiting jobs go to their second target: as many as even both waits out, and only those that wait too long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.policy.forecast.overflow import LATEST_SECONDS, MOST, Candidate, Judgement, judge
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, DeviceView, Limits, Snapshot
from tests.unit.policy.snapshots import ANDROID, NOW, device, group, queue, score, snapshot

SECONDS = 60.0
V1 = ("acme", "v1")
FIRST = 1000
"""The second of submission of the first job; it is now."""
WARM = device("e1", installed=V1)
CLOUD = device("b1", target=Target.BROWSERSTACK, installed=V1)


def candidate(n: int, bound_seconds: float = 100, **changes: Any) -> Candidate:
    """The n-th job (from 0) of the group that `of` makes."""
    values: dict[str, Any] = {
        "org_id": "acme",
        "ulid": f"a{FIRST + n}",
        "app_version_id": "v1",
        "gid": "e-v1",
        "second_gid": "b-v1",
        "second": Target.BROWSERSTACK,
        "score": score(FIRST + n),
        "place": n + 1,
        "since": NOW,
        "after_ms": round(bound_seconds * 1000),
    }
    return Candidate(**values | changes)


def of(jobs: int, *devices: DeviceView, there: int = 0, **changes: Any) -> Snapshot:
    """So many jobs of a minute each wait for emulators, and some that came before for cloud devices."""
    groups = [group("v1", queue("a", range(FIRST, FIRST + jobs)), typical_seconds=SECONDS)]
    if there:
        waiting = queue("b", range(FIRST - there, FIRST))
        groups.append(group("v1", waiting, gid="b-v1", target=Target.BROWSERSTACK, typical_seconds=SECONDS))
    return snapshot(devices, groups, **changes)


def going(judged: Sequence[Judgement]) -> list[int]:
    return [n for n, judgement in enumerate(judged) if judgement.moves]


def test_below_the_bound_nothing_goes_though_the_second_target_idles() -> None:
    assert going(judge(of(4, WARM, CLOUD), [candidate(n, 1000) for n in range(4)])) == []


def test_as_many_go_as_even_both_queues_out() -> None:
    judged = judge(of(10, WARM, CLOUD), [candidate(n) for n in range(10)])
    # The first three start within the bound. Of the others every second one goes, once as many wait there.
    assert going(judged)[:2] == [3, 4]
    assert 4 <= len(going(judged)) <= 5
    stays = [j.expected_wait_ms for j in judged if not j.moves]
    assert stays[0] == 0


def test_the_wait_that_a_job_goes_for_is_the_one_that_those_before_it_left_it() -> None:
    judged = judge(of(10, WARM, CLOUD), [candidate(n) for n in range(10)])
    waits = [j.expected_wait_ms for j in judged if j.moves and j.expected_wait_ms is not None]
    assert all(100_000 < wait < 10 * 60_000 for wait in waits)
    assert waits[0] == waits[1]  # it stands where the one before it stood


def test_nothing_goes_where_the_second_target_has_no_device_or_is_as_busy() -> None:
    every = [candidate(n) for n in range(10)]
    assert going(judge(of(10, WARM), every)) == []
    assert going(judge(of(10, WARM, CLOUD, there=30), every)) == []


def test_what_waits_there_comes_before_what_is_younger() -> None:
    alone, behind = (going(judge(of(10, WARM, CLOUD, there=n), [candidate(n) for n in range(10)])) for n in (0, 3))
    assert 0 < len(behind) < len(alone)


def test_an_installation_there_counts() -> None:
    cold = device("b1", target=Target.BROWSERSTACK)
    bound = INSTALL_SECONDS / 2
    judged = judge(of(2, WARM, cold), [candidate(n, bound) for n in range(2)])
    assert going(judged) == []  # the second starts here in half a minute, and there in 45 s
    assert going(judge(of(2, WARM, CLOUD), [candidate(n, bound) for n in range(2)])) == [1]


def test_what_a_job_has_waited_counts() -> None:
    judged = judge(of(4, WARM, CLOUD), [candidate(n, 1000, since=NOW - 990_000) for n in range(4)])
    assert going(judged) == [1, 3]  # with the first gone, the second is as soon here as there
    assert judged[1].expected_wait_ms is not None
    assert judged[1].expected_wait_ms > 1_000_000


def test_a_job_that_was_foretold_to_start_at_any_moment_goes_when_it_has_waited_longer_than_it_accepts() -> None:
    """A test before it that does not end is foretold to end now, for as long as it runs."""
    fresh, waited = (judge(of(1, WARM, CLOUD), [candidate(0, since=NOW - ms)])[0] for ms in (100_000, 100_001))
    assert not fresh.moves
    assert waited.moves
    assert waited.expected_wait_ms == 2 * 100_001
    cold = device("b1", target=Target.BROWSERSTACK)  # an installation there takes 45 s
    short = [judge(of(1, WARM, cold), [candidate(0, 1, since=NOW - ms)])[0].moves for ms in (44_000, 46_000)]
    assert short == [False, True]


def test_where_no_device_comes_to_the_first_target_a_job_goes_when_it_has_waited_for_so_long() -> None:
    fresh, waited = (judge(of(1, CLOUD), [candidate(0, since=NOW - ms)])[0] for ms in (100_000, 100_001))
    assert not fresh.moves
    assert waited.moves
    assert waited.expected_wait_ms is None


def test_one_that_is_on_no_queue_is_left_alone() -> None:
    (judged,) = judge(of(1, CLOUD), [candidate(0, place=None, since=NOW - 10_000_000)])
    assert not judged.moves


def test_requirements_hold_on_both_targets() -> None:
    able = device("b1", target=Target.BROWSERSTACK, platform="android", installed=V1)
    waiting = queue("a", range(FIRST, FIRST + 5), requirements=ANDROID)
    here = device("e1", platform="android", installed=V1)
    for there, goes in ((able, True), (CLOUD, False)):
        look = snapshot([here, there], [group("v1", waiting, typical_seconds=SECONDS)])
        judged = judge(look, [candidate(n, requirements=ANDROID) for n in range(5)])
        assert bool(going(judged)) is goes


def test_a_limit_of_the_org_lets_nothing_go_to_where_it_would_wait_too() -> None:
    held = device("e1", installed=V1, held=1, holds_for=("acme", "e-v1"), free_at=NOW + 60_000)
    look = snapshot(
        [CLOUD],
        [group("v1", queue("a", range(FIRST, FIRST + 5)), typical_seconds=SECONDS, serving={"e1": 1})],
        busy=(held,),
        room={"acme": 0},
        limits=Limits(),
    )
    assert going(judge(look, [candidate(n) for n in range(5)])) == []


def test_urgent_ones_go_first_in_whatever_order_they_come() -> None:
    look = of(10, WARM, CLOUD)
    high = candidate(9, score=score(FIRST + 9, Priority.HIGH))
    every = [candidate(n) for n in range(9)] + [high]
    there = {c.ulid for c, j in zip(every, judge(look, every), strict=True) if j.moves}
    back = {c.ulid for c, j in zip(every[::-1], judge(look, every[::-1]), strict=True) if j.moves}
    assert high.ulid in there
    assert there == back


def test_few_go_at_a_time_and_the_others_are_judged_at_once_again() -> None:
    jobs = 3 * MOST
    clouds = [device(f"b{n}", target=Target.BROWSERSTACK, installed=V1) for n in range(jobs)]
    judged = judge(of(jobs, WARM, *clouds), [candidate(n, 10) for n in range(jobs)])
    assert 0 < len(going(judged)) <= MOST
    assert judged[-1].again == NOW + 1000


def test_a_job_that_stays_is_judged_again_in_a_share_of_its_bound() -> None:
    agains = [judge(of(1, WARM), [candidate(0, bound)])[0].again - NOW for bound in (1, 100, 100_000)]
    assert agains == [1000, 10_000, round(LATEST_SECONDS * 1000)]

"""Shares of orgs: devices by weight, how uneven two orgs are, and how far one is from what it should have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.org_weights import LEAST, MOST
from qgjob_coordinator.policy.planning import fairness
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.snapshot import DeviceView
from tests.unit.policy.snapshots import NOW, device, group, queue, score, snapshot

ORGS = ("acme", "globex", "initech")


# Those of emulators, as nearly all devices are here.


def share(books: Books, org_id: str, more: int = 0) -> float:
    return fairness.share(books, Target.EMULATOR, org_id, more)


def evenness(books: Books, giver: str, taker: str) -> float:
    return fairness.evenness(books, Target.EMULATOR, giver, taker)


def owed(books: Books, org_id: str) -> float:
    return fairness.owed(books, Target.EMULATOR, org_id)


def owes(books: Books, giver: str, taker: str) -> bool:
    return fairness.owes(books, Target.EMULATOR, giver, taker)


def holding(org_id: str, device_id: str, **changes: Any) -> DeviceView:
    """A device that has work of an org."""
    values: dict[str, Any] = {"installed": (org_id, "v1"), "held": 1, "holds_for": (org_id, "e-v1"), "free_at": NOW}
    return device(device_id, **values | changes)


def idlers(count: int) -> list[DeviceView]:
    return [device(f"idle{n}") for n in range(count)]


def fleet(
    devices: Mapping[str, int],
    idle: int = 0,
    *,
    waiting: tuple[str, ...] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Books:
    """Orgs with so many devices each; all of them have waiting jobs, unless it says which do."""
    busy = [holding(org_id, f"{org_id}{n}") for org_id, count in devices.items() for n in range(count)]
    orgs = devices if waiting is None else waiting
    groups = [group("v1", queue(f"{org_id}-", [900]), org_id=org_id) for org_id in orgs]
    return Books(snapshot(idlers(idle), groups, busy=busy, weights=weights or {}))


# ---- share ----


def test_a_share_is_devices_by_weight() -> None:
    books = fleet({"acme": 4, "globex": 4, "initech": 4}, weights={"acme": 2.0, "globex": 0.5})
    assert [share(books, org_id) for org_id in ORGS] == [2.0, 8.0, 4.0]  # one without a weight has 1


def test_a_share_is_that_of_a_device_more_or_less_if_asked() -> None:
    books = fleet({"acme": 3}, weights={"acme": 2.0})
    assert [share(books, "acme", more) for more in (-3, -1, 0, 1)] == [0.0, 1.0, 1.5, 2.0]


def test_an_org_that_nobody_serves_or_knows_has_no_share() -> None:
    books = fleet({"acme": 0}, idle=2)
    assert share(books, "acme") == share(books, "unheard-of") == 0.0
    assert share(books, "unheard-of", 1) == 1.0


def test_a_device_counts_once_however_much_it_holds_and_whether_or_not_it_may_take_more() -> None:
    free, busy = holding("acme", "d1", held=1), holding("acme", "d2", held=5)
    books = Books(snapshot([free], [group("v1", queue("a", [900]))], busy=[busy]))
    assert share(books, "acme") == 2.0


def cloud(org_id: str, device_id: str) -> DeviceView:
    return holding(org_id, device_id, target=Target.DEVICE, holds_for=(org_id, "d-v1"))


def test_each_target_is_shared_for_itself() -> None:
    many = [cloud("acme", f"c{n}") for n in range(10)]
    theirs = [holding("globex", f"e{n}") for n in range(3)]
    groups = [group("v1", queue(f"{org_id}-", [900]), org_id=org_id) for org_id in ORGS]
    books = Books(snapshot([device("cloud", target=Target.DEVICE), *idlers(1)], groups, busy=[*many, *theirs]))
    assert [share(books, org_id) for org_id in ORGS] == [0.0, 3.0, 0.0]
    assert [fairness.share(books, Target.DEVICE, org_id) for org_id in ORGS] == [10.0, 0.0, 0.0]
    assert owes(books, "globex", "acme")
    assert not owes(books, "acme", "globex")
    assert evenness(books, "globex", "acme") == 1 / 3
    assert (
        owed(books, "acme") == owed(books, "initech") == 1 - 1 / 3
    )  # of four emulators globex may have three less one
    assert fairness.owed(books, Target.DEVICE, "globex") == 1 - 1 / 9


def test_an_org_with_many_cloud_devices_gets_its_share_of_emulators() -> None:
    many = [cloud("acme", f"c{n}") for n in range(10)]
    groups = [
        group(f"v{n}-{org_id}", queue(f"{org_id}{n}-", range(900, 908)), org_id=org_id)
        for org_id in ("acme", "globex")
        for n in range(12)
    ]
    given_to = [a.org_id for a in plan(snapshot(idlers(12), groups, busy=many)).assignments]
    assert (given_to.count("acme"), given_to.count("globex")) == (6, 6)


def test_a_device_that_only_has_a_build_is_nobodys() -> None:
    warm = device("d1", installed=("acme", "v1"))
    assert share(Books(snapshot([warm], [group("v1", queue("a", [900]))])), "acme") == 0.0


def test_a_device_is_its_orgs_also_when_nothing_waits_there_any_more() -> None:
    assert share(fleet({"acme": 2, "globex": 1}, waiting=("globex",)), "acme") == 2.0


def test_whoever_is_given_a_device_has_it_at_once() -> None:
    books = fleet({"acme": 1}, idle=2)
    books.serves(device("idle0"), "acme")
    assert share(books, "acme") == 2.0


# ---- owes: of a device that has nothing to do, and so counts for nobody ----


@pytest.mark.parametrize(
    ("giver", "taker", "expected"),
    [
        (0, 0, False),  # it would have less than the other one then
        (1, 0, True),
        (1, 1, False),
        (2, 1, True),  # the third of three goes over, and both have two
        (3, 3, False),
        (4, 3, True),
        (2, 5, False),
    ],
)
def test_a_device_goes_over_only_if_the_giver_has_no_smaller_share_afterwards(
    giver: int, taker: int, expected: bool
) -> None:
    assert owes(fleet({"acme": giver, "globex": taker}), "acme", "globex") is expected


@pytest.mark.parametrize(
    ("giver", "taker", "weights", "expected"),
    [
        (5, 2, {"acme": 2.0}, False),  # 5 of 2 and 3 of 1
        (6, 2, {"acme": 2.0}, True),  # 6 of 2 and 3 of 1
        (2, 3, {"globex": 2.0}, True),  # 2 of 1 and 4 of 2
        (1, 3, {"globex": 2.0}, False),
        (1, 0, {"globex": LEAST}, False),  # one device is more than its share already
        (0, 0, {"globex": MOST}, False),  # who would have nothing owes nothing
        (1, 900, {"globex": MOST}, True),
    ],
)
def test_shares_are_compared_by_weight(giver: int, taker: int, weights: Mapping[str, float], expected: bool) -> None:
    assert owes(fleet({"acme": giver, "globex": taker}, weights=weights), "acme", "globex") is expected


def test_nobody_owes_itself() -> None:
    assert not owes(fleet({"acme": 9}), "acme", "acme")


# ---- to whom shares may give a device ----


def takers(books: Books, giver: str, orgs: tuple[str, ...] = ORGS) -> list[str]:
    return fairness.takers(books, Target.EMULATOR, orgs, giver)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ((3, 1, 0), ["initech", "globex"]),  # all of them, the least share first
        ((3, 0, 0), ["globex", "initech"]),
        ((3, 2, 2), ["globex", "initech"]),  # the device has nothing to do: it is the fourth
        ((3, 3, 2), ["initech"]),
        ((0, 0, 3), ["globex"]),  # they take turns
        ((1, 1, 5), []),
    ],
)
def test_shares_give_to_orgs_that_have_none_or_no_more_than_the_giver_then(
    devices: tuple[int, ...], expected: list[str]
) -> None:
    assert takers(fleet(dict(zip(ORGS, devices, strict=True))), "acme") == expected


def test_of_several_takers_each_is_judged_by_its_own_weight() -> None:
    """One that has the least share, but would have too much, hides none that would not."""
    books = fleet({"acme": 4, "globex": 1, "initech": 9}, weights={"globex": 0.3, "initech": 2.6})
    assert [share(books, org_id) for org_id in ("globex", "initech")] == pytest.approx([1 / 0.3, 9 / 2.6])
    assert takers(books, "acme") == ["initech"]


@given(st.lists(st.integers(0, 5), min_size=3, max_size=3), st.lists(st.sampled_from((0.5, 1.0, 3.0)), min_size=3))
def test_a_taker_has_none_or_is_owed(devices: list[int], weights: list[float]) -> None:
    books = fleet(dict(zip(ORGS, devices, strict=True)), weights=dict(zip(ORGS, weights, strict=False)))
    for giver in ORGS:
        found = takers(books, giver)
        assert set(found) == {o for o in ORGS if o != giver and (share(books, o) == 0 or owes(books, giver, o))}
        assert found == sorted(found, key=lambda o: (share(books, o), o))


# ---- what is worth a turn ----


@pytest.mark.parametrize(
    ("seconds", "priority", "ago", "expected"),
    [
        (225.0, Priority.LOW, 0, True),  # five installations' worth
        (224.9, Priority.LOW, 0, False),
        (1.0, Priority.LOW, 224, False),
        (1.0, Priority.LOW, 225, True),
        (1.0, Priority.MEDIUM, 224, False),  # its head start is no waiting
        (1.0, Priority.MEDIUM, 225, True),
        (1.0, Priority.HIGH, 224, False),
        (1.0, Priority.HIGH, 225, True),
    ],
)
def test_a_turn_is_worth_five_installations_of_work_or_of_waiting(
    seconds: float, priority: Priority, ago: int, expected: bool
) -> None:
    books = fleet({"acme": 1})
    assert fairness.PATIENCE_INSTALLS == 5
    assert fairness.worth_a_turn(books, Target.EMULATOR, seconds, score(1000 - ago, priority)) is expected


# ---- evenness ----


@pytest.mark.parametrize(
    ("giver", "taker", "expected"),
    [
        (4, 0, 1 / 4),  # 4 and 1
        (4, 1, 2 / 4),
        (4, 2, 3 / 4),
        (4, 3, 1.0),
        (4, 9, 1.0),  # no more than even
        (1, 0, 1.0),
        (0, 0, 1.0),  # the giver would have nothing
    ],
)
def test_two_orgs_are_as_even_as_their_shares_after_a_device_went_over(giver: int, taker: int, expected: float) -> None:
    assert evenness(fleet({"acme": giver, "globex": taker}), "acme", "globex") == expected


def test_evenness_is_by_weight() -> None:
    books = fleet({"acme": 4, "globex": 1}, weights={"globex": 4.0})
    assert evenness(books, "acme", "globex") == 2 / 4 / 4
    assert evenness(books, "globex", "acme") == 1.0


def test_an_org_is_even_with_itself() -> None:
    assert evenness(fleet({"acme": 9}), "acme", "acme") == 1.0


# ---- owed ----


def test_an_org_alone_is_owed_nothing() -> None:
    assert owed(fleet({"acme": 0}), "acme") == 0.0
    assert owed(fleet({"acme": 3}), "acme") == 0.0
    assert owed(fleet({"acme": 0}, idle=16), "acme") == 0.0


@pytest.mark.parametrize(
    ("devices", "idle", "expected"),
    [
        ({"acme": 0, "globex": 5}, 0, 1 - 1 / 4),  # as if one of them came over
        ({"acme": 1, "globex": 5}, 0, 1 - 2 / 4),
        ({"acme": 3, "globex": 5}, 0, 0.0),
        ({"acme": 9, "globex": 5}, 0, 0.0),
        ({"acme": 0, "globex": 1}, 0, 0.0),  # there is nothing to come over
        ({"acme": 0, "globex": 0}, 0, 0.0),
        ({"acme": 0, "globex": 0}, 1, 0.0),  # one idle device may be either's
        ({"acme": 0, "globex": 0}, 5, 1 - 1 / 4),  # of idle ones it may have one, the others all the rest
        ({"acme": 1, "globex": 3}, 4, 1 - 2 / 6),
        ({"acme": 0, "globex": 3, "initech": 9}, 0, 1 - 1 / 8),  # beside the one that has most
        ({"acme": 0, "globex": 9, "initech": 3}, 0, 1 - 1 / 8),
        ({"globex": 9}, 0, 1 - 1 / 8),  # one that nobody heard of
    ],
)
def test_an_org_is_owed_what_it_lacks_of_the_largest_share(
    devices: Mapping[str, int], idle: int, expected: float
) -> None:
    assert owed(fleet(devices, idle), "acme") == pytest.approx(expected)


def test_orgs_that_have_as_much_are_owed_as_much() -> None:
    books = fleet(dict.fromkeys(ORGS, 1), idle=5)
    assert [owed(books, o) for o in ORGS] == [1 - 2 / 5] * 3


def test_the_org_that_has_most_is_owed_nothing() -> None:
    books = fleet({"acme": 9, "globex": 3, "initech": 1})
    assert owed(books, "acme") == 0.0
    assert 0.0 < owed(books, "globex") < owed(books, "initech")


def test_idle_devices_go_only_to_orgs_with_waiting_jobs() -> None:
    devices = {"acme": 1, "globex": 3}
    assert owed(fleet(devices, 4, waiting=("acme",)), "acme") == 0.0
    assert owed(fleet(devices, 4, waiting=("acme", "globex")), "acme") > 0.0


def test_what_an_org_has_counts_also_when_nothing_waits_there() -> None:
    assert owed(fleet({"acme": 0, "globex": 3}, waiting=("acme",)), "acme") == 1 - 1 / 2


def test_what_is_owed_is_by_weight() -> None:
    devices = {"acme": 1, "globex": 5}
    assert owed(fleet(devices, weights={"acme": 2.0}), "acme") == 1 - 1 / 4
    assert owed(fleet(devices, weights={"acme": 0.5}), "acme") == 0.0
    assert owed(fleet(devices, weights={"globex": 2.0}), "acme") == 0.0


def test_as_devices_are_dealt_those_that_get_none_are_owed_more_of_what_is_left() -> None:
    books = fleet({"acme": 0, "globex": 0}, idle=3)
    found = [owed(books, "acme")]
    for n in range(3):
        books.serves(device(f"idle{n}"), "globex")
        found.append(owed(books, "acme"))
    assert found == [1 - 1 / 2] * 4  # of three devices, whoever has them already, two are another's
    books = fleet({"acme": 0, "globex": 0}, idle=4)
    assert (owed(books, "acme"), owed(books, "globex")) == (1 - 1 / 3, 1 - 1 / 3)
    books.serves(device("idle0"), "acme")
    assert (owed(books, "acme"), owed(books, "globex")) == (0.0, 1 - 1 / 3)


# ---- laws ----

counts = st.fixed_dictionaries(dict.fromkeys(ORGS, st.integers(0, 12)))
weightings = st.fixed_dictionaries(dict.fromkeys(ORGS, st.sampled_from((LEAST, 0.3, 1.0, 2.0, 7.0, MOST))))
idle_counts = st.integers(0, 6)


@given(counts, weightings)
def test_a_device_that_went_over_is_not_owed_back(devices: dict[str, int], weights: dict[str, float]) -> None:
    """So no two orgs send one to and fro: in either org it counts for neither when it asks."""
    books = fleet(devices, weights=weights)
    assert not (owes(books, "acme", "globex") and owes(books, "globex", "acme"))


@given(counts, idle_counts, weightings)
def test_all_shares_are_from_none_to_all(devices: dict[str, int], idle: int, weights: dict[str, float]) -> None:
    books = fleet(devices, idle, weights=weights)
    assert all(0.0 <= owed(books, o) <= 1.0 for o in ORGS)
    assert all(0.0 < evenness(books, o, other) <= 1.0 for o in ORGS for other in ORGS)
    assert idle or not all(owed(books, o) for o in ORGS), "all are owed by nobody"


@given(counts, idle_counts, weightings, st.sampled_from((0.125, 2.0, 64.0)))
def test_only_the_ratio_of_weights_counts(
    devices: dict[str, int], idle: int, weights: dict[str, float], times: float
) -> None:
    """By powers of two, which change no digit of a number."""

    def all_of(books: Books) -> list[float]:
        pairs = [(a, b) for a in ORGS for b in ORGS]
        ratios = [owed(books, o) for o in ORGS] + [evenness(books, a, b) for a, b in pairs]
        return ratios + [owes(books, a, b) for a, b in pairs]

    scaled = {org_id: weight * times for org_id, weight in weights.items()}
    assert all_of(fleet(devices, idle, weights=scaled)) == all_of(fleet(devices, idle, weights=weights))


@given(counts, idle_counts, st.permutations(ORGS))
def test_names_and_order_do_not_matter(devices: dict[str, int], idle: int, order: list[str]) -> None:
    """Whoever has as many devices is owed as much, in whatever order orgs are seen."""
    renamed = {order[n]: devices[org_id] for n, org_id in enumerate(ORGS)}
    books, other = fleet(devices, idle), fleet(dict(reversed(renamed.items())), idle)
    assert [owed(books, o) for o in ORGS] == [owed(other, o) for o in order]


@given(counts, idle_counts, weightings)
def test_who_has_more_is_owed_no_more_and_who_counts_more_no_less(
    devices: dict[str, int], idle: int, weights: dict[str, float]
) -> None:
    least = owed(fleet(devices, idle, weights=weights), "acme")
    richer = devices | {"acme": devices["acme"] + 1}
    assert owed(fleet(richer, idle, weights=weights), "acme") <= least
    others = devices | {"globex": devices["globex"] + 1}
    assert owed(fleet(others, idle, weights=weights), "acme") >= least
    assert owed(fleet(devices, idle, weights=weights | {"acme": 2 * weights["acme"]}), "acme") >= least

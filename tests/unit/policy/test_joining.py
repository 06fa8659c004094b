"""Which group a cold device joins: the heap chooses as a look at every group would, and each rule by itself."""

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

from hypothesis import event, given, settings

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.fairness import PATIENCE_INSTALLS
from qgjob_coordinator.policy.planning.fanout import worth_joining
from qgjob_coordinator.policy.planning.places import may_take
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.precedence import EVEN_SECONDS, Rank, rank
from qgjob_coordinator.policy.planning.work import Work
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, DeviceView, Limits, Queue, Snapshot
from tests.unit.policy.snapshots import ANDROID, NOW, device, group, queue, snapshot, snapshots

V1 = ("acme", "v1")


class EveryGroup:
    """The groups of a target, each looked at for each device. `came_to_be_worth_it`: one that was not at first."""

    came_to_be_worth_it = False

    def __init__(self, books: Books, target: Target) -> None:
        self._books = books
        self._works = [books.groups.work(group) for group in books.groups.of(target)]
        self._was_not = [w for w in self._works if w.plain and not self._worth(w)]

    def __bool__(self) -> bool:
        return True

    def best(self, device: DeviceView) -> Work | None:
        books = self._books
        if any(map(self._worth, self._was_not)):
            EveryGroup.came_to_be_worth_it = True
        self._was_not = [w for w in self._works if w.plain and not self._worth(w)]
        found: list[tuple[Rank, Work]] = []
        for work in self._works:
            if may_take(books, work, device):
                heads = [h for line in books.lines(work, device) if (h := work.first((line,)))]
                found += [(rank(books, work, h), work) for h in heads if worth_joining(books, work, h)]
        return min(found, key=lambda ranked: ranked[0])[1] if found else None

    def _worth(self, work: Work) -> bool:
        head = work.first((0,))
        return head is not None and worth_joining(self._books, work, head)


@settings(max_examples=300)
@given(snapshots())
def test_the_heap_chooses_what_a_look_at_every_group_would(s: Snapshot) -> None:
    """What was not worth it before the first device does not come to be in the round, and is not looked at again."""
    EveryGroup.came_to_be_worth_it = False
    with patch("qgjob_coordinator.policy.planning.plan.Offers", EveryGroup):
        expected = plan(s)
    event(f"{sum(a.install > 0 for a in expected.assignments)} join")
    assert not EveryGroup.came_to_be_worth_it
    assert plan(s) == expected


def joined(s: Snapshot) -> dict[str, str]:
    """The version that each device is given work of."""
    versions = {(g.org_id, g.gid): g.app_version_id for g in s.groups}
    return {a.device_id: versions[a.org_id, a.gid] for a in plan(s).assignments}


def test_the_more_urgent_group_comes_first_then_the_smaller_share_then_the_older_job() -> None:
    served = device("b0", installed=("acme", "v9"), held=1, holds_for=("acme", "e-v9"))
    old = group("old", queue("o", [100]))
    other = group("other", queue("p", range(900, 910)), org_id="globex")
    little = group("little", queue("q", [900]), org_id="globex")
    waited = group("waited", queue("r", [1000 - PATIENCE_INSTALLS * INSTALL_SECONDS]), org_id="globex")
    urgent = group("urgent", queue("u", [990], Priority.HIGH))
    for groups, expected in (
        ([old, other, urgent], "urgent"),  # though its org has the larger share, and its job is the youngest
        ([old, other], "other"),  # though its job is younger
        ([old, little], "old"),  # a single job is not worth two installations
        ([old, waited], "waited"),  # but it is when it has waited for five
        ([old, little, other], "other"),  # nor does it hide what else its org has
        ([old, group("young", queue("y", [900]))], "old"),
    ):
        assert joined(snapshot([device("d1")], groups, busy=(served,))) == {"d1": expected}


def test_of_jobs_of_one_age_the_group_with_most_work_for_each_device_comes_first() -> None:
    at = 10 * EVEN_SECONDS
    few, many = group("few", queue("f", [at])), group("many", queue("m", range(at + 1, at + 9)))
    assert joined(snapshot([device("d1")], [few, many])) == {"d1": "many"}
    later = group("many", queue("m", range(at + EVEN_SECONDS, at + EVEN_SECONDS + 9)))
    assert joined(snapshot([device("d1")], [few, later])) == {"d1": "few"}


def test_a_group_that_has_as_many_devices_as_it_may_is_still_open_to_those() -> None:
    """The store may say that an idle device serves a group."""
    full = group("v1", queue("a", range(900, 940)), serving={"d2": 1})
    given = joined(snapshot([device("d1"), device("d2")], [full], limits=Limits(group_max_devices=1)))
    assert given["d2"] == "v1"


def test_a_device_joins_for_a_queue_that_those_that_serve_the_group_may_not_serve() -> None:
    """Also behind an older job that they may."""
    server = device("b0", platform="ios", installed=V1, held=1, holds_for=("acme", "e-v1"), free_at=NOW)
    served = group("v1", queue("any", [100]), queue("android", [900], requirements=ANDROID), serving={"b0": 1})
    assert joined(snapshot([device("d1", platform="android")], [served], busy=(server,))) == {"d1": "v1"}
    assert joined(snapshot([device("d1", platform="ios")], [served], busy=(server,))) == {}


def test_where_installations_take_no_time_every_idle_device_joins() -> None:
    jobs = group("v1", queue("a", range(900, 904)))
    free = snapshot([device(f"d{n}") for n in range(4)], [jobs], install_seconds={Target.EMULATOR: 0.0})
    assert len(joined(free)) == 4


def test_a_small_org_gets_its_part_of_devices_that_are_free_at_once() -> None:
    """16 devices and 40 jobs of it beside 4,000: 8 would be its share, and the last one would hardly pay."""
    small = group("v0", queue("a", range(40)), org_id="globex")
    big = [group(f"v{n}", Queue(ANY_DEVICE, (), 1000, queue(f"b{n}-", range(40)).heads)) for n in range(1, 5)]
    given = plan(snapshot([device(f"d{n:02}") for n in range(16)], [*big, small])).assignments
    assert Counter(a.org_id for a in given)["globex"] == 7

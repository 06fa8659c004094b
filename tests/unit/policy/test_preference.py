"""Which of several devices is asked first, where each would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import Requirements
from qgjob_coordinator.policy.planning.books import Books
from qgjob_coordinator.policy.planning.plan import plan
from qgjob_coordinator.policy.planning.preference import Preference
from qgjob_coordinator.policy.snapshot import DeviceView, Queue
from tests.unit.policy.snapshots import NOW, device, group, queue, snapshot

ESIM = Requirements(labels=(("sim", "esim"),))
FIFTEEN = Requirements(os_version="15")
PLAIN, OTHER = device("a-plain"), device("b-plain")


def order(devices: Sequence[DeviceView], *queues: Queue, cold: bool = True) -> list[str]:
    """The devices in the order in which they are asked, with these jobs waiting and one group of v9 that has ended."""
    groups = [group("v1", queue("a", [900]), *queues)]
    books = Books(snapshot(devices, groups))
    preference = Preference(books.snapshot, books.groups)
    asked = preference.cold(Target.EMULATOR, devices) if cold else preference.warm(devices)
    return [d.device_id for d in asked]


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize(
    ("changes", "queues"),
    [
        ({"labels": {"sim": "esim"}}, ()),  # nothing asks for it now
        ({"os_version": "15.1"}, (queue("c", [950], requirements=FIFTEEN),)),
        ({"device_id": "a"}, (queue("c", [950], requirements=Requirements(device_id="a")),)),
        ({"installs": 1}, ()),
        ({"busy_hours": 0.1}, ()),
    ],
    ids=["labelled", "meets what is asked", "asked for by its id", "installations", "hours"],
)
def test_what_is_sought_after_or_worn_goes_last(changes: dict[str, Any], queues: tuple[Queue, ...], cold: bool) -> None:
    spared = device("a")._replace(**changes)
    assert order([spared, PLAIN, OTHER], *queues, cold=cold) == ["a-plain", "b-plain", spared.device_id]


def test_what_is_asked_for_counts_before_labels_and_these_before_wear() -> None:
    wanted = device("a", os_version="15")
    labelled = device("b", labels={"rack": "1"})
    worn = device("c", installs=90)
    assert order([wanted, labelled, worn], queue("c", [950], requirements=FIFTEEN)) == ["c", "b", "a"]


def test_a_device_that_meets_only_a_part_of_what_is_asked_is_as_good_as_any() -> None:
    both = Requirements(os_version="15", labels=(("sim", "esim"),))
    half = device("a", os_version="15")
    assert order([PLAIN, half], queue("c", [950], requirements=both)) == ["a", "a-plain"]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_longest_idle_goes_and_of_those_that_idle_about_as_long_the_least_worn(reverse: bool) -> None:
    """An installation takes 45 s."""
    lately = device("a", installed=("acme", "v8"), idle_since=NOW - 1000)
    long_idle = device("b", installed=("acme", "v9"), idle_since=NOW - 89_000, installs=2)
    same_build = device("c", installed=("acme", "v9"), idle_since=NOW - 50_000, installs=1)
    in_use = device("d", installed=("acme", "v1"), idle_since=NOW - 99_000)
    devices = [lately, long_idle, same_build, in_use, PLAIN]
    assert order(devices[::-1] if reverse else devices) == ["a-plain", "c", "b", "a", "d"]


def test_the_device_that_a_job_may_need_is_left_free() -> None:
    """Both are warm and idle: a plain job leaves the one with the label, which a job may ask for in a moment."""
    devices = [device("a", installed=("acme", "v1"), labels={"sim": "esim"}), device("b", installed=("acme", "v1"))]
    (only,) = plan(snapshot(devices, [group("v1", queue("a", [900]))])).assignments
    assert only.device_id == "b"
    both = plan(snapshot(devices, [group("v1", queue("a", [900]), queue("e", [950], requirements=ESIM))]))
    assert {a.device_id: a.ulids for a in both.assignments} == {"b": ("a900",), "a": ("e950",)}

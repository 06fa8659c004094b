"""When a host is taken out since nothing can be started on it, and when it is a build, a job or a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import pytest

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.health.hosts import OtherHosts, against, besides, host, needed, unstarted, worth_telling
from qgjob_coordinator.policy.health.judging import TOLD_MS, judge
from qgjob_coordinator.policy.health.others import Devices, together
from qgjob_coordinator.policy.health.record import (
    CLEAN,
    HOST_MARKS_MOST,
    Build,
    Kind,
    Mark,
    Record,
    failed,
    quarantined,
    started,
)
from qgjob_coordinator.policy.health.words import because_of_host

B1, B2, B3 = [("acme", f"eB{n}") for n in (1, 2, 3)]
NOW = 10_000_000


def device(*of: Build, first: int = 0, at: int = 0, elsewhere: Sequence[int] = ()) -> Record:
    """A device on which one job of each of these builds could not be started; those jobs ran `elsewhere`."""
    jobs = [(n, build) for n, build in enumerate(of, first)]
    found = [Mark(Kind.DEVICE, build, f"job{n}", at, sure=n in elsewhere) for n, build in jobs]
    found += [Mark(Kind.HOST, build, f"job{n}", at) for n, build in jobs]
    return reduce(failed, found, Record(proven=True))


def of(count: int, **failing: int) -> OtherHosts:
    """So many other hosts; on how many of them each build could not be started."""
    return OtherHosts(count, {("acme", f"e{name}"): number for name, number in failing.items()})


def test_three_jobs_on_any_devices_of_a_host_are_enough_before_they_ran_elsewhere() -> None:
    spread = [device(B1), device(B1, first=1), device(B1, first=2), CLEAN]
    assert against(spread[:2], of(1), NOW) == 0
    assert against(spread, of(1), NOW) == 3
    assert against([device(B1)] * 3, of(1), NOW) == 0, "one job that was tried on three devices is one"


def test_a_build_that_can_not_be_started_on_another_host_says_nothing_of_this_one() -> None:
    assert against([device(B1, B1, B1)], of(1, B1=1), NOW) == 0
    assert against([device(B1, B1, B1)], of(5, B1=1), NOW) == 0, "one build: any other host is a sign"
    assert against([device(B1, B1, B1, B2)], of(1, B1=1), NOW) == 0, "and one job of another build is not enough"


def test_of_several_builds_half_of_the_other_hosts_may_fail_with_each() -> None:
    """Two of three hosts that were set up wrong are no sign of the builds; all that were are."""
    broken = [device(B1, B2, B1)]
    assert against(broken, of(2, B1=1, B2=1), NOW) == 3
    assert against(broken, of(2, B1=2, B2=2), NOW) == 0
    assert against(broken, of(1, B1=1, B2=1), NOW) == 0


def test_what_ran_elsewhere_is_held_against_the_host_whatever_others_do() -> None:
    assert against([device(B1, B1, B1, elsewhere=(0, 1, 2))], of(2, B1=1), NOW) == 3
    assert against([device(B1, B1, B1, elsewhere=(0, 1))], of(2, B1=1), NOW) == 0


def test_a_host_that_is_alone_is_taken_out_for_several_builds_only() -> None:
    assert against([device(B1, B1, B1, B1)], of(0), NOW) == 0
    assert against([device(B1, B2, B1)], of(0), NOW) == 3


def test_it_is_known_after_a_moment_whether_others_fail_too() -> None:
    assert against([device(B1, B1, B1, at=NOW - TOLD_MS + 1)], of(1), NOW) == 0
    assert against([device(B1, B1, B1, at=NOW - TOLD_MS)], of(1), NOW) == 3


def test_on_probation_one_job_is_enough() -> None:
    back, other = replace(device(B1), in_a_row=1), replace(CLEAN, in_a_row=1)
    assert against([back, other], of(1), NOW) == 1
    assert against([back, CLEAN], of(1), NOW) == 0, "it was a device alone that was out, and not its host"
    assert needed([device(B1), replace(CLEAN, in_a_row=1)]) == 3, "one is new there"


def test_what_ran_on_the_host_since_ends_it() -> None:
    record = started(device(B1, B1, B1))
    assert not unstarted([record])
    assert [m.kind for m in record.marks] == [Kind.DEVICE] * 3
    assert started(record) is record


def test_people_are_told_of_a_host_also_where_nobody_can_tell_whose_fault_it_is() -> None:
    assert worth_telling([device(B1, B1)]) == 0
    assert worth_telling([device(B1, B1, B1)]) == 3
    assert worth_telling([quarantined(r, 1, 0, 1, "x") for r in (device(B1), CLEAN)]) == 1
    assert worth_telling([CLEAN]) == 0


def test_a_device_keeps_the_last_few() -> None:
    kept = unstarted([device(*[B1] * (HOST_MARKS_MOST + 2))])
    assert [m.ulid for m in kept] == [f"job{n}" for n in range(2, HOST_MARKS_MOST + 2)]


def test_a_device_is_not_judged_by_what_its_host_can_not_start() -> None:
    record = replace(CLEAN, marks=tuple(unstarted([device(B1, B2, B3)])))
    others = Devices((together([(CLEAN, None)] * 3),))
    assert not judge(record, others, NOW).bad
    assert together([(record, None)]).with_jobs == 0


@pytest.mark.parametrize(("target", "count"), [(Target.EMULATOR, 1), (Target.DEVICE, 0)])
def test_hosts_are_compared_with_those_of_the_same_target(target: Target, count: int) -> None:
    out = quarantined(device(B1, B2), 1, 0, 1, "x")
    hosts = {"a": host([(Target.EMULATOR, CLEAN)]), "b": host([(target, out), (target, device(B1))])}
    found = besides("a", Target.EMULATOR, hosts)
    assert (found.count, dict(found.failing)) == (count, {B1: 1, B2: 1} if count else {})
    assert besides("a", Target.BROWSERSTACK, hosts) == OtherHosts()


def test_the_reason_names_the_agent() -> None:
    said = because_of_host("mac-1", 3, 1)
    assert said == (
        "automatic quarantine: agent mac-1 could not start 3 jobs, whichever the device, and none ran there since"
    )
    assert because_of_host("mac-1", 1, 2).endswith(
        "could not start 1 job, whichever the device, and none ran there since; the 2nd time in a row"
    )

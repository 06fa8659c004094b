"""When a device is taken out for what failed on it, and when it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Outcome, Priority, Status, Target
from qgjob_coordinator.model.jobs import Attempt, Job
from qgjob_coordinator.policy.health.asking import did_elsewhere, passed_elsewhere, ran_elsewhere
from qgjob_coordinator.policy.health.judging import TOLD_MS, Judgement
from qgjob_coordinator.policy.health.judging import judge as judge_at
from qgjob_coordinator.policy.health.others import Devices, Installation, together
from qgjob_coordinator.policy.health.record import (
    CLEAN,
    GOOD_FOR_A_STEP,
    MARKS_MOST,
    UNASKED_MOST,
    WINDOW_MS,
    Build,
    Kind,
    Mark,
    Record,
    answered,
    bounded,
    failed,
    quarantined,
    readmitted,
    recent,
    succeeded,
)
from qgjob_coordinator.policy.health.rules import CAP_MS, Backoff, at_most, enough, is_suspect
from qgjob_coordinator.policy.health.words import because, still

B1, B2, B3 = builds = [("acme", f"eB{n}") for n in (1, 2, 3)]
BACKOFF = Backoff()
NOW = 10 * WINDOW_MS
LATER = 9 * WINDOW_MS
"""After all failures that have no time of their own."""


def marks(kind: Kind, *of: Build, sure: bool = True, first: int = 0) -> Record:
    """A proven device on which jobs failed, each with one of these builds."""
    made = (Mark(kind, build, f"job{n}", n, sure=sure) for n, build in enumerate(of, first))
    return reduce(failed, made, Record(proven=True))


def judge(record: Record, others: Devices, now: int = NOW) -> Judgement:
    """The verdict when all that failed at the same time is known."""
    return judge_at(record, others, now)


Known = tuple[Record, Build | Installation | None]


def lies(what: Build | Installation | None) -> Installation | None:
    """A build without a time was installed after everything that failed."""
    return Installation(what, LATER) if isinstance(what, tuple) else what


def fleet(*others: Known) -> Devices:
    """The other devices: records, and what is installed on each."""
    return Devices((together((record, lies(what)) for record, what in others),))


def verdicts(devices: Sequence[Known], now: int = NOW) -> list[Judgement]:
    """Every device of a target, judged beside the others."""
    everyone = fleet(*devices)
    return [judge(record, everyone.without(record, lies(what)), now) for record, what in devices]


# What a build does wrong.


@given(st.integers(1, 12), st.lists(st.integers(1, MARKS_MOST), min_size=1, max_size=12), st.integers(0, 3))
def test_a_build_that_fails_wherever_it_is_tried_takes_no_device_out(
    healthy: int, failures: list[int], in_a_row: int
) -> None:
    """However often it fails, on however many devices, whether or not they had been out before."""
    records = [replace(marks(Kind.INSTALL, *[B1] * n), in_a_row=in_a_row) for n in failures]
    devices = [(record, None) for record in records] + [(CLEAN, B2)] * healthy
    assert not any(found.bad for found in verdicts(devices))


@given(st.lists(st.sampled_from([B1, B2, B3]), min_size=1, max_size=MARKS_MOST), st.integers(2, 12))
def test_no_number_of_builds_that_fail_on_all_devices_takes_one_out(failed_with: list[Build], count: int) -> None:
    devices = [(marks(Kind.INSTALL, *failed_with), None)] * count
    found = verdicts(devices)
    assert not any(each.bad for each in found)
    assert {each.builds_at_fault for each in found} == {frozenset(failed_with)}


def test_two_broken_builds_take_no_device_out_that_is_not_alone_with_them() -> None:
    broken = marks(Kind.INSTALL, B1, B2, B1, B2)
    assert [found.bad for found in verdicts([(broken, None), (broken, None), (CLEAN, B3)])] == [False] * 3
    assert verdicts([(broken, None), (CLEAN, B3)])[0].bad


def test_a_build_that_nobody_else_has_tried_is_no_proof_and_a_second_one_is() -> None:
    others = fleet((CLEAN, B3), (CLEAN, None))
    assert not judge(marks(Kind.INSTALL, *[B1] * 9), others).bad
    assert judge(marks(Kind.INSTALL, B1, B2, B1), others).bad
    assert not judge(marks(Kind.INSTALL, B1, B2), others).bad


def test_a_device_that_fails_what_others_have_installed_is_bad() -> None:
    record = marks(Kind.INSTALL, B1, B1, B1)
    assert judge(record, fleet((CLEAN, B1))).bad
    assert judge(record, fleet((CLEAN, B1), (marks(Kind.INSTALL, B1), None))).bad
    for_some_devices_only = fleet((CLEAN, B1), *[(marks(Kind.INSTALL, B1), None)] * 2)
    assert not judge(record, for_some_devices_only).bad


BROKE_AT = NOW - WINDOW_MS // 2
"""When the artifact of a build went away: who has the build installed it before."""


@given(
    st.lists(st.integers(0, WINDOW_MS), min_size=1, max_size=40),
    st.lists(st.lists(st.integers(1, WINDOW_MS // 2), min_size=1, max_size=4), min_size=2, max_size=30),
    st.integers(0, 3),
)
def test_a_build_that_can_be_installed_no_more_takes_out_none_of_those_that_lack_it(
    had: list[int], failures: list[list[int]], in_a_row: int
) -> None:
    """However many have it, and however little before it went away they installed it."""
    lacking = []
    for times in failures:
        failing = (Mark(Kind.INSTALL, B1, f"job{n}", BROKE_AT + at) for n, at in enumerate(sorted(times)))
        lacking.append((reduce(failed, failing, Record(proven=True, in_a_row=in_a_row)), None))
    have = [(CLEAN, Installation(B1, BROKE_AT - before)) for before in had]
    found = verdicts([*have, *lacking], NOW)
    assert not any(each.bad for each in found)
    assert {each.builds_at_fault for each in found[len(had) :]} == {frozenset({B1})}


def test_forty_have_a_build_whose_artifact_expires_and_thirty_stay_in_service() -> None:
    lacking = marks(Kind.INSTALL, B1, B1, B1, first=BROKE_AT)
    devices = [(CLEAN, Installation(B1, BROKE_AT - 1000))] * 40 + [(lacking, None)] * 30
    assert not any(found.bad for found in verdicts(devices))
    recovers = [(CLEAN, B1)] * 3 + devices[3:]
    assert not any(found.bad for found in verdicts(recovers)), "fewer can install it than can't"


def test_two_builds_that_few_others_could_install_take_out_none_of_the_many_that_could_not() -> None:
    """Where all builds come from is away most of the time."""
    failing = marks(Kind.INSTALL, B1, B2, B1, B2)
    assert not any(found.bad for found in verdicts([(failing, None)] * 10 + [(CLEAN, B1), (CLEAN, B2)]))


def test_a_device_that_fails_what_others_install_meanwhile_is_bad_beside_one_that_fails_too() -> None:
    bad = marks(Kind.INSTALL, B1, B1, B1, first=1000)
    unlucky = marks(Kind.INSTALL, B1, first=1000)
    for_long = (CLEAN, Installation(B1, 500))
    assert not judge(bad, fleet(for_long, for_long, (unlucky, None))).bad
    assert judge(bad, fleet(for_long, (CLEAN, Installation(B1, 1003)), (unlucky, None))).bad
    assert not judge(bad, fleet(for_long, (CLEAN, Installation(B1, 1001)), (unlucky, None))).bad, "before its last two"


def test_one_that_failed_and_installed_it_then_is_no_witness_for_either_side() -> None:
    bad, once = marks(Kind.INSTALL, B1, B1, B1, first=1000), marks(Kind.INSTALL, B1, first=1000)
    fails_still, did_it_then = (once, Installation(B1, 999)), (once, Installation(B1, 1001))
    assert not judge(bad, fleet((CLEAN, Installation(B1, 500)), fails_still)).bad
    assert judge(bad, fleet((CLEAN, Installation(B1, 500)), did_it_then)).bad
    assert not judge(bad, fleet(did_it_then)).bad


@pytest.mark.parametrize(("ago", "bad"), [(WINDOW_MS - 1, True), (WINDOW_MS, False), (NOW, False)])
def test_alone_with_a_build_it_is_bad_if_others_installed_that_in_the_hour_before(ago: int, bad: bool) -> None:
    at = NOW - 10_000
    record = reduce(failed, (Mark(Kind.INSTALL, B1, f"job{n}", at) for n in range(3)), CLEAN)
    assert judge(record, fleet((CLEAN, Installation(B1, at - ago)))).bad is bad


@pytest.mark.parametrize("builds_of_job", [lambda n: B1, lambda n: ("acme", f"eX{n}")], ids=["one", "many"])
@pytest.mark.parametrize("every_ms", [10, 100, 400, 900])
def test_a_device_that_fails_all_it_is_given_at_any_pace_is_found_bad(
    builds_of_job: Callable[[int], Build], every_ms: int
) -> None:
    """What is remembered of it is not always too new to be judged. It is looked at every second."""
    record, others = CLEAN, fleet((CLEAN, Installation(B1, 500)))
    seen = []
    for n, at in enumerate(range(1000, 21_000, every_ms)):
        record = failed(record, Mark(Kind.INSTALL, builds_of_job(n), f"job{n}", at))
        if at // 1000 > len(seen):
            seen.append(judge(record, others, at).bad)
    assert all(any(seen[n : n + 5]) for n in range(len(seen) - 4)), "it is not found within 5 s"
    assert record.marks[-1].at > 14_000, "what failed last is known too"


def test_it_is_alone_with_a_build_when_the_failures_of_others_would_be_known() -> None:
    """Devices of many hosts fail at the same time, and each coordinator knows its own ones first."""
    one, several = marks(Kind.INSTALL, B1, B1, B1, first=1000), marks(Kind.INSTALL, B1, B2, B3, first=1000)
    have = (CLEAN, Installation(B1, 500))
    assert [judge(one, fleet(have), 1000 + after).bad for after in (2, TOLD_MS - 1, TOLD_MS)] == [False, False, True]
    assert [judge(several, fleet(have), 1000 + after).bad for after in (2, TOLD_MS + 2)] == [False, True]
    assert judge(one, fleet((CLEAN, Installation(B1, 1003))), 1003).bad, "another one could do it meanwhile"


def test_the_time_that_others_have_to_tell_counts_from_the_failure_and_not_from_the_beginning() -> None:
    """An installation may take half a minute to fail, and the others' fail with it."""
    one = replace(CLEAN, marks=tuple(Mark(Kind.INSTALL, B1, f"job{n}", 1000, left=1.0) for n in range(3)))
    have, failed = fleet((CLEAN, Installation(B1, 500))), 31_000
    bad = [judge_at(one, have, failed + after, {B1: failed}).bad for after in (50, TOLD_MS - 1, TOLD_MS)]
    assert bad == [False, False, True]


@given(st.integers(1, 5), st.integers(0, 4))
def test_a_bad_device_is_found_beside_any_number_of_good_ones(good: int, more: int) -> None:
    bad = marks(Kind.INSTALL, B1, B2, B1, *[B2] * more)
    (first, *rest) = verdicts([(bad, None), *[(CLEAN, B1)] * good])
    assert first.bad
    assert not any(each.bad for each in rest)


def test_one_job_takes_no_device_out_however_often_it_fails() -> None:
    record = reduce(failed, (Mark(Kind.DEVICE, B1, "poison", n) for n in range(20)), CLEAN)
    assert len(record.marks) == 1
    assert not judge(record, fleet((CLEAN, B1))).bad


# Attempts that a device ended.


def seen_on(device_ids: Sequence[str], status: Status, outcome: Outcome = Outcome.DEVICE_ERROR) -> Job:
    """A job that was tried on these devices in turn; `outcome` is the last one's, a device error the others'."""
    attempts = [Attempt(n, 1, "a", d, 0, Outcome.DEVICE_ERROR) for n, d in enumerate(device_ids, 1)]
    attempts[-1].outcome = outcome
    return Job("acme", "job", "v1", "t.js", Priority.LOW, Target.EMULATOR, status, 0, 0, 3, attempts=attempts)


@given(
    st.integers(7, 30).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.lists(st.lists(st.integers(0, count - 1), min_size=1, max_size=6), min_size=1, max_size=20),
        )
    ),
    st.integers(0, 3),
    st.booleans(),
)
def test_jobs_that_break_every_device_they_are_tried_on_take_none_out(
    tried: tuple[int, list[list[int]]], in_a_row: int, over: bool
) -> None:
    """However many there are, of a build that all others serve: a command that can't be started, say."""
    count, visits = tried
    status = Status.FAILED if over else Status.QUEUED
    records = [replace(CLEAN, in_a_row=in_a_row) for _ in range(count)]
    for n, devices in enumerate(visits):
        job = seen_on([f"d{d}" for d in devices], status)
        for d in devices:
            records[d] = failed(records[d], Mark(Kind.DEVICE, B1, f"job{n}", n, sure=False))
        for d in devices:
            done = did_elsewhere(Kind.DEVICE, job, f"d{d}")
            if done is not None:
                records[d] = answered(records[d], {(Kind.DEVICE, f"job{n}"): done})
    found = verdicts([(record, B1) for record in records])
    assert not any(each.bad for each in found)
    assert not any(each.builds_at_fault for each in found)


def test_a_device_is_bad_when_what_broke_it_ran_elsewhere() -> None:
    record = marks(Kind.DEVICE, B1, B1, B1, sure=False)
    others = fleet(*[(CLEAN, B1)] * 3)
    assert not judge(record, others).bad
    assert judge(answered(record, {(Kind.DEVICE, f"job{n}"): True for n in range(3)}), others).bad
    assert answered(record, {(Kind.DEVICE, f"job{n}"): False for n in range(3)}).clean


def test_what_breaks_most_devices_and_goes_well_later_is_nobodys_fault() -> None:
    """Their provider was away for a while."""
    troubled = marks(Kind.DEVICE, B1, B2, B1)
    assert not any(found.bad for found in verdicts([(troubled, B1)] * 5 + [(CLEAN, B1)]))
    assert verdicts([(troubled, B1)] * 2 + [(CLEAN, B1)] * 4)[0].bad


@pytest.mark.parametrize(
    ("status", "devices", "outcome", "wanted"),
    [
        (Status.QUEUED, ["here"], Outcome.DEVICE_ERROR, None),
        (Status.RUNNING, ["here", "there"], Outcome.AGENT_LOST, None),
        (Status.FAILED, ["here", "there"], Outcome.PROVIDER_ERROR, False),
        (Status.CANCELLED, ["here"], Outcome.DEVICE_ERROR, False),
        (Status.COMPLETED, ["here", "here"], Outcome.PASSED, False),
        (Status.COMPLETED, ["here", "there"], Outcome.PASSED, True),
        (Status.QUEUED, ["here", "there"], Outcome.TEST_FAILED, True),
        (Status.FAILED, ["here", "there"], Outcome.TIMED_OUT, True),
    ],
)
def test_whether_a_job_ran_elsewhere(status: Status, devices: list[str], outcome: Outcome, wanted: bool | None) -> None:
    job = seen_on(devices, status, outcome)
    assert ran_elsewhere(job, "here") is wanted
    job.round = 2
    assert ran_elsewhere(job, "here") in (False, None), "that was another round"


# Tests.


def test_failed_tests_count_when_they_have_passed_elsewhere() -> None:
    record = marks(Kind.TEST, *[B1] * 6, sure=False)
    assert not judge(record, fleet((CLEAN, B1))).bad
    known = answered(record, {(Kind.TEST, f"job{n}"): n != 5 for n in range(6)})
    assert [m.ulid for m in known.marks] == [f"job{n}" for n in range(5)]
    assert judge(known, fleet((CLEAN, B1))).bad
    assert not judge(answered(record, {(Kind.TEST, f"job{n}"): True for n in range(2)}), fleet((CLEAN, B1))).bad


def test_tests_that_pass_later_wherever_they_failed_are_nobodys_fault() -> None:
    """A server that all tests need was away for a while."""
    troubled = marks(Kind.TEST, *[B1] * 8)
    assert not any(found.bad for found in verdicts([(troubled, B1)] * 5 + [(CLEAN, B1)]))
    assert verdicts([(troubled, B1)] * 2 + [(CLEAN, B1)] * 4)[0].bad


@pytest.mark.parametrize(
    ("status", "passed_on", "wanted"),
    [
        (Status.QUEUED, None, None),
        (Status.RUNNING, None, None),
        (Status.FAILED, None, False),
        (Status.CANCELLED, None, False),
        (Status.COMPLETED, "here", False),
        (Status.COMPLETED, "there", True),
    ],
)
def test_whether_a_job_passed_elsewhere(status: Status, passed_on: str | None, wanted: bool | None) -> None:
    attempts = [Attempt(1, 1, "a", "here", 0, Outcome.TEST_FAILED)]
    if passed_on is not None:
        attempts.append(Attempt(2, 1, "a", passed_on, 0, Outcome.PASSED))
    job = Job("acme", "job", "v1", "t.js", Priority.LOW, Target.EMULATOR, status, 0, 0, 3, attempts=attempts)
    assert passed_elsewhere(job, "here") is wanted


def test_a_job_that_is_gone_says_nothing() -> None:
    assert passed_elsewhere(None, "here") is False
    assert ran_elsewhere(None, "here") is False


def test_the_device_errors_and_the_failed_test_of_one_job_are_answered_apart() -> None:
    record = failed(marks(Kind.TEST, B1, sure=False), Mark(Kind.DEVICE, B1, "job0", 1, sure=False))
    job = seen_on(["here", "there"], Status.FAILED, Outcome.TEST_FAILED)
    known = answered(record, {(kind, "job0"): bool(did_elsewhere(kind, job, "here")) for kind in (*Kind,)})
    assert [(m.kind, m.sure) for m in known.marks] == [(Kind.DEVICE, True)]


# Forgiving.


def test_a_lucky_success_leaves_a_bad_record_and_many_clear_it() -> None:
    others = fleet((CLEAN, B1))
    record = marks(Kind.INSTALL, B1, B1, B1, B1)
    assert judge(succeeded(record, Kind.INSTALL), others).bad
    assert not judge(succeeded(record, Kind.INSTALL, 2), others).bad
    assert succeeded(record, Kind.INSTALL, 9).clean


def test_tests_that_pass_say_nothing_of_installations_that_fail() -> None:
    record = marks(Kind.INSTALL, B1, B1, B1)
    assert succeeded(record, Kind.TEST, 50).marks == record.marks
    assert succeeded(marks(Kind.DEVICE, B1), Kind.TEST, 50).clean


@given(st.lists(st.sampled_from("x."), max_size=60), st.integers(0, 1))
def test_what_is_against_a_device_is_bounded_and_falls_with_each_success(history: list[str], in_a_row: int) -> None:
    record = replace(CLEAN, in_a_row=in_a_row)
    for n, what in enumerate(history):
        before = at_most(record)
        if what == "x":
            record = failed(record, Mark(Kind.DEVICE, B1, f"job{n}", n))
            assert at_most(record) <= MARKS_MOST
        else:
            record = succeeded(record, Kind.TEST)
            assert at_most(record) <= 0.76 * before
    assert len(record.marks) <= MARKS_MOST


@pytest.mark.parametrize(("cycle", "bad"), [("x.", True), ("x..", False), ("xx...", True), ("x...", False)])
def test_a_device_that_fails_about_two_of_five_is_bad(cycle: str, bad: bool) -> None:
    record, seen = CLEAN, False
    for n, what in enumerate(cycle * 20):
        mark = Mark(Kind.DEVICE, B1, f"job{n}", n)
        record = failed(record, mark) if what == "x" else succeeded(record, Kind.TEST)
        seen = seen or judge(record, fleet((CLEAN, B1))).bad
    assert seen is bad


@pytest.mark.parametrize("kind", [Kind.DEVICE, Kind.TEST])
def test_what_is_asked_of_others_is_not_forgotten_while_the_device_fails_on(kind: Kind) -> None:
    """It fails all that it is given at once, and others do its first jobs long after."""
    record = CLEAN
    for n in range(100):
        record = bounded(failed(record, Mark(kind, B1, f"job{n}", n, sure=False)))
    done = {(kind, f"job{n}"): True for n in range(5)}
    assert judge(answered(record, done), fleet((CLEAN, None))).bad
    for n in range(100, 200):
        record = failed(record, Mark(kind, B1, f"job{n}", n))
    assert [m.ulid for m in record.marks] == [f"job{n}" for n in range(200 - MARKS_MOST, 200)], "what is known is newer"


@given(st.lists(st.booleans(), max_size=120))
def test_of_questions_that_were_asked_the_newest_are_left_out_and_none_before(sure: list[bool]) -> None:
    record = CLEAN
    for n, known in enumerate(sure):
        record = failed(record, Mark(Kind.DEVICE, B1, f"job{n}", n, sure=known))
    if True not in sure:
        assert len(record.marks) == len(sure), "nobody was asked yet"
    kept = bounded(record).marks
    assert len(kept) == min(len(record.marks), MARKS_MOST)
    asked = [m for m in record.marks if not m.sure]
    assert [m for m in kept if not m.sure] == asked[: sum(not m.sure for m in kept)]


def test_a_device_that_fails_on_while_nobody_can_be_asked_is_remembered_within_bounds() -> None:
    record = CLEAN
    for n in range(2 * UNASKED_MOST):
        record = failed(record, Mark(Kind.DEVICE, B1, f"job{n}", n, sure=False))
    assert len(record.marks) == UNASKED_MOST


def test_questions_about_jobs_push_no_failed_installation_out() -> None:
    record = marks(Kind.INSTALL, B1, B2, B3)
    for n in range(100):
        record = failed(record, Mark(Kind.TEST, B1, f"job{n}", n, sure=False))
    assert sum(m.kind is Kind.INSTALL for m in record.marks) == 3


def test_what_was_long_ago_is_dropped() -> None:
    record = marks(Kind.INSTALL, B1, B2, B1)
    assert recent(record, WINDOW_MS - 1) is record
    assert [m.at for m in recent(record, WINDOW_MS + 1).marks] == [2]


# Quarantines.


@given(st.integers(1, 200), st.integers(1, 10_000), st.integers(10_000, 10_000_000))
def test_a_quarantine_doubles_up_to_the_cap(in_a_row: int, base: int, cap: int) -> None:
    backoff = Backoff(base, cap)
    assert backoff.ms(1) == base
    assert backoff.ms(in_a_row + 1) == min(cap, 2 * backoff.ms(in_a_row))
    assert backoff.ms(backoff.next_in_a_row(in_a_row)) == backoff.ms(in_a_row + 1)


def test_the_numbers_that_are_promised() -> None:
    numbers, n = [], 0
    for _ in range(12):
        n = BACKOFF.next_in_a_row(n)
        numbers.append(BACKOFF.ms(n) // 1000)
    assert numbers == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]
    assert CAP_MS == 3_600_000
    assert n == 10, "what is as long as can be is not counted on, so that it can be made up for"


def test_on_probation_one_failure_is_enough_and_ten_successes_make_up_for_one_quarantine() -> None:
    out = quarantined(marks(Kind.INSTALL, B1, B1, B1), 2, 0, 10, "why")
    back = readmitted(out)
    assert (back.marks, back.in_a_row, back.quarantine, back.proven) == ((), 2, None, True)
    once = failed(back, Mark(Kind.INSTALL, B1, "job", 0))
    assert judge(once, fleet((CLEAN, B1))).bad
    assert enough(succeeded(back, Kind.TEST, GOOD_FOR_A_STEP - 1)) == enough(back)
    one_less = succeeded(back, Kind.TEST, GOOD_FOR_A_STEP)
    assert (one_less.in_a_row, one_less.good) == (1, 0)
    assert succeeded(one_less, Kind.TEST, GOOD_FOR_A_STEP).clean


def test_a_device_is_suspect_at_half_of_what_is_enough() -> None:
    assert not is_suspect(marks(Kind.TEST, B1, B1, sure=False))
    assert is_suspect(marks(Kind.TEST, B1, B1, B1, sure=False))
    assert is_suspect(replace(marks(Kind.TEST, B1, sure=False), in_a_row=1))


def test_a_reason_counts_and_names_no_build() -> None:
    counted = [
        *marks(Kind.INSTALL, B1, B2).marks,
        *marks(Kind.DEVICE, B1).marks,
        *marks(Kind.TEST, B1, B1).marks,
    ]
    assert because(counted, 1) == (
        "automatic quarantine: 2 installations of 2 builds failed on it, 1 attempt ended by an error of the device, "
        "2 tests failed on it that passed on another device"
    )
    again = because(counted[:1], 2)
    assert again == "automatic quarantine: 1 installation of 1 build failed on it; the 2nd time in a row"
    assert still(again, "no answer within 15 s", 3) == (
        "automatic quarantine: 1 installation of 1 build failed on it; "
        "the 3rd time in a row, since a probe found: no answer within 15 s"
    )
    assert [because(counted[:1], n).split("; the ")[1].split(" ")[0] for n in (11, 12, 13, 21, 22, 23, 24)] == [
        "11th", "12th", "13th", "21st", "22nd", "23rd", "24th",
    ]  # fmt: skip

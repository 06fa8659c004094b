"""Histories that break the rules about refusals, and some that don't."""

from __future__ import annotations

import pytest

from tests.chaos.checker import check
from tests.chaos.histories import ACME, Case, each, judge, sound
from tests.chaos.history import MACHINE, Asked, Cut, History, Outage, Span
from tests.chaos.workload import Verb

REFUSED = "a_refusal_has_a_cause"


def not_there_for_another_client(h: History) -> None:
    h.asked.append(Asked(Verb.RETRY, "acme", 20.0, meant=ACME, answered_at=20.1, error="not_found"))


def unavailable_while_all_was_there(h: History) -> None:
    h.asked.append(Asked(Verb.SUBMIT, "acme", 20.0, answered_at=50.0, error="unavailable", message="come again"))


BROKEN = [
    Case(not_there_for_another_client, REFUSED, f"P1: retry of {ACME} was answered not_found", alone=True),
    Case(unavailable_while_all_was_there, REFUSED, "P9: submit was answered unavailable, and nothing was", alone=True),
]


@each(BROKEN)
def test_a_broken_promise_is_seen(case: Case) -> None:
    judge(case)


def test_a_job_may_be_unknown_before_it_is_acknowledged_and_after_the_store_went_back() -> None:
    history = sound()
    history.asked.append(Asked(Verb.CANCEL, "acme", 1.05, meant=ACME, answered_at=6.0, error="not_found"))
    assert check(history) == []
    not_there_for_another_client(history)
    history.cuts = [Cut(15.0, 16.0)]
    assert check(history) == []
    for end, found in ((16.0, [REFUSED]), (20.5, [])):  # another server than the master may have been asked, or not
        history.cuts = [Cut(15.0, end, until=end, by_another=True)]
        assert [v.rule for v in check(history)] == found


@pytest.mark.parametrize("place", ["store", "clients", MACHINE, "coordinator-1", "store link coordinator-1"])
def test_a_caller_may_be_told_to_come_again_while_what_serves_it_is_away(place: str) -> None:
    history = sound()
    unavailable_while_all_was_there(history)
    history.outages.append(Outage(place, Span(45.0, 46.0)))
    assert check(history) == []
    history.outages[-1] = Outage(place, Span(12.0, 15.0))  # long before
    assert [v.rule for v in check(history)] == [REFUSED]


def test_a_hold_is_refused_while_the_agent_of_its_device_is_away() -> None:
    history = sound()
    history.asked.append(Asked(Verb.RESERVE, "acme", 20.0, answered_at=50.0, error="unavailable", device_id="cmd-1-2"))
    for place, found in (("link cmd-2", [REFUSED]), ("link cmd-1", []), ("cmd-1", [])):
        history.outages.append(Outage(place, Span(45.0, 46.0)))
        assert [v.rule for v in check(history)] == found
        history.outages.pop()

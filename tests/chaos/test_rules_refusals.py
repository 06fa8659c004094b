"""Histories that break the rules about refusals, and some that don't."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.checker import check
from tests.chaos.histories import ACME, Case, done, each, judge, sound
from tests.chaos.history import MACHINE, Asked, Beat, Cut, History, Outage, Span
from tests.chaos.schedule import Kind
from tests.chaos.workload import Verb

REFUSED = "a_refusal_has_a_cause"


def not_there_for_another_client(h: History) -> None:
    h.asked.append(Asked(Verb.RETRY, "acme", 20.0, meant=ACME, answered_at=20.1, error="not_found"))


def unavailable_while_all_was_there(h: History) -> None:
    h.asked.append(Asked(Verb.SUBMIT, "acme", 20.0, answered_at=50.0, error="unavailable", message="come again"))


ALL = ("coordinator-0", "coordinator-1", "coordinator-2")


def told_to_come_again(h: History, *, at: float = 20.0, end: float = 50.0, **fields: Any) -> Asked:
    """A submission that a client repeated for as long as it does, to each of its coordinators."""
    values: dict[str, Any] = {"error": "unavailable", "message": "come again", "coordinators": ALL, "turned_to": ALL}
    h.asked.append(Asked(fields.pop("verb", Verb.SUBMIT), "acme", at, answered_at=end, **values | fields))
    return h.asked[-1]


def refused_though_two_coordinators_lived(h: History) -> None:
    told_to_come_again(h)
    h.outages.append(Outage("coordinator-0", Span(15.0, 55.0)))


def refused_though_the_store_was_soon_back(h: History) -> None:
    told_to_come_again(h)
    h.outages.append(Outage("store", Span(19.0, 24.0)))


def not_answered_though_all_was_there(h: History) -> None:
    told_to_come_again(h, error="deadline_exceeded")


def reserved_in_vain_by_a_coordinator_in_order(h: History) -> None:
    """What is sent once went to this one; another one was away."""
    told_to_come_again(h, verb=Verb.RESERVE, end=20.1, device_id="cmd-1-2", turned_to=("coordinator-1",))
    h.outages.append(Outage("coordinator-0", Span(19.0, 25.0)))
    h.outages.append(Outage("store link coordinator-0", Span(19.0, 25.0)))


def refused_for_a_store_that_was_there(h: History) -> None:
    """The clients' links were cut, of which the coordinator knows nothing."""
    told_to_come_again(h, verb=Verb.RESERVE, end=20.1, device_id="cmd-1-2", away="store", turned_to=("coordinator-1",))
    h.outages.append(Outage("clients", Span(19.0, 25.0)))


def refused_while_slots_moved(h: History) -> None:
    told_to_come_again(h, verb=Verb.RESERVE, end=20.1, device_id="cmd-1-2", away="store")
    h.done.append(done(Kind.STORE_SLOTS, "store", 19.5, 20.5))


BROKEN = [
    Case(not_there_for_another_client, REFUSED, f"P1: retry of {ACME} was answered not_found", alone=True),
    Case(unavailable_while_all_was_there, REFUSED, "P9: submit was answered unavailable, and nothing was", alone=True),
    Case(refused_though_two_coordinators_lived, REFUSED, "nothing was away that coordinator-1 needs", alone=True),
    Case(refused_though_the_store_was_soon_back, REFUSED, "nothing was away that coordinator-0 needs", alone=True),
    Case(not_answered_though_all_was_there, REFUSED, "answered deadline_exceeded, and nothing was away", alone=True),
    Case(reserved_in_vain_by_a_coordinator_in_order, REFUSED, "away that coordinator-1 needs for it", alone=True),
    Case(refused_for_a_store_that_was_there, REFUSED, "away that coordinator-1 needs for it", alone=True),
    Case(refused_while_slots_moved, REFUSED, "P9: reserve was answered unavailable, and nothing was", alone=True),
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


@pytest.mark.parametrize("place", ["store", "clients", MACHINE])
def test_a_caller_may_be_told_to_come_again_while_what_serves_it_is_away(place: str) -> None:
    history = sound()
    told_to_come_again(history)
    history.outages.append(Outage(place, Span(15.0, 48.0)))
    assert check(history) == []
    history.outages[-1] = Outage(place, Span(12.0, 30.0))
    assert [v.rule for v in check(history)] == [REFUSED]


def test_a_caller_is_refused_when_each_coordinator_was_away_or_without_the_store() -> None:
    history = sound()
    told_to_come_again(history)
    places = ("coordinator-0", "store link coordinator-1", "rolled coordinator-2")
    history.outages += [Outage(place, Span(15.0, 49.0)) for place in places]
    assert check(history) == []


def test_a_client_that_two_coordinators_kept_waiting_comes_late_to_the_third() -> None:
    """Each that hangs may keep it for a try of 10 s, and so may the third before it is there: then no time is left."""
    history = sound()
    told_to_come_again(history)
    history.outages += [Outage(f"coordinator-{i}", Span(15.0, 55.0)) for i in (0, 1)]
    history.outages.append(Outage("coordinator-2", Span(15.0, 23.0)))
    assert check(history) == []
    history.outages.pop()
    assert [v.rule for v in check(history)] == [REFUSED]


@pytest.mark.parametrize("place", ["coordinator-1", "store link coordinator-1", "rolled coordinator-1", "store"])
def test_what_is_sent_once_is_refused_when_its_own_way_is_broken(place: str) -> None:
    history = sound()
    told_to_come_again(history, verb=Verb.RESERVE, end=20.1, device_id="cmd-1-2", turned_to=("coordinator-1",))
    history.outages.append(Outage(place, Span(15.0, 19.0)))  # S later it has found together again
    assert check(history) == []
    history.outages[-1] = Outage(place, Span(15.0, 18.0))
    assert [v.rule for v in check(history)] == [REFUSED]


def test_a_hold_is_refused_while_the_agent_of_its_device_is_away_or_who_has_its_session() -> None:
    history = sound()
    told_to_come_again(history, verb=Verb.RESERVE, end=22.1, device_id="cmd-1-2", turned_to=("coordinator-1",))
    history.beats = {"cmd-1": [Beat(19.5, "coordinator-2")], "cmd-2": [Beat(19.5, "coordinator-0")]}
    places = ("link cmd-1", "cmd-1", "coordinator-2", "store link coordinator-2")
    for place in places:
        history.outages.append(Outage(place, Span(20.0, 22.0)))
        assert check(history) == []
        history.outages.pop()
    for place in ("link cmd-2", "cmd-2", "coordinator-0"):
        history.outages.append(Outage(place, Span(20.0, 22.0)))
        assert [v.rule for v in check(history)] == [REFUSED]
        history.outages.pop()


@pytest.mark.parametrize(
    ("kind", "target", "found"),
    [
        (Kind.CLIENT_LINK_CUT, "clients", []),
        (Kind.LINK_CUT, "cmd-1", []),
        (Kind.LINK_SLOW, "cmd-1", []),
        (Kind.LINK_CUT, "cmd-2", [REFUSED]),
    ],
)
def test_a_connection_that_breaks_takes_with_it_what_is_sent_once(kind: Kind, target: str, found: list[str]) -> None:
    """Nothing is away then, and what was under way is lost all the same; but no answer that the store is away."""
    history = sound()
    asked = told_to_come_again(history, verb=Verb.RESERVE, end=20.1, device_id="cmd-1-2", turned_to=("coordinator-1",))
    history.done.append(done(kind, target, 19.9, 20.0))
    assert [v.rule for v in check(history)] == found
    asked.away = "store"
    assert [v.rule for v in check(history)] == [REFUSED]

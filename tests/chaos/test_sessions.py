"""What counts as news of a session: a record of before a fault never does."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.sessions import Mark, Session

BEFORE = Session("open", 0, epoch=3, counter=17)
BEAT = replace(BEFORE, counter=18)
OPENED = replace(BEFORE, epoch=4, counter=18)


def test_the_record_of_before_the_fault_is_no_news() -> None:
    """It stays open for S after the agent has died: by it a dead agent would have recovered at once."""
    mark = Mark(BEFORE)
    assert not mark.renewed(BEFORE)
    assert not mark.begun(BEFORE)
    assert not mark.ended(BEFORE)
    assert not mark.renewed(None)


def test_a_heartbeat_renews_and_begins_nothing() -> None:
    assert Mark(BEFORE).renewed(BEAT)
    assert not Mark(BEFORE).begun(BEAT)
    assert not Mark(BEFORE).ended(BEAT)


def test_a_connect_renews_begins_and_ends_the_one_before() -> None:
    assert Mark(BEFORE).renewed(OPENED)
    assert Mark(BEFORE).begun(OPENED)
    assert Mark(BEFORE).ended(OPENED)


def test_a_session_at_a_coordinator_that_died_serves_nobody_and_is_not_over() -> None:
    """That the lab killed the coordinator does not mean that anybody noticed the partition of its agent."""
    orphan = replace(BEAT, place=None)
    assert not Mark(BEFORE).renewed(orphan)
    assert not Mark(BEFORE).ended(orphan)
    assert not Mark(BEFORE).begun(replace(OPENED, place=None))


def test_what_a_reaper_says_is_its_end_and_no_sign_of_life() -> None:
    """The reaper raises the counter too."""
    reaped = replace(BEAT, state="timed_out")
    assert Mark(BEFORE).ended(reaped)
    assert not Mark(BEFORE).renewed(reaped)


def test_after_the_store_went_back_the_mark_is_what_it_went_back_to() -> None:
    mark = Mark(BEFORE)
    back = Session("open", 0, epoch=3, counter=12, cuts=1)
    assert not mark.renewed(back)
    assert mark.renewed(replace(back, counter=13))


def test_an_epoch_is_news_whatever_the_store_went_back_to() -> None:
    """The agent makes them: the first record after the cut may be of the session that was opened after the fault."""
    back = Session("open", 0, epoch=4, counter=12, cuts=1)
    assert Mark(BEFORE).begun(back)
    assert Mark(BEFORE).renewed(back)
    assert Mark(BEFORE).ended(back)
    assert not Mark(replace(BEFORE, epoch=9)).begun(back)


def test_without_a_mark_the_first_record_is_it() -> None:
    mark = Mark(None)
    assert not mark.renewed(BEFORE)
    assert mark.renewed(BEAT)

"""Rules about sessions: each finds the history that breaks it."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.checker import check
from tests.chaos.histories import ACME, GLOBEX, Case, each, judge, sound
from tests.chaos.history import Cut, History, Opened, Write


def claimed_for_an_older_session(h: History) -> None:
    """The second one for the session before, as a coordinator does that did not hear of the newer one."""
    h.writes = [
        Write(1.0, ACME, 2, "s", "t1", ("t1",), "claim", epoch=7, agent_id="cmd-1"),
        Write(2.0, ACME, 5, "s", "t2", ("t2",), "claim", epoch=6, agent_id="cmd-1"),
    ]


def opened_late(h: History) -> None:
    """The agent had waited for the first one in vain."""
    h.opened = [Opened(1.0, "cmd-2", 6), Opened(2.0, "cmd-2", 8), Opened(3.0, "cmd-2", 7)]


def opened_twice(h: History) -> None:
    h.opened = [Opened(1.0, "cmd-2", 8), Opened(2.0, "cmd-1", 3), Opened(3.0, "cmd-2", 8)]


BROKEN = [
    Case(
        claimed_for_an_older_session,
        "an_old_session_is_shut_out",
        f"P3: session 6 of cmd-1 was given {ACME} after session 7",
        alone=True,
    ),
    Case(opened_late, "an_old_session_is_shut_out", "P3: session 7 of cmd-2 was opened after session 8", alone=True),
    Case(opened_twice, "an_old_session_is_shut_out", "P3: session 8 of cmd-2 was opened after session 8", alone=True),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)


def test_a_session_shuts_out_older_ones_of_its_agent_in_its_org_only() -> None:
    history = sound()
    claimed_for_an_older_session(history)
    history.writes[1] = replace(history.writes[1], agent_id="cmd-2")
    assert check(history) == []
    history.writes[1] = replace(history.writes[1], agent_id="cmd-1", job_id=GLOBEX, version=2)
    assert check(history) == []


def test_what_a_store_that_went_back_has_forgotten_shuts_nobody_out() -> None:
    history = sound()
    claimed_for_an_older_session(history)
    opened_late(history)
    history.opened[1] = Opened(1.2, "cmd-2", 8)
    history.cuts = [Cut(0.9, 1.5)]
    assert check(history) == []
    history.cuts = [Cut(0.9, 1.5, until=1.5, by_another=True)]
    assert {v.rule for v in check(history)} == {"an_old_session_is_shut_out"}

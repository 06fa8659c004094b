"""Every bound that is judged has a row of the report: what people and deadlines ask for too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qgjob import Outcome
from tests.chaos import bounds
from tests.chaos.histories import GLOBEX, SCALE, Damage, done, ended, plan, sound
from tests.chaos.history import History, Quarantine, Recovery, Span
from tests.chaos.recovered import rows
from tests.chaos.report import Report
from tests.chaos.rules_times import taken
from tests.chaos.schedule import Kind
from tests.chaos.test_rules_wishes import bound_to_a_client, globex, held, superseded
from tests.chaos.workload import BOND_SECONDS


def told(h: History) -> None:
    """A test ended in a partition, at 12 s; its end was told half a second after the link was back."""
    h.events[-1] = replace(h.events[-1], at=14.5)
    back = Recovery(bounds.BACK.what, 14.0, 14.2, bounds.BACK.seconds(SCALE))
    h.done.append(done(Kind.LINK_BOTH, "cmd-1", 11.5, 14.3, back))


def lost_its_key(h: History) -> None:
    """At 11.4 s, as the test ran that ended at 12 s."""
    superseded(h, 11.3)


def lost_its_client(h: History) -> None:
    bound_to_a_client(h, 11.2 - BOND_SECONDS)


def was_held(h: History) -> None:
    held(h, 10.6, 12.0)


def given_a_job_in_quarantine(h: History) -> None:
    """At 10.9 s."""
    globex(h)
    h.quarantines.append(Quarantine("cmd-1-1", 10.5, 20.0, "automatic quarantine", Span(10.5, 20.0)))


def expired(h: History) -> None:
    """By the deadline that it had: no device was given it."""
    globex(h)
    h.asked[1] = replace(h.asked[1], plans=(replace(plan(GLOBEX), deadline=9.0),))
    ended(h, GLOBEX, Outcome.EXPIRED)


def given_out_late(h: History) -> None:
    globex(h)
    h.asked[1] = replace(h.asked[1], plans=(replace(plan(GLOBEX), deadline=9.0),))


@pytest.mark.parametrize(
    ("damage", "after", "bound", "seconds"),
    [
        (told, "link_both", bounds.TOLD, 0.5),
        (lost_its_key, "supersede", bounds.SUPERSEDED, 0.6),
        (lost_its_client, "bond", bounds.BOND_ENDED, 0.8),
        (was_held, "reserve", bounds.HELD, 0.4),
        (given_a_job_in_quarantine, "device_breaks", bounds.GETS_NOTHING, 0.4),
        (expired, "deadline", bounds.DEADLINE, 0.8),
        (given_out_late, "deadline", bounds.DEADLINE, 0.8),
    ],
)
def test_what_is_judged_has_a_row(damage: Damage, after: str, bound: bounds.Bound, seconds: float) -> None:
    history = sound()
    damage(history)
    found = rows(history)[after, bound.what]
    assert max(taken(history, r) for r in found) == pytest.approx(seconds)
    figures = Report(history, [], {}, 1.0).figures()["recoveries"]
    (row,) = [row for row in figures if (row["after"], row["what"]) == (after, bound.what)]
    assert row["bound_seconds"] == round(bound.seconds(SCALE), 2)
    assert row["max_seconds"] == pytest.approx(seconds)


def test_a_hold_in_which_nothing_began_is_a_row_too() -> None:
    history = sound()
    held(history, 20.0, 30.0)
    (r,) = rows(history)["reserve", bounds.HELD.what]
    assert taken(history, r) == 0.0

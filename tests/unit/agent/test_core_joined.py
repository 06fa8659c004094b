"""What goes together: a start with its result, installations with reports, where the coordinator takes them so."""

from __future__ import annotations

import pytest

from qgjob_agent.core import events, instructions
from qgjob_agent.core.values import Finished, Outcome
from tests.fakes.agent_core import Core, every, lines, only


def begun_and_done(core: Core) -> list[str]:
    """What is told of a test that begins and ends between two flushes."""
    core.assign("t1")
    core.report(events.AttemptStarted("t1", 1))
    core.finish("t1")
    return lines(core.flush())


def test_a_start_that_would_go_with_its_result_is_left_out() -> None:
    core = Core().open(joined_reports=True).warm()
    assert begun_and_done(core) == ["spool t1 passed", "send t1 passed"]
    (report,) = core.state.outbox.unacked.values()
    assert report.body.begun


def test_an_older_coordinator_is_told_both() -> None:
    assert begun_and_done(Core().open().warm()) == ["spool t1 passed", "send t1 started, t1 passed"]


def test_a_test_that_is_only_heard_of_when_it_has_ended_began_too() -> None:
    core = Core().open(joined_reports=True).warm()
    core.assign("t1")
    core.finish("t1")
    assert lines(core.flush()) == ["spool t1 passed", "send t1 passed"]
    (report,) = core.state.outbox.unacked.values()
    assert report.body.begun


def test_a_start_goes_at_once_when_the_test_goes_on() -> None:
    core = Core().open(joined_reports=True).warm()
    core.assign("t1")
    core.report(events.AttemptStarted("t1", 1))
    assert lines(core.flush()) == ["send t1 started"]


def test_the_start_of_a_killed_test_is_told() -> None:
    core = Core().open(joined_reports=True).warm()
    core.assign("t1")
    core.report(events.AttemptStarted("t1", 1))
    core.tell(events.Revoked(1, "t1", "cancelled", 0))
    core.dead("t1")
    assert lines(core.flush()) == ["spool t1 dead (revoked)", "send t1 started, t1 dead (revoked)"]


@pytest.mark.parametrize(
    ("joined", "told"), [(True, ["t1 passed"]), (False, ["t1 started", "t1 passed"])], ids=["joined", "older"]
)
def test_what_was_told_and_not_acknowledged_goes_by_what_the_next_coordinator_takes(
    joined: bool, told: list[str]
) -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.report(events.AttemptStarted("t1", 1))
    core.flush()
    core.tell(events.SessionLost(1))
    core.finish("t1")
    core.connect()
    sent = only(core.welcome(joined_reports=joined), instructions.SendReports)
    assert lines([sent]) == ["send " + ", ".join(told)]


def test_an_attempt_whose_device_failed_before_its_test_began_has_not_begun() -> None:
    core = Core().open(joined_reports=True).warm()
    core.assign("t1")
    core.finish("t1", Outcome.DEVICE_ERROR)
    core.flush()
    (report,) = core.state.outbox.unacked.values()
    assert isinstance(report.body, Finished)
    assert not report.body.begun


def test_installations_of_one_moment_are_one_message() -> None:
    core = Core("d1", "d2").open(joined_reports=True)
    for n in (1, 2):
        core.assign(f"t{n}", device=f"d{n}")
        core.tell(events.InstallEnded(f"d{n}", f"t{n}", Outcome.PASSED, n * 1000))
    assert lines(core.flush()) == ["send install passed 1000 ms, install passed 2000 ms"]
    assert lines(core.flush()) == []


def test_an_older_coordinator_is_told_each_by_itself() -> None:
    core = Core("d1", "d2").open()
    for n in (1, 2):
        core.assign(f"t{n}", device=f"d{n}")
        core.tell(events.InstallEnded(f"d{n}", f"t{n}", Outcome.PASSED, n * 1000))
    assert len(every(core.flush(), instructions.SendInstalled)) == 2


def test_an_installation_alone_is_told_without_waiting_for_a_report() -> None:
    core = Core().open(joined_reports=True)
    core.assign("t1")
    given = core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 3_000))
    assert every(given, instructions.FlushAt)

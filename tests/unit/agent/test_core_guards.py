"""Second lines of the agent's core: what comes twice, out of turn, or too early."""

from __future__ import annotations

import pytest

from qgjob_agent.core import events, instructions
from qgjob_agent.core.lease_clock import LeaseClock
from qgjob_agent.core.values import DeathCause, Phase, TreeDead
from tests.fakes.agent_core import WINDOW_SECONDS, Core, assignment, every, lines, only, started


def test_an_assignment_that_comes_before_the_welcome_of_its_session_is_refused() -> None:
    """The lease of the session before is fresh, so nothing else would keep it from beginning."""
    core = Core().open().warm()
    core.tell(events.SessionLost(1))
    core.connect()
    assert started(core.assign("t1")) == []
    assert core.state.leases == {}


def test_an_assignment_that_is_repeated_is_the_same_attempt() -> None:
    core = Core().open().warm()
    assert started(core.assign("t1", "t2")) == ["t1"]
    assert started(core.assign("t1", "t2")) == []
    assert started(core.finish("t1")) == ["t2"]
    assert started(core.finish("t2")) == []


def test_what_a_runner_says_of_an_attempt_that_ended_changes_nothing() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.finish("t1")
    core.flush()
    assert lines(core.dead("t1")) == lines(core.finish("t1")) == []
    assert [lease.phase for lease in core.state.leases.values()] == [Phase.SPOOLED, Phase.RUNNING]
    assert "t1" not in "".join(lines(core.flush()))


def test_a_confirmation_that_was_overtaken_takes_no_time_back() -> None:
    clock = LeaseClock()
    clock.window = 48.0
    assert clock.confirm(100.0, 101.0)
    assert not clock.confirm(90.0, 102.0)
    assert clock.ends_at == 148.0


def test_a_result_stays_in_the_spool_until_it_is_acknowledged() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.finish("t1")
    sent = core.flush()
    (report,) = every(sent, instructions.Persist)[0].reports
    assert every(sent, instructions.SendReports)
    assert every(core.said, instructions.Unspool) == []
    core.acknowledge(report.report_id)
    assert only(core.said, instructions.Unspool).report_ids == [report.report_id]


@pytest.mark.parametrize("asked", [DeathCause.LEASE_LOST, DeathCause.SHUTDOWN, DeathCause.REVOKED])
def test_what_an_earlier_daemons_host_took_is_not_what_was_asked_for_later(asked: DeathCause) -> None:
    """It was dead before anybody wanted its end. (The store knows by itself that a revoked one has no verdict.)"""
    core = Core()
    core.tell(events.Recovered([], [events.RunningAttempt(assignment("t1"), 5)]))
    core.open(adopted=["t1"])
    if asked is DeathCause.REVOKED:
        core.tell(events.Revoked(1, "t1", "cancelled", 0))
    elif asked is DeathCause.SHUTDOWN:
        core.tell(events.ShutdownRequested(0))
    else:
        core.tell(events.SessionLost(1))
        core.after(WINDOW_SECONDS).tell(events.Woken())
    assert core.state.leases["t1"].cause is asked
    core.report(events.AttemptKilled("t1", 9, DeathCause.AGENT_LOST))
    core.flush()
    (body,) = [told.body for written in every(core.said, instructions.Persist) for told in written.reports]
    assert isinstance(body, TreeDead)
    assert (body.cause, body.started) == (DeathCause.AGENT_LOST, True)

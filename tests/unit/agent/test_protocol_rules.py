"""The agent's side of the protocol: one test for each counterexample that a missing rule would allow."""

from __future__ import annotations

import pytest

from qgjob_agent.core import events, instructions
from qgjob_agent.core.events import AttemptKilled, RunningAttempt
from qgjob_agent.core.values import DeathCause, Finished, Outcome, Phase, SpooledReport, TreeDead, Verdict
from tests.fakes.agent_core import WINDOW_SECONDS, Core, assignment, every, lines, only, started

# ---- the epoch check ----


def test_assignment_of_an_older_epoch_is_refused() -> None:
    core = Core().open().warm()
    core.tell(events.SessionLost(1))
    core.open()
    given = core.assign("t1", epoch=1)
    assert started(given) == []
    assert "t1" not in core.state.leases
    assert lines(given) == ["note message_of_another_session"]


def test_assignment_of_a_higher_epoch_is_refused_too() -> None:
    core = Core().open().warm()
    assert started(core.assign("t1", epoch=2)) == []


@pytest.mark.parametrize(
    "message",
    [
        events.HeartbeatConfirmed(1, 1, revoked=["t1"]),
        events.ReportsAcknowledged(1, [(1, Verdict.APPLIED)]),
        events.Recalled(1, 1, ["t2"]),
        events.Revoked(1, "t1", "cancelled", 0),
        events.DrainDevice(1, "d1"),
        events.Welcomed(1, 1, 1, 1, 1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_message_of_an_older_epoch_changes_nothing(message: events.Event) -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.SessionLost(1))
    core.open()
    assert lines(core.tell(message)) == ["note message_of_another_session"]
    assert [lease.phase for lease in core.state.leases.values()] == [Phase.RUNNING, Phase.UNSTARTED]


def test_messages_before_the_welcome_are_refused() -> None:
    core = Core().warm()
    core.connect()
    assert started(core.assign("t1")) == []


# ---- the local guard ----


def test_nothing_starts_beside_a_living_tree() -> None:
    core = Core().open().warm()
    core.assign("t1")
    assert started(core.assign("t2")) == []


def test_nothing_starts_beside_a_dying_tree() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.Revoked(1, "t1", "cancelled", 0))
    assert started(core.after(20).assign("t3")) == []
    assert started(core.dead("t1")) == ["t2"]


def test_nothing_starts_beside_a_tree_of_an_earlier_daemon() -> None:
    core = Core().warm()
    core.tell(events.Recovered([], [RunningAttempt(assignment("t1"), 5)]))
    core.open()
    assert started(core.assign("t2")) == []
    assert started(core.finish("t1")) == ["t2"]


def test_nothing_starts_beside_an_installation_that_is_being_stopped() -> None:
    core = Core().open()
    core.assign("t1", "t2")
    assert only(core.tell(events.Revoked(1, "t1", "cancelled", 0)), instructions.Kill).installing
    given = core.tell(events.InstallEnded("d1", "t1", Outcome.DEVICE_ERROR, 0, cancelled=True))
    assert lines(given) == ["install v1 on d1"]  # for t2, now that nothing lives
    assert lines(core.flush()) == ["spool t1 dead (revoked)", "send t1 dead (revoked)"]


def test_a_tree_of_a_device_that_is_no_longer_configured_is_watched_to_its_end() -> None:
    core = Core("d1")
    core.tell(events.Recovered([], [RunningAttempt(assignment("t1", "d9"), 5)]))
    hello = core.connect()
    assert [shown.token for shown in hello.held] == ["t1"]
    assert [view.facts.device_id for view in hello.devices] == ["d1"]
    core.welcome()
    core.finish("t1")
    assert lines(core.flush())[-1].endswith("t1 passed")


# ---- the 48 s rule ----


def test_nothing_starts_before_a_first_confirmation() -> None:
    core = Core().warm()
    core.tell(events.Recovered([], []))
    core.connect()
    assert core.state.clock.confirmed_at is None
    assert not core.state.may_start


def test_nothing_starts_when_the_last_confirmed_heartbeat_was_sent_too_long_ago() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.SessionLost(1))
    core.after(WINDOW_SECONDS)
    assert started(core.finish("t1")) == []


def test_starts_go_on_until_just_before_that() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.SessionLost(1))
    core.after(WINDOW_SECONDS - 0.001)
    assert started(core.finish("t1")) == ["t2"]


def test_confirmation_counts_from_its_sending_not_its_receipt() -> None:
    core = Core().open().warm()
    sent = core.heartbeat()
    sent_at = core.now
    core.after(20).confirm(sent.seq)
    assert core.state.clock.ends_at == sent_at + WINDOW_SECONDS


def test_welcome_counts_from_the_sending_of_hello() -> None:
    core = Core()
    core.connect()
    sent_at = core.now
    renewed = only(core.after(8).welcome(), instructions.RenewLease)
    assert (renewed.confirmed_at, renewed.window_seconds) == (sent_at, WINDOW_SECONDS)


def test_late_confirmation_revives_nothing() -> None:
    core = Core().open().warm()
    sent = core.heartbeat()
    core.after(WINDOW_SECONDS)
    core.state.session.last_heard_at = core.now
    given = core.confirm(sent.seq)
    assert every(given, instructions.RenewLease) == []
    assert started(core.assign("t1")) == []


def test_late_welcome_revives_nothing() -> None:
    core = Core().warm()
    core.connect()
    given = core.after(WINDOW_SECONDS).welcome()
    assert every(given, instructions.RenewLease) == []
    assert started(core.assign("t1")) == []
    assert started(core.confirm(core.heartbeat().seq)) == ["t1"]  # a confirmation in time does


def test_an_older_confirmation_does_not_shorten_the_lease() -> None:
    core = Core().open()
    first, second = core.heartbeat(), core.heartbeat()
    core.confirm(second.seq)
    ends_at = core.state.clock.ends_at
    core.confirm(first.seq)
    assert core.state.clock.ends_at == ends_at


def busy() -> Core:
    """A core with one attempt under way."""
    core = Core().open().warm()
    core.assign("t1")
    return core


def awake_until(core: Core, at: float) -> None:
    """Time passes, and the core is woken whenever it asked for it; nobody confirms anything."""
    while core.state.wake_at is not None and core.state.wake_at < at:
        core.now = core.state.wake_at
        core.tell(events.Woken())
    core.now = at


def spooled(core: Core) -> list[DeathCause]:
    """Causes of the deaths that were written down."""
    core.flush()
    return [told.body.cause for written in every(core.said, instructions.Persist) for told in written.reports]


@pytest.mark.parametrize("first", ["the supervisor", "the daemon"])
def test_a_lease_that_ended_while_the_agent_stood_still_is_lost_by_the_agent(first: str) -> None:
    """Its host was starved, or slept: no outage of ours. Whoever notices first when it goes on."""
    core = busy()
    core.after(WINDOW_SECONDS + 4)
    if first == "the daemon":
        core.tell(events.Woken())
    core.report(events.AttemptKilled("t1", 5, DeathCause.LEASE_LOST))
    assert spooled(core) == [DeathCause.AGENT_LOST]


@pytest.mark.parametrize("stands_still", [0.0, 20.0])
def test_a_lease_that_ended_while_the_agent_asked_for_it_is_lost_to_an_outage(stands_still: float) -> None:
    """That it stood still for a while, as many do on a busy host, would not have cost it the lease."""
    core = busy()
    if stands_still:
        core.now = core.state.wake_at + stands_still
        core.tell(events.Woken())
    awake_until(core, 1_000 + WINDOW_SECONDS + 4)
    core.report(events.AttemptKilled("t1", 5, DeathCause.LEASE_LOST))
    assert spooled(core) == [DeathCause.LEASE_LOST]


def test_an_agent_that_stands_still_when_its_lease_is_over_did_not_lose_it_by_that() -> None:
    core = busy()
    awake_until(core, 1_000 + WINDOW_SECONDS - 1)
    core.now += 60
    core.report(events.AttemptKilled("t1", 5, DeathCause.LEASE_LOST))
    assert spooled(core) == [DeathCause.LEASE_LOST]


def test_what_an_agent_stood_still_before_its_last_confirmation_is_forgotten() -> None:
    core = busy()
    for _ in range(4):
        core.now = core.state.wake_at + 9
        core.confirm(only(core.tell(events.Woken()), instructions.SendHeartbeat).seq)
    awake_until(core, core.now + WINDOW_SECONDS + 1)
    core.report(events.AttemptKilled("t1", 5, DeathCause.LEASE_LOST))
    assert spooled(core) == [DeathCause.LEASE_LOST]


def test_a_restarted_agent_that_found_no_coordinator_yet_does_not_take_the_lease_end_upon_itself() -> None:
    core = Core()
    core.tell(events.Recovered([], [events.RunningAttempt(assignment("t1"), 5)]))
    core.after(WINDOW_SECONDS).report(events.AttemptKilled("t1", 9, DeathCause.LEASE_LOST))
    assert spooled(core) == [DeathCause.LEASE_LOST]


def test_lease_end_kills_what_runs_also_without_a_supervisor() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.SessionLost(1))
    given = core.after(WINDOW_SECONDS).tell(events.Woken())
    kill = only(given, instructions.Kill)
    assert (kill.token, kill.cause, kill.grace_seconds) == ("t1", DeathCause.LEASE_LOST, 6.0)
    assert started(core.dead("t1")) == []
    assert lines(core.flush()) == ["spool t1 dead (lease_lost)"]
    assert every(core.tell(events.Woken()), instructions.Kill) == []


def test_an_installation_that_outlasts_the_lease_starts_nothing() -> None:
    core = Core().open()
    core.assign("t1")
    core.tell(events.SessionLost(1))
    core.after(WINDOW_SECONDS + 1)
    assert started(core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 49_000))) == []
    assert core.state.leases["t1"].phase is Phase.SPOOLED


# ---- recall and revocation ----


def test_recall_is_only_released_by_the_answer() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    answer = only(core.tell(events.Recalled(1, 9, ["t2"])), instructions.SendRecallAnswer)
    assert (answer.recall_id, answer.released, answer.kept) == (9, ["t2"], [])
    assert started(core.finish("t1")) == []  # t2 is never begun


def test_recall_of_what_began_meanwhile_keeps_it() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.finish("t1")
    answer = only(core.tell(events.Recalled(1, 9, ["t1", "t2", "unknown"])), instructions.SendRecallAnswer)
    assert (answer.released, answer.kept) == ([], ["t1", "t2", "unknown"])


def test_heartbeat_confirmation_brings_a_cancel_from_another_coordinator() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    given = core.confirm(core.heartbeat().seq, revoked=["t1", "t2"])
    assert lines(given) == ["renew", "kill t1: revoked"]
    core.dead("t1")
    assert lines(core.flush())[0] == "spool t2 dead (revoked), t1 dead (revoked)"


def test_heartbeat_confirmation_takes_away_what_is_not_ours() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    given = core.confirm(core.heartbeat().seq, released=["t1", "t2"])
    assert lines(given) == ["renew", "kill t1: lease_lost"]
    assert "t2" not in core.state.leases


def test_revocation_of_an_unstarted_attempt_is_reported_as_never_begun() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.Revoked(1, "t2", "cancelled", 0))
    body = only(core.flush(), instructions.Persist).reports[0].body
    assert isinstance(body, TreeDead)
    assert (body.cause, body.started) == (DeathCause.REVOKED, False)


def test_a_repeated_kill_is_one_kill() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.tell(events.Revoked(1, "t1", "cancelled", 500))
    assert lines(core.tell(events.Revoked(1, "t1", "cancelled", 500))) == []


def test_a_test_that_ends_by_itself_while_it_is_killed_keeps_its_result() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.tell(events.Revoked(1, "t1", "cancelled", 0))
    core.finish("t1", Outcome.TEST_FAILED)
    assert lines(core.flush())[-1].endswith("t1 test_failed")


# ---- connecting ----


def test_unstarted_attempts_are_shown_at_connect() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.SessionLost(1))
    assert lines([core.connect()]) == ["hello 2: t1 running, t2 unstarted"]


def test_spooled_result_is_shown_at_connect() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.finish("t1")
    core.tell(events.SessionLost(1))
    given = core.tell(events.SessionConnecting(2))
    assert lines(given) == ["spool t1 passed", "hello 2: t1 spooled"]  # on the disk before it is shown


def test_a_result_that_an_earlier_daemon_spooled_is_shown_and_sent() -> None:
    core = Core()
    body = Finished(Outcome.PASSED, 1, 2, 1)
    core.tell(events.Recovered([SpooledReport(41, "acme~t1", "t1", 1, "d1", body)], []))
    assert lines([core.connect()]) == ["hello 1: t1 spooled"]
    assert lines(core.welcome()) == ["renew", "send t1 passed"]
    assert lines(core.acknowledge(41)) == ["unspool [41]"]


def test_report_ids_go_on_above_those_in_the_spool() -> None:
    core = Core().warm()
    core.tell(events.Recovered([SpooledReport(41, "acme~t1", "t1", 1, "d1", Finished(Outcome.PASSED, 1, 2, 1))], []))
    core.open()
    core.assign("t2")
    core.finish("t2")
    sent = only(core.flush(), instructions.SendReports)
    assert [report.report_id for report in sent.reports] == [42, 43]


def test_released_at_connect_drops_the_unstarted_and_kills_the_running() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.SessionLost(1))
    core.connect()
    given = core.welcome(adopted=[], released=["t1", "t2"])
    assert [kill.token for kill in every(given, instructions.Kill)] == ["t1"]
    assert list(core.state.leases) == ["t1"]
    assert started(core.assign("t3")) == []  # the device is not free until the end is seen
    assert started(core.dead("t1")) == ["t3"]


def test_what_was_shown_and_is_not_adopted_is_treated_as_released() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.SessionLost(1))
    core.connect()
    assert [kill.token for kill in every(core.welcome(adopted=["t2"]), instructions.Kill)] == ["t1"]
    assert core.state.leases["t2"].phase is Phase.UNSTARTED


def test_released_although_begun_since_the_hello_is_killed() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    core.tell(events.SessionLost(1))
    core.connect()
    core.finish("t1")  # t2 begins between Hello and Welcome
    given = core.welcome(adopted=["t1"], released=["t2"])
    assert [kill.token for kill in every(given, instructions.Kill)] == ["t2"]


def test_revoked_at_connect_is_killed_and_its_end_reported() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.tell(events.SessionLost(1))
    core.connect()
    kill = only(core.welcome(revoked=["t1"]), instructions.Kill)
    assert kill.cause is DeathCause.REVOKED


# ---- the order of effects ----


def test_results_are_spooled_before_they_are_sent() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.finish("t1")
    kinds = [type(given) for given in core.flush()]
    assert kinds.index(instructions.Persist) < kinds.index(instructions.SendReports)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_every_verdict_unspools(verdict: Verdict) -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.finish("t1")
    core.flush()
    said, done = lines(core.acknowledge(1, 2, verdict=verdict)), ["unspool [2]"]
    assert said == (["note result_not_taken", *done] if verdict is Verdict.STALE else done)
    assert core.state.leases == {}


def test_unacknowledged_reports_are_sent_again_in_the_next_session() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.report(events.AttemptStarted("t1", 1))
    core.flush()
    core.finish("t1")
    core.flush()
    core.tell(events.SessionLost(1))
    core.connect()
    sent = only(core.welcome(), instructions.SendReports)
    assert [report.report_id for report in sent.reports] == [1, 2]


def test_an_acknowledged_start_is_not_sent_again() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.report(events.AttemptStarted("t1", 1))
    core.flush()
    core.acknowledge(1)
    core.tell(events.SessionLost(1))
    core.connect()
    assert every(core.welcome(), instructions.SendReports) == []


def test_a_repeated_assignment_is_one_lease() -> None:
    core = Core().open().warm()
    core.assign("t1", "t2")
    assert started(core.assign("t1", "t2")) == []
    core.finish("t1")
    assert started(core.finish("t2")) == []
    assert len(core.state.leases) == 2


def test_what_a_runner_says_after_the_end_changes_nothing() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.finish("t1")
    core.flush()
    assert lines(core.report(AttemptKilled("t1", 5))) == []
    assert lines(core.finish("t1")) == []

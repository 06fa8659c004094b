"""The core's smaller rules: coalescing, refusals, drains, the disk, timers, the end."""

from __future__ import annotations

import pytest

from qgjob_agent.core import events, instructions
from qgjob_agent.core.values import App, DeathCause, DeviceFacts, Health, Outcome, Phase, Target, TreeDead
from tests.fakes.agent_core import Core, assignment, every, lines, only, started

# ---- coalescing ----


def test_reports_of_one_moment_go_in_one_message() -> None:
    core = Core("d1", "d2").open().warm()
    core.assign("t1", device="d1")
    core.assign("t2", device="d2")
    flush_at = only(core.report(events.AttemptStarted("t1", 1)), instructions.FlushAt)
    assert flush_at.at <= core.now  # an idle agent waits for nothing
    assert every(core.report(events.AttemptStarted("t2", 1)), instructions.FlushAt) == []
    assert lines(core.flush()) == ["send t1 started, t2 started"]


def test_a_busy_agent_pauses_between_messages() -> None:
    core = Core("d1", "d2").open().warm()
    core.assign("t1", device="d1")
    core.report(events.AttemptStarted("t1", 1))
    core.flush()
    core.after(0.0005)
    flush_at = only(core.finish("t1"), instructions.FlushAt)
    assert 0.001 < flush_at.at - core.now <= 0.002


def test_many_reports_do_not_wait_for_the_pause() -> None:
    core = Core("d1", attempts_per_execution=10, flush_reports=4).open().warm()
    core.assign("t1", "t2")
    core.finish("t1")
    assert [len(sent.reports) for sent in every(core.finish("t2"), instructions.SendReports)] == [4]


def test_progress_is_coalesced_to_the_latest_and_never_sent_again() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.report(events.AttemptProgressed("t1", 10), events.AttemptProgressed("t1", 20))
    assert lines(core.flush()) == ["send t1 20%"]
    core.tell(events.SessionLost(1))
    core.connect()
    assert every(core.welcome(), instructions.SendReports) == []


def test_progress_of_a_finished_attempt_is_not_sent() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.report(events.AttemptProgressed("t1", 10))
    core.finish("t1")
    assert lines(core.flush())[-1] == "send t1 started, t1 passed"


# ---- batches of one execution ----


def test_a_runner_that_takes_several_gets_those_of_one_build() -> None:
    core = Core(attempts_per_execution=3).open().warm("v1")
    core.assign("t1")
    core.assign("t2", "t3", "t4", "t5")
    core.assign("t6", app="v2")
    assert started(core.finish("t1")) == ["t2", "t3", "t4"]
    core.finish("t2")
    core.finish("t3")
    assert started(core.finish("t4")) == ["t5"]
    assert lines(core.finish("t5")) == ["install v2 on d1"]


def test_what_waits_behind_an_installation_goes_with_it_into_one_batch() -> None:
    core = Core(attempts_per_execution=3).open()
    core.assign("t1", "t2", "t3", "t4")
    core.assign("t5", app="v2")
    installed = events.InstallEnded("d1", "t1", Outcome.PASSED, 40)
    assert started(core.tell(installed)) == ["t1", "t2", "t3"]
    core.finish("t1")
    core.finish("t3")
    assert started(core.finish("t2")) == ["t4"]


def test_one_of_a_batch_that_was_taken_back_is_told_as_never_begun() -> None:
    core = Core(attempts_per_execution=3).open().warm()
    core.assign("t1")
    core.assign("t2", "t3")
    core.finish("t1")
    core.tell(events.Revoked(core.epoch, "t3", "cancelled", 0))
    core.report(events.AttemptKilled("t3", 1, DeathCause.REVOKED, begun=False))
    (told,) = every(core.flush(), instructions.SendReports)
    bodies = {report.lease.token: report.body for report in told.reports}
    assert (bodies["t3"].cause, bodies["t3"].started) == (DeathCause.REVOKED, False)  # type: ignore[union-attr]
    assert core.state.devices["d1"].living == {"t2"}


def test_installations_of_the_test_itself_are_counted_on_its_attempt() -> None:
    core = Core().open(joined_reports=True).warm()
    core.assign("t1")
    core.report(events.AttemptInstalled("t1", 2, 700))
    core.finish("t1")
    assert lines(core.flush())[-1] == "send install passed 700 ms, install passed 700 ms, t1 passed"


# ---- installing ----


def test_a_failed_installation_is_the_devices_fault_and_the_next_tries_again() -> None:
    core = Core().open()
    core.assign("t1", "t2")
    given = core.tell(events.InstallEnded("d1", "t1", Outcome.DEVICE_ERROR, 900, error="no space on the device"))
    assert lines(given) == ["install v1 on d1"]
    told = ["spool t1 device_error", "tell install device_error 900 ms", "send t1 device_error"]
    assert lines(core.flush()) == told  # no start is told
    body = core.state.outbox.unacked[1].body
    assert (body.error, body.install_ms, body.begun) == ("no space on the device", 900, False)


def test_what_is_installed_is_unknown_after_a_stopped_installation() -> None:
    core = Core().open().warm("v1")
    core.assign("t1", app="v2")
    core.tell(events.Revoked(1, "t1", "cancelled", 0))
    core.tell(events.InstallEnded("d1", "t1", Outcome.DEVICE_ERROR, 0, cancelled=True))
    assert core.state.devices["d1"].installed is None


def test_a_build_that_cannot_be_resolved_is_reported_as_that() -> None:
    core = Core().open()
    core.assign("t1")
    error = "nobody pushed v1; push it with qgjob builds push"
    core.tell(events.InstallEnded("d1", "t1", Outcome.PROVIDER_ERROR, 0, error=error, unresolvable=True))
    told = lines(core.flush())
    body = core.state.outbox.unacked[1].body
    assert (body.outcome, body.error, body.unresolvable, body.begun) == (Outcome.PROVIDER_ERROR, error, True, False)
    assert (told, body.install_ms) == (
        ["spool t1 provider_error", "send t1 provider_error"],
        None,
    )  # and no installation


def test_a_build_that_cannot_be_had_at_the_moment_is_no_installation() -> None:
    core = Core().open()
    core.assign("t1")
    error = "the coordinator is away"
    event = events.InstallEnded("d1", "t1", Outcome.PROVIDER_ERROR, 60_000, error=error, unfetched=True)
    event.host_unfit = True
    core.tell(event)
    told = lines(core.flush())
    body = core.state.outbox.unacked[1].body
    assert (body.outcome, body.error, body.unfetched, body.unresolvable) == (Outcome.PROVIDER_ERROR, error, True, False)
    assert body.host_unfit
    assert (told, body.install_ms) == (["spool t1 provider_error", "send t1 provider_error"], None)


def test_a_build_that_was_there_already_is_no_installation() -> None:
    core = Core().open()
    core.assign("t1")
    given = core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 30, was_there=True))
    assert lines(given) == ["start t1 on d1"]
    core.finish("t1")
    assert [line for line in lines(core.flush()) if "install" in line] == []


@pytest.mark.parametrize(
    ("there", "wanted", "installs"),
    [
        ("aa", "aa", False),
        ("aa", "bb", True),  # the version was pushed again with other content
        (None, "bb", True),  # what lies there is of before it was pushed
        ("aa", None, False),  # nobody asks for a certain content
    ],
)
def test_a_build_with_another_digest_is_installed_again(there: str | None, wanted: str | None, installs: bool) -> None:
    core = Core().open().warm("v1", there)
    expected = "install v1 on d1" if installs else "start t1 on d1"
    assert lines(core.assign("t1", digest=wanted)) == [expected]


def test_attempts_of_one_version_with_other_content_are_not_begun_together() -> None:
    core = Core(attempts_per_execution=8).open().warm("v1", "aa")
    first, other = [assignment(token, digest=digest) for token, digest in (("t1", "aa"), ("t2", "bb"))]
    assert lines(core.tell(events.Assigned(core.epoch, [first, other]))) == ["start t1 on d1"]
    assert lines(core.finish("t1")) == ["install v1 on d1"]


def test_an_installation_during_a_broken_stream_is_told_in_the_next_session() -> None:
    core = Core().open()
    core.assign("t1")
    core.tell(events.SessionLost(1))
    core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 3_000))
    core.after(1).connect()
    told = only(core.welcome(), instructions.SendInstalled)
    assert (told.epoch, told.installation.install_ms) == (2, 3_000)


def test_the_hello_says_what_is_installed() -> None:
    core = Core().open().warm("v7")
    core.tell(events.SessionLost(1))
    assert [view.installed for view in core.connect().devices] == [App("acme", "v7")]


# ---- what is refused ----


def test_an_assignment_for_an_unknown_device_is_given_back() -> None:
    core = Core("d1").open().warm()
    core.assign("t1", device="d9")
    body = core.state.outbox.unsent[0].body
    assert isinstance(body, TreeDead)
    assert (body.cause, body.started) == (DeathCause.DEVICE_LOST, False)
    assert [view.facts.device_id for view in core.state.views()] == ["d1"]


def test_far_more_than_the_credit_is_given_back() -> None:
    core = Core(credit=1, overcommit=2).open().warm()
    core.assign("t1", "t2", "t3")
    assert [lease.phase for lease in core.state.leases.values()] == [Phase.RUNNING, Phase.UNSTARTED, Phase.SPOOLED]


def test_a_draining_device_finishes_gives_back_and_takes_nothing() -> None:
    core = Core("d1", "d2").open().warm()
    core.assign("t1", "t2")
    core.tell(events.DrainDevice(1, "d1"))
    assert core.state.leases["t2"].phase is Phase.SPOOLED
    assert started(core.finish("t1")) == []
    core.assign("t3")
    assert core.state.leases["t3"].phase is Phase.SPOOLED
    assert started(core.assign("t4", device="d2")) == ["t4"]
    core.tell(events.ResumeDevice(1, "d1"))
    assert started(core.assign("t5")) == ["t5"]


def test_a_command_for_an_unknown_device_is_said() -> None:
    core = Core().open()
    assert lines(core.tell(events.DrainDevice(1, "d9"))) == ["note command_for_unknown_device"]


def test_a_probe_is_asked_and_answered() -> None:
    core = Core().open()
    assert only(core.tell(events.ProbeDevice(1, "d1")), instructions.Probe).device_id == "d1"
    answer = only(core.tell(events.DeviceProbed("d1", Health.BAD, "no battery")), instructions.SendProbeResult)
    assert (answer.health, answer.reason) == (Health.BAD, "no battery")


# ---- devices that come and go ----


def test_a_device_that_comes_back_is_cold_and_waits_for_its_old_tree() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.tell(events.DeviceLost("d1"))
    facts = DeviceFacts("d1", "d1", Target.EMULATOR)
    inventory = only(core.tell(events.DeviceSeen(facts)), instructions.SendInventory)
    assert [(view.facts.device_id, view.installed) for view in inventory.changed] == [("d1", None)]
    assert lines(core.assign("t2")) == []  # t1 is not known dead yet
    assert lines(core.dead("t1")) == ["install v1 on d1"]


def test_a_new_device_is_told_and_serves() -> None:
    core = Core("d1").open()
    core.tell(events.DeviceSeen(DeviceFacts("d2", "d2", Target.DEVICE)))
    assert lines(core.assign("t1", device="d2")) == ["install v1 on d2"]


def test_what_its_provider_finds_installed_is_not_installed_again() -> None:
    core = Core("d1").open()
    app = App("acme", "v1", "aa")
    core.tell(events.DeviceSeen(DeviceFacts("d2", "d2", Target.DEVICE), app))
    assert lines(core.assign("t1", device="d2", digest="aa")) == ["start t1 on d2"]
    core.tell(events.DeviceLost("d2"))
    core.dead("t1")
    inventory = only(
        core.tell(events.DeviceSeen(DeviceFacts("d2", "d2", Target.DEVICE), app)), instructions.SendInventory
    )
    assert [view.installed for view in inventory.changed] == [app]


def test_devices_that_come_or_go_between_hello_and_welcome_are_told_when_the_session_is_open() -> None:
    core = Core("d1", "d3")
    core.tell(events.DeviceLost("d3"))
    assert [view.facts.device_id for view in core.connect().devices] == ["d1"]
    assert every(core.tell(events.DeviceSeen(DeviceFacts("d2", "d2", Target.DEVICE))), instructions.SendInventory) == []
    core.tell(events.DeviceLost("d1"))
    inventory = only(core.welcome(), instructions.SendInventory)
    assert ([view.facts.device_id for view in inventory.changed], inventory.gone) == (["d2"], ["d1"])
    core.tell(events.SessionLost(core.epoch))
    core.tell(events.DeviceSeen(DeviceFacts("d1", "d1", Target.EMULATOR)))  # the next Hello has it
    assert [view.facts.device_id for view in core.connect().devices] == ["d1", "d2"]
    assert every(core.welcome(), instructions.SendInventory) == []


def test_a_build_that_another_program_removed_is_installed_again() -> None:
    core = Core("d1").open().warm("v1", "aa")
    facts = DeviceFacts("d1", "d1", Target.EMULATOR)
    core.assign("t1", digest="aa")
    core.finish("t1")
    core.tell(events.DeviceSeen(facts))
    assert lines(core.assign("t2", digest="aa")) == ["install v1 on d1"]


def test_a_build_that_was_seen_to_be_gone_while_a_test_ran_is_installed_before_the_next_one() -> None:
    """It is told once, and a busy device is never seen with nothing on it."""
    core = Core("d1").open().warm("v1", "aa")
    core.assign("t1", "t2", digest="aa")
    core.tell(events.DeviceSeen(DeviceFacts("d1", "d1", Target.EMULATOR)))
    assert core.state.devices["d1"].installed == App("acme", "v1", "aa"), "the test may be at it"
    given = core.finish("t1")
    assert "install v1 on d1" in lines(given)
    assert [each.installed for told in every(given, instructions.SendInventory) for each in told.changed] == [None]


def test_a_build_that_was_seen_again_before_the_test_ended_is_there() -> None:
    core = Core("d1").open().warm("v1", "aa")
    core.assign("t1", "t2", digest="aa")
    facts, app = DeviceFacts("d1", "d1", Target.EMULATOR), App("acme", "v1", "aa")
    core.tell(events.DeviceSeen(facts))
    core.tell(events.DeviceSeen(facts, app))
    given = core.finish("t1")
    assert not [line for line in lines(given) if line.startswith("install")]
    assert every(given, instructions.SendInventory) == []


def test_what_was_seen_before_an_installation_ended_counts_for_nothing() -> None:
    core = Core("d1").open()
    core.assign("t1", "t2", digest="aa")
    core.tell(events.DeviceSeen(DeviceFacts("d1", "d1", Target.EMULATOR)))
    assert "start t1 on d1" in lines(core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 40)))
    assert "start t2 on d1" in lines(core.finish("t1"))


def test_what_was_seen_before_a_device_went_away_counts_for_nothing() -> None:
    core = Core("d1").open().warm("v1", "aa")
    core.assign("t1", digest="aa")
    core.tell(events.DeviceSeen(DeviceFacts("d1", "d1", Target.EMULATOR)))
    assert [told.gone for told in every(core.tell(events.DeviceLost("d1")), instructions.SendInventory)] == [["d1"]]
    ended = core.report(events.AttemptKilled("t1", DeathCause.DEVICE_LOST, 5))
    assert every(ended, instructions.SendInventory) == [], "it is gone, which was told"


# ---- the disk ----


def test_a_full_disk_takes_no_new_work_and_keeps_what_it_has() -> None:
    core = Core("d1", "d2").open().warm()
    core.assign("t1", "t2")
    given = core.tell(events.SpoolFailed("No space left on device"))
    inventory = only(given, instructions.SendInventory)
    assert {view.health for view in inventory.changed} == {Health.BAD}
    assert "No space left" in (inventory.changed[0].reason or "")
    assert [core.state.leases[token].phase for token in ("t1", "t2")] == [Phase.RUNNING, Phase.SPOOLED]
    core.assign("t3", device="d2")
    assert core.state.leases["t3"].phase is Phase.SPOOLED
    core.finish("t1")
    assert lines(core.flush())[-1].endswith("t1 passed")  # a result is told all the same


def test_a_full_disk_is_tried_again_and_work_is_taken_when_it_writes() -> None:
    core = Core().open().warm()
    core.tell(events.SpoolFailed("No space left on device"))
    core.after(1)
    assert len(every(core.tell(events.Woken()), instructions.Persist)) == 1
    assert every(core.tell(events.Woken()), instructions.Persist) == []  # not before another pause
    inventory = only(core.tell(events.SpoolRecovered()), instructions.SendInventory)
    assert {view.health for view in inventory.changed} == {Health.GOOD}
    assert started(core.assign("t1")) == ["t1"]


def test_a_session_that_opens_while_the_disk_is_full_says_so() -> None:
    core = Core().open()
    core.tell(events.SpoolFailed("No space left on device"))
    core.tell(events.SessionLost(1))
    assert {view.health for view in core.connect().devices} == {Health.BAD}


# ---- timers ----


def test_the_next_timer_is_the_earliest_of_all() -> None:
    core = Core()
    core.connect()
    wake = only(core.welcome(), instructions.WakeAt)
    assert wake.at == core.now + 5  # a heartbeat
    core.now = wake.at
    assert only(core.tell(events.Woken()), instructions.WakeAt).at == core.now + 5


def test_a_timer_that_fires_early_is_set_again() -> None:
    core = Core().open()
    core.after(4.999)
    given = core.tell(events.Woken())
    assert every(given, instructions.SendHeartbeat) == []
    assert only(given, instructions.WakeAt).at == 1_005


def test_a_coordinator_that_is_silent_for_the_session_timeout_is_left() -> None:
    core = Core().open()
    core.heartbeat()
    core.heartbeat()
    core.now = 1_015
    assert only(core.tell(events.Woken()), instructions.CloseSession).epoch == 1


def test_any_message_shows_that_the_coordinator_lives() -> None:
    core = Core().open().warm()
    core.after(14).assign("t1")
    core.after(14)
    assert every(core.tell(events.Woken()), instructions.CloseSession) == []


# ---- the end ----


def test_a_second_request_takes_the_grace_away() -> None:
    core = Core("d1", "d2").open().warm()
    core.assign("t1", device="d1")
    core.assign("t2", device="d2")
    core.tell(events.Revoked(1, "t2", "cancelled", 0))
    core.tell(events.ShutdownRequested(30))
    kills = every(core.tell(events.ShutdownRequested(30)), instructions.Kill)
    assert {(kill.token, kill.grace_seconds) for kill in kills} == {("t1", 0.0), ("t2", 0.0)}


def test_at_the_deadline_of_the_drain_what_still_runs_is_killed_with_its_grace() -> None:
    core = Core("d1", "d2").open().warm()
    core.assign("t1", device="d1")
    core.tell(events.ShutdownRequested(30))
    assert every(core.after(29.9).tell(events.Woken()), instructions.Kill) == []
    kill = only(core.after(0.1).tell(events.Woken()), instructions.Kill)
    assert (kill.token, kill.cause, kill.grace_seconds) == ("t1", DeathCause.SHUTDOWN, 10.0)


def test_an_installation_goes_on_while_the_agent_drains_and_its_test_is_run() -> None:
    core = Core().open()
    core.assign("t1", "t2")
    core.tell(events.ShutdownRequested(30))
    given = core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 100))
    assert started(given) == ["t1"]
    core.finish("t1")
    core.flush()
    assert started(core.said) == ["t1"]


def test_an_installation_that_outlasts_the_drain_is_stopped() -> None:
    core = Core().open()
    core.assign("t1")
    core.tell(events.ShutdownRequested(30))
    kill = only(core.after(30).tell(events.Woken()), instructions.Kill)
    assert kill.installing
    core.tell(events.InstallEnded("d1", "t1", Outcome.DEVICE_ERROR, 0, cancelled=True))
    (report,) = only(core.flush(), instructions.Persist).reports
    assert isinstance(report.body, TreeDead)
    assert report.body.cause is DeathCause.SHUTDOWN


def test_a_tree_that_does_not_die_keeps_the_agent_for_ten_seconds_beyond_its_grace() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.tell(events.ShutdownRequested(30))
    core.after(30).tell(events.Woken())
    assert every(core.after(19.9).tell(events.Woken()), instructions.Stop) == []
    given = core.after(0.1).tell(events.Woken())
    assert "note tree_left" in lines(given)
    assert only(given, instructions.Stop).trees_left == 1


def test_an_agent_that_drains_says_so_and_gives_back_what_comes() -> None:
    core = Core().open().warm()
    core.assign("t1")
    inventory = only(core.tell(events.ShutdownRequested(30)), instructions.SendInventory)
    assert {view.health for view in inventory.changed} == {Health.MAINTENANCE}
    core.assign("t2")
    assert core.state.leases["t2"].phase is Phase.SPOOLED


def test_an_idle_agent_leaves_at_once() -> None:
    core = Core().open()
    assert lines(core.tell(events.ShutdownRequested(30)))[-2:] == ["SendBye", "Stop"]


def test_a_coordinator_that_does_not_acknowledge_is_not_waited_for_for_long() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.tell(events.ShutdownRequested(30))
    core.finish("t1")
    core.flush()
    assert every(core.after(4.9).tell(events.Woken()), instructions.Stop) == []
    assert len(every(core.after(0.1).tell(events.Woken()), instructions.Stop)) == 1


def test_stop_is_said_once() -> None:
    core = Core().open()
    core.tell(events.ShutdownRequested(30))
    core.tell(events.ShutdownRequested(30))
    core.tell(events.SessionLost(1))
    assert len(every(core.said, instructions.Stop)) == 1


def test_the_time_of_an_installation_is_told_by_the_next_agent_where_this_one_dies_while_the_test_runs() -> None:
    core = Core().open()
    core.assign("t1")
    begun = only(core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 700)), instructions.Start).assignments[0]
    following = Core()
    following.tell(events.Recovered([], [events.RunningAttempt(begun, 5)]))
    following.open(adopted=["t1"]).finish("t1")
    report = only(following.flush(), instructions.Persist).reports[0]
    assert report.body.install_ms == 700

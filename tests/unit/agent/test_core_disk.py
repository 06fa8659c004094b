"""The core's rules for a disk that is full, or refuses: no new work, nothing lost, and two thresholds between."""

from __future__ import annotations

import pytest

from qgjob_agent.core import events, instructions
from qgjob_agent.core.values import DeathCause, Finished, Health, Outcome, Phase, TreeDead
from tests.fakes.agent_core import Core, every, lines, only, started

MB = 1_000_000


def again_from(free_now: str) -> str:
    return f"the agent's disk is full: {free_now} are free, and it takes work again from "


def limited(*device_ids: str) -> Core:
    return Core(*device_ids, min_free_bytes=200 * MB).open().warm()


def free(core: Core, megabytes: int, inodes: int | None = 100_000) -> list[instructions.Instruction]:
    return core.tell(events.DiskMeasured(megabytes * MB, inodes))


def told(given: list[instructions.Instruction]) -> tuple[Health, str | None]:
    (view,) = only(given, instructions.SendInventory).changed
    return view.health, view.reason


# ---- too little room ----


def test_with_too_little_room_nothing_new_is_taken_and_what_runs_goes_on() -> None:
    core = limited()
    core.assign("t1", "t2")
    assert told(free(core, 12)) == (
        Health.BAD,
        again_from("12 MB") + "300 MB",
    )
    assert [core.state.leases[token].phase for token in ("t1", "t2")] == [Phase.RUNNING, Phase.SPOOLED]
    core.assign("t3")
    sent = only(core.flush(), instructions.SendReports).reports
    dead = {report.lease.token: report.body for report in sent if isinstance(report.body, TreeDead)}
    assert {token: (body.cause, body.started) for token, body in dead.items()} == {
        "t2": (DeathCause.DISK_FULL, False),
        "t3": (DeathCause.DISK_FULL, False),
    }
    core.finish("t1")
    assert lines(core.flush())[-1].endswith("t1 passed")


def test_work_is_taken_again_at_one_and_a_half_times_the_minimum() -> None:
    core = limited()
    free(core, 199)
    assert free(core, 299) == []
    assert free(core, 200) == []
    assert told(free(core, 300)) == (Health.GOOD, None)
    assert started(core.assign("t1")) == ["t1"]


def test_room_between_the_thresholds_closes_nothing() -> None:
    core = limited()
    assert free(core, 200) == []
    assert started(core.assign("t1")) == ["t1"]


def test_too_few_inodes_are_no_room_either() -> None:
    core = limited()
    assert told(free(core, 5_000, 12)) == (
        Health.BAD,
        again_from("12 inodes") + "1500",
    )
    assert told(free(core, 5_000, None)) == (Health.GOOD, None)  # of which nobody keeps count now


def test_a_minimum_of_nothing_asks_for_nothing() -> None:
    core = Core().open().warm()
    assert free(core, 0, 0) == []
    assert started(core.assign("t1")) == ["t1"]


def test_the_hello_of_an_agent_without_room_says_so() -> None:
    core = Core(min_free_bytes=200 * MB)
    free(core, 1)
    (view,) = core.connect().devices
    assert view.health is Health.BAD


def test_an_installation_that_ends_without_room_starts_no_test_and_charges_nobody() -> None:
    core = Core(min_free_bytes=200 * MB).open()
    core.assign("t1")
    free(core, 1)
    given = core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 100))
    assert started(given) == []
    (report,) = [r for r in only(core.flush(), instructions.SendReports).reports if r.final]
    assert isinstance(report.body, TreeDead)
    assert (report.body.cause, report.body.started) == (DeathCause.DISK_FULL, False)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(Outcome.TEST_FAILED, "exit code 1; the agent's disk was full while it ran"), (Outcome.PASSED, "exit code 1")],
)
def test_a_test_that_failed_while_the_disk_was_full_says_so(outcome: Outcome, error: str) -> None:
    core = limited()
    core.assign("t1")
    free(core, 1)
    free(core, 5_000)
    core.report(events.AttemptFinished("t1", Finished(outcome, 1, 2, 1, error="exit code 1")))
    (report,) = [r for r in only(core.flush(), instructions.SendReports).reports if r.final]
    assert report.body.error == error


# ---- a disk that refuses ----


def test_what_the_disk_has_no_room_to_begin_is_given_back_and_nothing_else_begins() -> None:
    core = Core("d1", "d2").open().warm()
    core.assign("t1", "t2")
    given = core.tell(events.LaunchRefused("t1", "No space left on device"))
    assert started(given) == []
    inventory = only(given, instructions.SendInventory)
    assert {view.reason for view in inventory.changed} == {"the agent's disk refuses writes: No space left on device"}
    dead = {r.lease.token: r.body for r in only(core.flush(), instructions.SendReports).reports}
    assert {token: (body.cause, body.started) for token, body in dead.items()} == {
        "t1": (DeathCause.DISK_FULL, False),
        "t2": (DeathCause.DISK_FULL, False),
    }
    assert len(every(core.after(1).tell(events.Woken()), instructions.Persist)) == 1
    core.tell(events.SpoolRecovered())
    assert started(core.assign("t3")) == ["t3"]


def test_refusals_that_no_look_at_the_disk_explains_are_tried_again_ever_more_rarely() -> None:
    """Else the agent would take work, give it back and take it again, each second."""
    core = Core()
    refused = events.LaunchRefused("t1", "Input/output error")
    for seconds in (1, 2, 4, 8, 16, 32, 60, 60):
        core.tell(refused)
        assert every(core.after(seconds - 0.1).tell(events.Woken()), instructions.Persist) == []
        assert len(every(core.after(0.1).tell(events.Woken()), instructions.Persist)) == 1
        core.tell(events.SpoolRecovered())
    core.after(60).tell(refused)
    assert every(core.after(1).tell(events.Woken()), instructions.Persist), "that was another trouble"


def test_a_result_that_is_refused_long_after_attempts_were_is_tried_again_each_second() -> None:
    core = Core()
    for seconds in (1, 2, 4, 8):
        core.tell(events.LaunchRefused("t1", "Input/output error"))
        core.after(seconds).tell(events.SpoolRecovered())
    core.after(59).tell(events.SpoolFailed("Input/output error"))
    assert every(core.after(1).tell(events.Woken()), instructions.Persist) == [], "that is the same trouble still"
    core.after(7).tell(events.SpoolRecovered())
    core.after(60).tell(events.SpoolFailed("No space left on device"))
    for _ in range(3):
        assert every(core.after(1).tell(events.Woken()), instructions.Persist), "that is another trouble"


def test_attempts_that_are_refused_together_are_one_refusal() -> None:
    core = Core()
    for n in (1, 2, 3):
        core.tell(events.LaunchRefused(f"t{n}", "No space left on device"))
    assert every(core.after(1).tell(events.Woken()), instructions.Persist)


def test_a_refused_start_of_what_is_being_killed_is_the_end_of_it() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.tell(events.Revoked(1, "t1", "cancelled", 0))
    core.tell(events.LaunchRefused("t1", "No space left on device"))
    (report,) = only(core.flush(), instructions.SendReports).reports
    assert report.body.cause is DeathCause.REVOKED


def test_a_disk_that_takes_writes_again_and_has_little_room_keeps_the_agent_closed() -> None:
    core = limited()
    core.tell(events.SpoolFailed("No space left on device"))
    free(core, 100)
    health, reason = told(core.tell(events.SpoolRecovered()))
    assert (health, reason) == (
        Health.BAD,
        again_from("100 MB") + "300 MB",
    )
    core.assign("t1")
    assert core.state.leases["t1"].phase is Phase.SPOOLED
    assert told(free(core, 300))[0] is Health.GOOD


# ---- the end ----


def test_what_the_disk_refuses_is_not_left_behind_while_it_may_still_be_told() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.tell(events.SpoolFailed("No space left on device"))
    core.finish("t1")
    core.tell(events.SessionLost(1))
    core.flush()
    assert every(core.tell(events.ShutdownRequested(30)), instructions.Stop) == []
    core.after(2).connect()
    core.welcome()
    assert every(core.flush(), instructions.Stop) == []
    assert len(every(core.acknowledge(*core.state.outbox.unacked), instructions.Stop)) == 1


def test_without_anybody_to_tell_the_end_does_not_wait_for_the_disk_for_ever() -> None:
    core = Core().open().warm()
    core.assign("t1")
    core.tell(events.SpoolFailed("No space left on device"))
    core.finish("t1")
    core.tell(events.SessionLost(1))
    core.flush()
    core.tell(events.ShutdownRequested(30))
    core.after(5)
    assert "note results_kept" in lines(core.tell(events.Woken()))
    assert len(every(core.said, instructions.Stop)) == 1


# ---- a state directory that was removed ----


def test_without_its_state_directory_nothing_new_is_taken_until_it_is_back() -> None:
    core = limited()
    core.assign("t1", "t2")
    given = core.tell(events.StateDirSeen("/s was removed"))
    assert told(given) == (
        Health.BAD,
        "the agent's state_dir /s was removed: it takes no work until it is started anew, or has it back",
    )
    assert [core.state.leases[token].phase for token in ("t1", "t2")] == [Phase.RUNNING, Phase.SPOOLED]
    core.assign("t3")
    assert core.state.leases["t3"].phase is Phase.SPOOLED
    core.finish("t1", outcome=Outcome.TEST_FAILED)
    sent = only(core.flush(), instructions.SendReports).reports
    (body,) = [report.body for report in sent if isinstance(report.body, Finished)]
    assert body.error == "the agent's state_dir was removed while it ran"
    assert told(core.tell(events.StateDirSeen(None))) == (Health.GOOD, None)
    assert started(core.assign("t4")) == ["t4"]


def test_a_disk_that_has_room_does_not_open_an_agent_whose_state_directory_is_gone() -> None:
    core = limited()
    core.tell(events.StateDirSeen("/s was removed"))
    free(core, 12)
    assert told(free(core, 5_000))[0] is Health.BAD
    assert started(core.assign("t1")) == []

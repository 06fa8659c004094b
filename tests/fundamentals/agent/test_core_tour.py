"""A tour of the agent's core: what happens to it on the left, what it says on the right."""

from __future__ import annotations

from qgjob_agent.core import events
from qgjob_agent.core.values import DeathCause, Outcome
from tests.fakes.agent_core import Core, lines


def test_the_life_of_one_attempt() -> None:
    core = Core("d1")
    core.connect()
    assert lines(core.welcome(joined_reports=True)) == ["renew"]

    # The device is cold: the build is installed first, and the attempt that waits for it counts as running.
    assert lines(core.assign("t1")) == ["install v1 on d1"]
    core.after(3)
    assert lines(core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 3_000))) == ["start t1 on d1"]

    core.report(events.AttemptStarted("t1", 1))
    assert lines(core.flush()) == ["send install passed 3000 ms, t1 started"]
    core.finish("t1")

    # Spooled before it is sent, unspooled when it is acknowledged.
    assert lines(core.flush()) == ["spool t1 passed", "send t1 passed"]
    assert lines(core.acknowledge(1, 2)) == ["unspool [2]"]
    assert lines([core.connect()]) == ["hello 2: nothing"]


def test_a_batch_runs_in_order_without_a_round_trip() -> None:
    core = Core("d1").open().warm()
    assert lines(core.assign("t1", "t2", "t3")) == ["start t1 on d1"]
    assert lines(core.finish("t1")) == ["start t2 on d1"]
    assert lines(core.finish("t2")) == ["start t3 on d1"]


def test_devices_work_side_by_side() -> None:
    core = Core("d1", "d2").open().warm()
    core.assign("t1", device="d1")
    assert lines(core.assign("t2", device="d2")) == ["start t2 on d2"]


def test_a_build_is_installed_once_for_a_batch() -> None:
    core = Core("d1").open()
    core.assign("t1", "t2")
    core.tell(events.InstallEnded("d1", "t1", Outcome.PASSED, 3_000))
    assert lines(core.finish("t1")) == ["start t2 on d1"]


def test_another_build_takes_the_place_of_the_first() -> None:
    core = Core("d1").open().warm("v1")
    core.assign("t1", app="v1")
    core.assign("t2", app="v2")
    assert lines(core.finish("t1")) == ["install v2 on d1"]


def test_a_cancel_kills_and_the_device_is_free_when_the_tree_is_dead() -> None:
    core = Core("d1").open().warm()
    core.assign("t1", "t2")
    assert lines(core.tell(events.Revoked(1, "t1", "cancelled", 0))) == ["kill t1: revoked"]
    assert lines(core.dead("t1")) == ["start t2 on d1"]
    assert lines(core.flush()) == ["spool t1 dead (revoked)", "send t1 dead (revoked)"]


def test_a_recall_gives_back_what_has_not_begun() -> None:
    core = Core("d1").open().warm()
    core.assign("t1", "t2", "t3")
    assert lines(core.tell(events.Recalled(1, 7, ["t1", "t3"]))) == ["give back ['t3'] keep ['t1']"]
    assert lines(core.finish("t1")) == ["start t2 on d1"]
    assert lines(core.finish("t2")) == []


def test_a_broken_stream_stops_nothing() -> None:
    core = Core("d1").open().warm()
    core.assign("t1", "t2")
    core.tell(events.SessionLost(1))
    assert lines(core.finish("t1")) == ["start t2 on d1"]
    assert lines(core.flush()) == ["spool t1 passed"]
    core.after(1)
    assert lines([core.connect()]) == ["hello 2: t1 spooled, t2 running"]
    assert lines(core.welcome()) == ["renew", "send t1 started, t1 passed"]


def test_a_lost_device_gives_its_attempts_up() -> None:
    core = Core("d1").open().warm()
    core.assign("t1", "t2")
    assert lines(core.tell(events.DeviceLost("d1"))) == ["kill t1: device_lost", "SendInventory"]
    core.dead("t1")
    core.flush()
    assert lines(core.said)[-2:] == [
        "spool t2 dead (device_lost), t1 dead (device_lost)",
        "send t2 dead (device_lost), t1 dead (device_lost)",
    ]


def test_the_end_of_an_agent() -> None:
    core = Core("d1").open().warm()
    core.assign("t1", "t2")
    core.tell(events.ShutdownRequested(drain_seconds=30))  # t2 is given back, t1 may finish
    core.after(10).finish("t1")
    assert lines(core.flush())[-1] == "send t1 started, t1 passed"
    # t2's end was report 1; t1's start and end were 2 and 3.
    assert lines(core.acknowledge(1, 2, 3)) == ["unspool [1, 3]", "SendBye", "Stop"]
    assert core.state.leases == {}


def test_the_end_of_a_drain_kills() -> None:
    core = Core("d1").open().warm()
    core.assign("t1")
    core.tell(events.ShutdownRequested(drain_seconds=3))
    core.after(3)
    assert lines(core.tell(events.Woken())) == ["kill t1: shutdown"]
    core.dead("t1")
    core.flush()
    assert core.state.leases["t1"].cause is DeathCause.SHUTDOWN

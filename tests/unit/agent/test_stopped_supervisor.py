"""When a supervisor that is kept stopped is ended, and what is told of that; and that no other one is."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from qgjob_agent.core.events import AttemptFinished, AttemptKilled
from qgjob_agent.core.values import DeathCause, Outcome
from qgjob_agent.executions import names, stopped_supervisor
from qgjob_agent.executions.execution import Command, Execution
from qgjob_agent.executions.folder import ExecutionFolder
from qgjob_agent.executions.records import result_of
from qgjob_agent.executions.stopped_supervisor import (
    LOOKS_AFTER_CANCEL,
    LOOKS_AFTER_LIMIT,
    LOOKS_OF_A_RUNNING_ONE,
    Asked,
    Limits,
    Overdue,
    StoppedWatch,
)
from qgjob_agent.host.process_tree import hunt
from tests.fakes.agent_core import assignment
from tests.fakes.agent_process import alive
from tests.fakes.waiting import until
from tests.unit.agent.test_command_result import result
from tests.unit.agent.test_command_runner import DEADLINE_SECONDS, DEVICE, Told, lease, runner_of

SECONDS = 10.0  # from when it was due, with a look a second
STEP = 0.25


def first_ended(watch: StoppedWatch, asked: dict[int | None, Asked], stopped: bool = True) -> tuple[float, Overdue]:
    """When that is first said which is to be ended, looked at four times a second."""
    for step in range(1_000):
        if (overdue := watch.look(step * STEP, asked, lambda: stopped)) is not None:
            return step * STEP, overdue
    return float("inf"), Overdue("", None)


def one(timeout: float, silence: float = 0.0, spare: float = 2.0) -> StoppedWatch:
    return StoppedWatch(Limits(0.0, {0: (timeout, silence)}, spare_seconds=spare), 0.0)


def revoked(at: float, grace: float) -> Asked:
    return Asked(DeathCause.REVOKED, at, grace)


def test_a_limit_is_left_to_the_supervisor_to_the_last_of_its_grace_and_ten_seconds_more() -> None:
    assert LOOKS_AFTER_LIMIT * stopped_supervisor.LOOK_SECONDS == SECONDS
    assert first_ended(one(30.0), {}) == (30.0 + 2.0 + SECONDS, Overdue(names.TIMEOUT, 0))
    assert first_ended(one(0.0, 20.0), {}) == (20.0 + 2.0 + SECONDS, Overdue(names.SILENCE, 0))
    assert first_ended(one(30.0, 25.0), {}) == (25.0 + 2.0 + SECONDS, Overdue(names.SILENCE, 0))


def test_one_that_is_not_stopped_is_never_ended_however_late_it_is() -> None:
    assert first_ended(one(1.0, 1.0), {None: revoked(0.0, 0.0)}, stopped=False)[0] == float("inf")


def test_one_that_has_no_limit_is_not_ended_for_being_stopped() -> None:
    assert first_ended(one(0.0), {})[0] == float("inf")


def test_a_cancel_is_left_to_it_for_its_grace_and_three_seconds() -> None:
    assert LOOKS_AFTER_CANCEL * stopped_supervisor.LOOK_SECONDS == 3.0
    cancelled = Overdue(names.CANCELLED, 0, "revoked")
    assert first_ended(one(0.0), {None: revoked(5.0, 4.0)}) == (12.0, cancelled)
    assert first_ended(one(60.0), {None: revoked(5.0, 4.0).again(6.0, 0.0)}) == (9.0, cancelled)
    assert first_ended(one(60.0), {None: revoked(5.0, 4.0).again(6.0, 60.0)}) == (12.0, cancelled)


def test_what_came_first_is_why() -> None:
    assert first_ended(one(10.0), {None: revoked(11.0, 0.0)}) == (14.0, Overdue(names.TIMEOUT, 0))
    assert first_ended(one(10.0), {None: revoked(9.0, 60.0)}) == (22.0, Overdue(names.CANCELLED, 0, "revoked"))


def looks_until_ended(looks: Iterable[bool]) -> int | None:
    """How many looks it takes where the supervisor is found so at one after the other; None where it is not ended."""
    watch = one(1.0, spare=0.0)
    assert watch.look(1.0, {}, lambda: True) is None, "that it is due is no look yet"
    for number, stopped in enumerate(looks, 1):
        if watch.look(1.0 + number * stopped_supervisor.LOOK_SECONDS, {}, lambda stopped=stopped: stopped):
            return number
    return None


@pytest.mark.parametrize("awake", range(LOOKS_OF_A_RUNNING_ONE))
def test_it_is_looked_at_again_and_again_since_a_test_stops_it_when_it_likes(awake: int) -> None:
    period = [True] + [False] * awake
    assert looks_until_ended(period * 1_000) == (LOOKS_AFTER_LIMIT - 1) * len(period) + 1


@pytest.mark.parametrize("seed", range(20))
def test_a_loop_that_leaves_it_awake_at_half_of_the_looks_gains_little(seed: int) -> None:
    stops = Random(seed)  # noqa: S311 - no secret
    assert (looks_until_ended(stops.random() < 0.5 for _ in range(1_000)) or 1_000) < 10 * LOOKS_AFTER_LIMIT


def test_one_that_had_the_time_to_do_what_was_due_is_charged_with_no_stop_of_before() -> None:
    """Nothing was due, as it counts: of what is printed it hears more."""
    apart = [*[True] * (LOOKS_AFTER_LIMIT - 1), *[False] * LOOKS_OF_A_RUNNING_ONE]
    assert looks_until_ended(apart * 100) is None
    assert looks_until_ended([*apart, *[True] * 100]) == len(apart) + LOOKS_AFTER_LIMIT


def test_what_is_printed_is_not_silent() -> None:
    watch = one(0.0, 20.0)
    watch.heard(15.0)
    assert first_ended(watch, {})[0] == 15.0 + 20.0 + 2.0 + SECONDS


def test_of_several_only_the_one_whose_time_it_is_counts() -> None:
    watch = StoppedWatch(Limits(0.0, {0: (30.0, 0.0), 1: (5.0, 0.0)}, last_seconds=30.0), 0.0)
    asked: dict[int | None, Asked] = {1: revoked(0.0, 1.0)}
    assert [watch.look(float(at), asked, lambda: True) for at in range(20)] == [None] * 20
    watch.take({"event": "end", "attempt": 0}, 20.0)
    ended = [overdue for at in range(20, 25) if (overdue := watch.look(float(at), asked, lambda: True))]
    assert ended[:1] == [Overdue(names.CANCELLED, 1, "revoked")]


def test_when_it_has_found_another_one_overdue_that_one_has_all_of_its_time() -> None:
    watch = StoppedWatch(Limits(0.0, {0: (1.0, 0.0), 1: (1.0, 0.0)}), 0.0)
    assert [watch.look(float(at), {}, lambda: True) for at in range(11)] == [None] * 11
    watch.take({"event": "end", "attempt": 0}, 10.0)
    assert [watch.look(float(at), {}, lambda: True) for at in range(11, 21)] == [None] * 10
    assert watch.look(21.0, {}, lambda: True) == Overdue(names.TIMEOUT, 1)


def test_a_command_that_does_not_end_after_its_attempts_is_ended_too() -> None:
    watch = StoppedWatch(Limits(0.0, {0: (5.0, 0.0)}, last_seconds=30.0), 0.0)
    watch.take({"event": "end", "attempt": 0}, 4.0)
    assert first_ended(watch, {}) == (4.0 + 30.0 + SECONDS, Overdue(names.LINGERED, None))


# ---- what a daemon finds of it ----


def written(folder: Path, **changed: Any) -> Execution:
    """An execution as an earlier daemon has written it down that began at 100.0, and what that was later changed to."""
    made = Execution.new(folder / "executions", replace(assignment("t1"), timeout_ms=7_000))
    command = Command(["true"], {}, "/", 30_000, 4_000, 2.0, 10, look_seconds=6.0)
    made._write_spec(command, lease(), folder / "lease")
    told = json.loads((made.path / names.SPEC).read_text())
    (made.path / names.SPEC).write_text(json.dumps({**told, "began_at": 100.0} | changed))
    found = Execution.found(made.path)
    assert found is not None
    return found


def test_the_next_daemon_goes_by_the_same_limits_from_the_same_beginning(tmp_path: Path) -> None:
    assert written(tmp_path).limits(500.0) == Limits(100.0, {0: (30.0, 4.0)}, spare_seconds=8.0)


@pytest.mark.parametrize("began_at", [None, 600.0, -1, "x", float("nan"), [1]])
def test_a_beginning_that_can_not_be_is_now(tmp_path: Path, began_at: Any) -> None:
    assert written(tmp_path, began_at=began_at).limits(500.0).began_at == 500.0


@pytest.mark.parametrize(
    "changed", [{"limits": [[0, -1, 0]]}, {"grace_seconds": float("inf")}, {"look_seconds": "x"}, {"limits": 7}]
)
def test_limits_that_can_not_be_are_those_of_the_attempt_from_now_on(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert written(tmp_path, **changed).limits(500.0) == Limits(500.0, {0: (7.0, 0.0)})


def test_what_an_earlier_version_has_written_down_counts_from_now_on(tmp_path: Path) -> None:
    execution = written(tmp_path)
    told = json.loads((execution.path / names.SPEC).read_text())
    del told["began_at"]
    (execution.path / names.SPEC).write_text(json.dumps(told))
    found = Execution.found(execution.path)
    assert found is not None
    assert found.limits(500.0) == Limits(500.0, {0: (30.0, 4.0)}, spare_seconds=8.0)


def test_no_test_says_in_the_place_of_its_supervisor_that_it_was_kept_stopped() -> None:
    told = asdict(result())
    assert result_of(json.dumps(told)) is not None
    assert result_of(json.dumps(told | {"kept_stopped": True})) is None


# ---- in a runner ----


async def test_what_is_printed_after_all_that_is_kept_of_it_is_not_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, hear = list[float](), StoppedWatch.heard
    monkeypatch.setattr(StoppedWatch, "heard", lambda self, now: (heard.append(now), hear(self, now)))
    told = Told()
    chatty = "head -c 10000 /dev/zero; while :; do echo more; sleep 0.05; done"
    runner = runner_of(told, tmp_path, "sh", "-c", chatty)
    runner.start(DEVICE, [assignment("t1")])
    output = runner._attempts["t1"].execution.path / names.OUTPUT
    try:
        await until(lambda: output.exists() and output.stat().st_size == 10_000, "it does not come to the limit")
        heard.clear()
        await until(lambda: len(heard) > 5, "it is not heard any more")
        assert output.stat().st_size == 10_000
    finally:
        runner.kill("t1", DeathCause.REVOKED, 0.0)
        await until(lambda: any(isinstance(each, AttemptKilled) for each in told.events), "it does not end")
        await runner.close()


@pytest.fixture
def in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is of no use to wake a supervisor: a test stops it again before it could do anything."""
    monkeypatch.setattr(ExecutionFolder, "wake_supervisor", lambda self: None)
    monkeypatch.setattr(stopped_supervisor, "LOOK_SECONDS", 0.05)


NO_CGROUP = (
    "; from qgjob_agent.executions import supervisor; from qgjob_agent.host import process_tree; "
    "process_tree.Cgroup.make = lambda name: None"
)
SLOW = (
    "; import time; end = supervisor.Supervisor._end; supervisor.Supervisor._end = lambda *a: (time.sleep(2), end(*a))"
)
BOOT = "import sys; sys.path.insert(0, sys.argv[1]){}; supervisor.main(sys.argv[2:])"
STOPS = "echo up; until [ -s ../started ]; do sleep 0.02; done; kill -STOP $PPID; "


@pytest.mark.usefixtures("in_vain")
async def test_what_hides_from_a_hunt_is_ended_too_while_its_supervisor_has_it_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cgroup a hunt knows a tree by its environment alone."""
    monkeypatch.setattr("qgjob_agent.executions.execution._BOOT", BOOT.format(NO_CGROUP))
    hides = f"(env -i setsid sleep 60 & echo $! > {tmp_path}/pid); "
    told = Told()
    runner = runner_of(told, tmp_path, "sh", "-c", f"cd $TMPDIR; {hides}{STOPS}sleep 60; :")
    runner.start(DEVICE, [replace(assignment("t1"), timeout_ms=5_000)])
    execution = runner._attempts["t1"].execution
    try:
        await until(lambda: any(isinstance(each, AttemptFinished) for each in told.events), "its limit ends nothing")
    finally:
        execution.kill_supervisor()
        assert hunt(names.MARKER, execution.path.name, execution.cgroup, DEADLINE_SECONDS) == []
        await runner.close()
    (end,) = (each for each in told.events if isinstance(each, AttemptFinished))
    assert end.finished.outcome is Outcome.TIMED_OUT
    assert "its supervisor was kept stopped, which no test may do" in (end.finished.error or "")
    assert b"its supervisor was kept stopped, so the agent has ended both" in told.output
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.usefixtures("in_vain")
async def test_a_cancel_ends_both(tmp_path: Path) -> None:
    told = Told()
    runner = runner_of(told, tmp_path, "sh", "-c", f"cd $TMPDIR; {STOPS}sleep 60; :")
    runner.start(DEVICE, [assignment("t1")])
    execution = runner._attempts["t1"].execution
    try:
        await until(execution.supervisor_stopped, "it is not stopped")
        runner.kill("t1", DeathCause.REVOKED, 0.1)
        await until(lambda: any(isinstance(each, AttemptKilled) for each in told.events), "the cancel ends nothing")
    finally:
        execution.kill_supervisor()
        assert hunt(names.MARKER, execution.path.name, execution.cgroup, DEADLINE_SECONDS) == []
        await runner.close()
    (end,) = (each for each in told.events if isinstance(each, AttemptKilled))
    assert (end.cause, end.begun) == (DeathCause.REVOKED, True)


async def test_a_supervisor_that_is_only_slow_is_left_to_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qgjob_agent.executions.execution._BOOT", BOOT.format(NO_CGROUP + SLOW))
    monkeypatch.setattr(stopped_supervisor, "LOOK_SECONDS", 0.05)
    told = Told()
    runner = runner_of(told, tmp_path, sys.executable, "-IS", "-c", "import time; time.sleep(60)")
    runner.start(DEVICE, [replace(assignment("t1"), timeout_ms=300)])
    await until(lambda: any(isinstance(each, AttemptFinished) for each in told.events), "it does not end")
    await runner.close()
    (end,) = (each for each in told.events if isinstance(each, AttemptFinished))
    assert end.finished.outcome is Outcome.TIMED_OUT
    assert (end.finished.error or "").endswith("its time limit being over")
    assert end.finished.duration_ms >= 2_300

"""The supervisor of a command that carries out several attempts and says which of them begin and end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.values import DeathCause
from qgjob_agent.executions import names
from qgjob_agent.executions.execution import Command, Several
from qgjob_agent.executions.lease_file import LeaseTime
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.executions.records import ExecutionResult
from tests.fakes.agent_core import assignment

DEADLINE_SECONDS = 60.0
HEAD = """
begin() { ln -s begun claims/$1 && echo '{"event": "begin", "attempt": '$1'}' >> events; }
end() { echo '{"event": "end", "attempt": '$1'}' >> events; }
"""


class Bench:
    """Runs a shell script as the command of two attempts."""

    look_seconds = 0.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.execution = PlannedExecution.planned(folder / "executions", [assignment("t0"), assignment("t1")], {})

    def start(
        self,
        script: str,
        *limits: tuple[int, int],
        lease_seconds: float = 60.0,
        lease_grace: float = 0.2,
        last: float = 5.0,
    ) -> None:
        several = Several([(i, *each) for i, each in enumerate(limits or ((0, 0), (0, 0)))], 0.0, last)
        command = Command(
            argv=["sh", "-c", HEAD + script],
            env={"PATH": os.environ["PATH"]},
            cwd=str(self.execution.path),
            timeout_ms=0,
            silence_timeout_ms=0,
            grace_seconds=0.2,
            output_bytes=10_000,
            several=several,
            look_seconds=self.look_seconds,
        )
        lease = LeaseTime(monotonic_seconds(), lease_seconds, lease_grace)
        os.close(self.execution.launch(command, lease, self.folder / "lease"))

    def result(self) -> ExecutionResult:
        assert self.execution.process is not None
        self.execution.process.wait(DEADLINE_SECONDS)
        result = self.execution.result()
        assert result is not None, (self.execution.path / "supervisor.log").read_text()
        return result

    def said(self) -> str:
        return (self.execution.path / names.OUTPUT).read_text()

    def begun(self, attempt: int) -> bool:
        return self.execution.claim(attempt) == names.BEGUN

    def close(self) -> None:
        process = self.execution.process
        if process is not None and process.poll() is None:
            self.execution.cancel(DeathCause.SHUTDOWN, 0)
            process.wait(DEADLINE_SECONDS)
        self.execution.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {DEADLINE_SECONDS} s"
        time.sleep(0.01)


def test_attempts_that_end_in_time_end_nothing(bench: Bench) -> None:
    bench.start("begin 0; sleep 0.3; end 0; begin 1; sleep 0.3; end 1; exit 4", (500, 0), (500, 0))
    result = bench.result()
    assert (result.ended_by, result.exit_code, result.attempt) == (names.EXIT, 4, None)


def test_the_one_whose_time_is_over_is_named_and_what_has_not_begun_is_left(bench: Bench) -> None:
    bench.start("begin 0; sleep 60", (300, 0), (0, 0))
    result = bench.result()
    assert (result.ended_by, result.attempt) == (names.TIMEOUT, 0)
    assert (bench.execution.claim(0), bench.execution.claim(1)) == (names.BEGUN, names.LEFT)


def test_the_time_of_the_second_begins_with_the_end_of_the_first(bench: Bench) -> None:
    bench.start("begin 0; sleep 0.4; end 0; sleep 60", (0, 0), (300, 0))
    result = bench.result()
    assert (result.ended_by, result.attempt) == (names.TIMEOUT, 1)
    assert result.duration_ms >= 700


def test_what_moves_is_not_silent(bench: Bench) -> None:
    alive = 'for i in 1 2 3 4 5; do sleep 0.2; echo \'{"event": "alive"}\' >> events; done; '
    bench.start("begin 0; " + alive + "end 0; begin 1; sleep 60", (0, 600), (0, 400))
    result = bench.result()
    assert (result.ended_by, result.attempt) == (names.SILENCE, 1)


def test_a_command_that_does_not_end_after_its_attempts_is_ended(bench: Bench) -> None:
    bench.start("begin 0; end 0; begin 1; end 1; sleep 60", last=0.3)
    result = bench.result()
    assert (result.ended_by, result.attempt) == (names.LINGERED, None)


def test_a_cancel_hits_the_attempt_that_it_names_and_no_other(bench: Bench) -> None:
    bench.start("begin 0; until [ -e go ]; do sleep 0.02; done; end 0; begin 1; sleep 60")
    until(lambda: bench.begun(0), "the first")
    bench.execution.cancel(DeathCause.REVOKED, 0.1, 1)  # it has not said that the first is over
    until(lambda: not (bench.execution.path / "cancel.json.draft").exists(), "the request")
    assert bench.execution.process is not None
    assert runs_for(bench, 0.5)
    (bench.execution.path / "go").touch()
    result = bench.result()
    assert (result.ended_by, result.attempt, result.cause) == (names.CANCELLED, 1, "revoked")


def test_a_cancel_of_what_has_ended_hits_nothing(bench: Bench) -> None:
    bench.start("begin 0; end 0; begin 1; until [ -e go ]; do sleep 0.02; done; end 1")
    until(lambda: bench.begun(1), "the second")
    bench.execution.cancel(DeathCause.REVOKED, 0.1, 0)
    assert runs_for(bench, 0.5)
    (bench.execution.path / "go").touch()
    assert bench.result().ended_by == names.EXIT


def test_the_lease_ends_them_all(bench: Bench) -> None:
    bench.start("begin 0; sleep 60", lease_seconds=0.3)
    result = bench.result()
    assert (result.ended_by, result.attempt) == (names.LEASE, None)
    assert bench.execution.claim(1) == names.LEFT


def test_strange_events_change_nothing(bench: Bench) -> None:
    strange = json.dumps({"event": "end", "attempt": "0"}) + "\n[]\n" + json.dumps({"event": "order", "attempts": 3})
    strange += "\n" + json.dumps({"event": "joined", "attempt": 8, "timeout_ms": 10**400})
    (bench.execution.path / names.EVENTS).write_text(strange + "\n" + json.dumps({"event": "end", "attempt": 7}) + "\n")
    bench.start("begin 0; sleep 60", (300, 0), (0, 0))
    assert bench.result().attempt == 0


def runs_for(bench: Bench, seconds: float) -> bool:
    """Whether the supervisor still runs after so long."""
    deadline = time.monotonic() + seconds
    assert bench.execution.process is not None
    while bench.execution.process.poll() is None:
        if time.monotonic() > deadline:
            return True
        time.sleep(0.01)
    return False


def test_one_that_joins_later_has_the_limits_that_come_with_it(bench: Bench) -> None:
    assert bench.execution.add(assignment("t2")) == 2
    joined = json.dumps({"event": "joined", "attempt": 2, "timeout_ms": 300, "silence_timeout_ms": None})
    bench.start(f"begin 0; end 0; begin 1; end 1; sleep 0.5; echo '{joined}' >> events; begin 2; sleep 60")
    result = bench.result()
    assert (result.ended_by, result.attempt) == (names.TIMEOUT, 2)
    found = PlannedExecution.found_planned(bench.execution.path)
    assert found is not None
    assert [each.token for each in found.attempts] == ["t0", "t1", "t2"]


def test_a_flood_of_events_ends_the_attempt_that_writes_it(bench: Bench) -> None:
    bench.start("begin 0; end 0; begin 1; head -c 300000 /dev/zero >> events; sleep 60")
    result = bench.result()
    assert (result.ended_by, result.attempt) == (names.FLOODED, 1)


class Looking(Bench):
    """Leaves the daemon a moment before a tree is ended."""

    look_seconds = 30.0


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[Looking]:
    made = Looking(tmp_path)
    yield made
    made.close()


TRAPS = "trap 'echo asked >&2; exit 3' TERM; begin 0; while :; do sleep 0.02; done"


def test_before_what_hangs_is_ended_the_daemon_may_look_at_it(looking: Looking) -> None:
    looking.start(TRAPS, (200, 0), (0, 0))
    until(lambda: looking.execution.overdue() == 0, "the question")
    assert looking.execution.claim(1) == names.LEFT, "what has not begun is another's at once"
    assert looking.execution.result() is None
    assert looking.said() == ""
    looking.execution.looked()
    result = looking.result()
    assert (result.ended_by, result.attempt, "asked\n" in looking.said()) == (names.TIMEOUT, 0, True)


def test_a_daemon_that_does_not_look_keeps_nobody_waiting(looking: Looking) -> None:
    looking.look_seconds = 0.3
    looking.start(TRAPS, (200, 0), (0, 0))
    result = looking.result()
    assert (result.ended_by, looking.execution.overdue()) == (names.TIMEOUT, None)
    assert result.duration_ms >= 500


@pytest.mark.parametrize("attempt", [0, None])
def test_a_cancel_waits_for_no_look_and_the_limit_was_first(looking: Looking, attempt: int | None) -> None:
    looking.look_seconds = 4.0
    looking.start(TRAPS, (200, 0), (0, 0))
    until(lambda: looking.execution.overdue() == 0, "the question")
    looking.execution.cancel(DeathCause.REVOKED, 600.0, attempt)
    result = looking.result()
    assert (result.ended_by, result.attempt, result.exit_code) == (names.TIMEOUT, 0, 3)
    assert result.duration_ms < 1000 * looking.look_seconds
    assert looking.execution.overdue() is None


def test_a_cancel_without_grace_waits_for_nothing(looking: Looking) -> None:
    looking.start("trap '' TERM; begin 0; while :; do sleep 0.02; done", (200, 0), (0, 0))
    until(lambda: looking.execution.overdue() == 0, "the question")
    looking.execution.cancel(DeathCause.REVOKED, 0.0, 0)
    assert looking.result().signal == 9


def test_the_end_of_the_lease_waits_for_no_look(looking: Looking) -> None:
    looking.start(TRAPS, (1, 0), (0, 0), lease_seconds=0.6, lease_grace=60.0)
    result = looking.result()
    was_asked = result.exit_code == 3 or result.signal == signal.SIGTERM  # the latter before it has set its trap
    assert (result.ended_by, was_asked) == (names.TIMEOUT, True)
    assert result.duration_ms < 1000 * looking.look_seconds


def test_what_ends_by_itself_meanwhile_is_not_waited_for(looking: Looking) -> None:
    looking.start("begin 0; until [ -e overdue.json ]; do sleep 0.02; done; exit 5", (200, 0), (0, 0))
    result = looking.result()
    assert (result.ended_by, result.exit_code, result.attempt) == (names.TIMEOUT, 5, 0)
    assert looking.execution.overdue() is None

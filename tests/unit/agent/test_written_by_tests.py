"""What a test writes in place of the agent's own records ends no agent: neither this one nor the next."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from qgjob_agent.core.events import AttemptKilled
from qgjob_agent.core.values import DeathCause
from qgjob_agent.executions import names
from qgjob_agent.executions.execution import Execution
from qgjob_agent.executions.records import RecordError, fields_of
from tests.fakes.agent_core import assignment
from tests.fakes.waiting import until
from tests.unit.agent.test_command_runner import DEADLINE_SECONDS, DEVICE, Told, runner_of

NESTED = "[" * 60_000
HUGE = 10**30  # more than a field of a message takes
NO_TEXT = "\ud800"  # which has no UTF-8


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    return Execution.new(tmp_path, assignment("t1"))


@pytest.mark.parametrize("text", [NESTED, "no JSON", "[]", '{"attempt": "1"}', "{}", '{"attempt": true}'])
def test_a_call_to_look_that_no_supervisor_writes_is_none(execution: Execution, text: str) -> None:
    (execution.path / names.OVERDUE).write_text(text)
    assert execution.overdue() is None


def a_loop(lock: Path) -> None:
    lock.symlink_to(lock.name)


def a_link(lock: Path) -> None:
    held = lock.with_name("held")
    held.touch()
    lock.symlink_to(held)
    HELD.append(held.open())
    fcntl.flock(HELD[-1], fcntl.LOCK_EX)


def a_socket(lock: Path) -> None:
    os.mknod(lock, stat.S_IFSOCK | 0o600)  # to be bound, a path must be short


HELD: list[TextIO] = []


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    yield
    while HELD:
        HELD.pop().close()


@pytest.mark.parametrize("put", [a_loop, a_link, a_socket, Path.mkdir, os.mkfifo])
def test_what_is_no_lock_of_ours_is_held_by_no_supervisor(execution: Execution, put: Callable[[Path], None]) -> None:
    put(execution.path / names.LOCK)
    assert not execution.supervised
    assert not execution.adopt()


@pytest.mark.parametrize("number", ["-1", "0", "9" * 30, "x"])
def test_what_is_no_process_id_is_nobodys(execution: Execution, number: str) -> None:
    """To signal -1 is to signal all that this user has."""
    lock = execution.path / names.LOCK
    lock.write_text(number)
    HELD.append(lock.open())
    fcntl.flock(HELD[-1], fcntl.LOCK_EX)
    assert execution.adopt()
    assert (execution.supervisor_pid, execution._holder(), execution.pidfd) == (0, 0, -1)
    execution.close()


ENDED = {
    "ended_by": "exit",
    "exit_code": 1,
    "signal": None,
    "cause": None,
    "error": None,
    "started_at_ms": 1,
    "ended_at_ms": 2,
    "duration_ms": 1,
}


@pytest.mark.parametrize(
    "said",
    [
        {"started_at_ms": HUGE},
        {"ended_at_ms": -1},
        {"duration_ms": HUGE},
        {"lost_output_bytes": HUGE},
        {"exit_code": None, "signal": HUGE},
        {"exit_code": HUGE},
        {"ended_by": "not_started", "error": NO_TEXT},
    ],
)
def test_a_result_that_no_message_can_tell_is_none(execution: Execution, said: dict[str, object]) -> None:
    result = execution.path / names.RESULT
    result.write_text(json.dumps(ENDED | {"attempt": HUGE}))  # whatever a test called one that it made up
    assert execution.result() is not None
    result.write_text(json.dumps(ENDED | said))
    assert execution.result() is None


@pytest.mark.parametrize(
    "said",
    [
        {"attempt": HUGE},
        {"attempt": -1},
        {"timeout_ms": HUGE},
        {"install_ms": HUGE},
        {"install_ms": ""},
        {"token": NO_TEXT},
        {"env": {"A": NO_TEXT}},
        {"env": {NO_TEXT: "A"}},
    ],
)
def test_an_attempt_that_no_message_can_tell_is_not_known(execution: Execution, said: dict[str, object]) -> None:
    spec = execution.path / names.SPEC
    spec.write_text(json.dumps({"assignment": fields_of(execution.assignment)}))
    assert Execution.found(execution.path) is not None
    spec.write_text(json.dumps({"assignment": fields_of(execution.assignment) | said}))
    with pytest.raises(RecordError):
        Execution.found(execution.path)


@pytest.mark.parametrize(
    "said",
    [{"since_ms": HUGE}, {"since_ms": -1}, {"processes": [[HUGE, "a", "D"]]}, {"processes": [[2, NO_TEXT, "D"]]}],
)
def test_living_processes_that_there_can_t_be_are_none(execution: Execution, said: dict[str, object]) -> None:
    told = {"since_ms": 1, "processes": [[2, "a", "D"]]}
    living = execution.path / names.LIVING
    living.write_text(json.dumps(told))
    assert execution.living() is not None
    living.write_text(json.dumps(told | said))
    assert execution.living() is None


def test_a_time_that_no_message_can_tell_is_not_known(execution: Execution) -> None:
    for text, found in (("1", 1), (str(HUGE), 0), ("-1", 0)):
        (execution.path / names.STARTED).write_text(text)
        assert execution.started_at_ms == found


@pytest.mark.parametrize("theirs", ["no number", "another's"])
async def test_who_is_not_named_by_the_lock_is_ended_all_the_same_and_nobody_else(tmp_path: Path, theirs: str) -> None:
    told, later = Told(), Told()
    first = runner_of(told, tmp_path, "sleep", "600")
    first.start(DEVICE, [assignment("t1")])
    await until(lambda: told.events, "it does not begin")
    execution = first._attempts["t1"].execution
    await first.close()
    with subprocess.Popen(["sleep", "600"]) as bystander:
        (execution.path / names.LOCK).write_text(theirs if theirs == "no number" else str(bystander.pid))
        second = runner_of(later, tmp_path)
        try:
            await second.recover(set())
            second.kill("t1", DeathCause.REVOKED, 0.2)
            await until(lambda: any(isinstance(each, AttemptKilled) for each in later.events), "it is not ended")
            assert bystander.poll() is None
        finally:
            bystander.kill()
    await second.close()
    assert execution.process is not None
    execution.process.wait(DEADLINE_SECONDS)

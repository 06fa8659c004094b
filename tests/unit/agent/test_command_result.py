"""What a finished command means, however strange the file is that its test left."""

from __future__ import annotations

import json
import os
from dataclasses import astuple, replace
from typing import TYPE_CHECKING

import pytest

from qgjob_agent.core.events import AttemptFinished, AttemptKilled
from qgjob_agent.core.values import DeathCause, Finished, Outcome
from qgjob_agent.executions import names
from qgjob_agent.executions.execution import Execution
from qgjob_agent.executions.records import ExecutionResult
from qgjob_agent.runners.command_result import event_of_result, missing_output
from tests.fakes.agent_core import assignment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    begun = Execution.new(tmp_path, assignment("t1"))
    begun.path.mkdir(parents=True, exist_ok=True)
    (begun.path / names.SPEC).touch()
    return begun


def result(ended_by: str = names.EXIT, code: int | None = 0, number: int | None = None, **more: str) -> ExecutionResult:
    return ExecutionResult(ended_by, code, number, more.get("cause"), more.get("error"), 100, 350, 250)


def finished(execution: Execution, how: ExecutionResult) -> Finished:
    event = event_of_result("t1", how, execution)
    assert isinstance(event, AttemptFinished)
    return event.finished


def counted(execution: Execution, how: ExecutionResult) -> tuple[object, ...]:
    """Passed, failed, skipped, duration and summary."""
    told = finished(execution, how).result
    assert told is not None
    return astuple(told)


@pytest.mark.parametrize(
    ("how", "outcome", "error"),
    [
        (result(), Outcome.PASSED, None),
        (result(code=1), Outcome.TEST_FAILED, "exit code 1"),
        (result(code=None, number=6), Outcome.APP_CRASHED, "ended by SIGABRT"),
        (result(names.TIMEOUT, None, 9), Outcome.TIMED_OUT, "killed after 0.2 s, its time limit being over"),
        (result(names.SILENCE, None, 9), Outcome.TIMED_OUT, "killed after 0.2 s, having printed nothing for too long"),
        (result(names.TIMEOUT, 0), Outcome.TIMED_OUT, "killed after 0.2 s, its time limit being over"),
        (
            result(names.NOT_STARTED, 127, error="x: no such file"),
            Outcome.DEVICE_ERROR,
            "not startable: x: no such file",
        ),
    ],
)
def test_outcomes(execution: Execution, how: ExecutionResult, outcome: Outcome, error: str | None) -> None:
    told = finished(execution, how)
    assert (told.outcome, told.error) == (outcome, error)
    assert (told.started_at_ms, told.ended_at_ms, told.duration_ms) == (100, 350, 250)
    assert not told.host_unfit, "a job may have named the program"
    execution.of_host = True
    told = finished(execution, how)
    assert told.host_unfit is (outcome is Outcome.DEVICE_ERROR), "no other device of the host could start it"


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        (result(names.CANCELLED, None, 15, cause="revoked"), DeathCause.REVOKED),
        (result(names.CANCELLED, None, 15), None),
        (result(names.LEASE, None, 9), DeathCause.LEASE_LOST),
    ],
)
def test_what_was_ended_by_order_has_no_verdict(
    execution: Execution, how: ExecutionResult, cause: DeathCause | None
) -> None:
    event = event_of_result("t1", how, execution)
    assert isinstance(event, AttemptKilled)
    assert (event.cause, event.ended_at_ms) == (cause, 350)


def test_the_last_line_says_why(execution: Execution) -> None:
    (execution.path / names.OUTPUT).write_bytes(b"x" * 9_000 + b"\nfirst\n\x1b[31mAssertionError: 3 != 4\x1b[0m\n \n")
    assert finished(execution, result(code=1)).error == "exit code 1: [31mAssertionError: 3 != 4[0m"


def test_own_counts_are_taken(execution: Execution) -> None:
    told = {"passed": 3, "failed": 1, "skipped": 2, "summary": "3 of\n6 \x1b[0m"}
    (execution.output_dir / "result.json").write_text(json.dumps(told))
    counts = finished(execution, result(code=1)).result
    assert counts is not None
    assert (counts.passed, counts.failed, counts.skipped, counts.duration_ms) == (3, 1, 2, 250)
    assert counts.summary == "3 of6 [0m"


def test_without_own_counts_an_attempt_is_one_test_with_nothing_to_say(execution: Execution) -> None:
    assert counted(execution, result()) == (1, 0, 0, 250, "")
    assert counted(execution, result(code=1)) == (0, 1, 0, 250, "")


COUNT = "passed is no whole number from 0 to 1,000,000"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no JSON: Expecting value"),
        (b"nonsense", "no JSON: Expecting value"),
        (b"\xff", "no JSON: "),
        (b"[1, 2]", "no JSON object"),
        (b'{"passed": "3"}', f"{COUNT}: '3'"),
        (b'{"passed": -1}', f"{COUNT}: -1"),
        (b'{"passed": true}', f"{COUNT}: True"),
        (b'{"passed": 1e9}', f"{COUNT}: 1000000000.0"),
        (b'{"passed": 99999999999999999999}', f"{COUNT}: 99999999999999999999"),
        (b'{"passed": ' + b"[" * 500 + b"]" * 500 + b"}", f"{COUNT}: list"),
        (b'{"passed": 1, "summary": 3}', "summary is no string: int"),
        (b"[" * 60_000, "no JSON: "),
        (b'{"passed": 3, "summary": "' + b"x" * 70_000 + b'"}', "it has more than 65,536 bytes"),
    ],
    ids=lambda given: repr(given[:20]),
)
def test_strange_counts_are_left_alone_and_it_is_said_why(execution: Execution, content: bytes, why: str) -> None:
    (execution.output_dir / "result.json").write_bytes(content)
    counts = finished(execution, result()).result
    assert counts is not None
    assert (counts.passed, counts.failed) == (1, 0)
    assert counts.summary.startswith(f"result.json was not taken: {why}")


def test_counts_are_not_read_through_a_link(execution: Execution, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"passed": 7}')
    (execution.output_dir / "result.json").symlink_to(tmp_path / "secret.json")
    assert counted(execution, result()) == (1, 0, 0, 250, "result.json was not taken: a link")


def test_a_pipe_in_place_of_counts_blocks_nobody(execution: Execution) -> None:
    pipe = execution.output_dir / "result.json"
    os.mkfifo(pipe)
    nobody = counted(execution, result())
    writer = os.open(pipe, os.O_RDWR)
    try:
        somebody = counted(execution, result())
    finally:
        os.close(writer)
    assert nobody == somebody
    assert somebody[0] == 1
    assert str(somebody[-1]).startswith("result.json was not taken: no JSON")


def test_a_folder_in_place_of_counts_is_told(execution: Execution) -> None:
    (execution.output_dir / "result.json").mkdir()
    assert counted(execution, result()) == (1, 0, 0, 250, "result.json was not taken: Is a directory")


def test_what_is_missing_of_an_output_is_said() -> None:
    assert missing_output(result()) is None
    refused = missing_output(replace(result(), lost_output_bytes=12))
    assert refused == "12 bytes of output from here on are lost: the agent's disk refused them"
    assert missing_output(None) == "the supervisor was killed; output from here on is lost"

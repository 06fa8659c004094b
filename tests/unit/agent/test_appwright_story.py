"""What an attempt's events mean, and what the end of its run means for one without an end of its own."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qgjob_agent.core.values import DeathCause, Finished, Outcome
from qgjob_agent.executions import names
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.executions.records import ExecutionResult
from qgjob_agent.runners.appwright.appium_log import Mark
from qgjob_agent.runners.appwright.ends import Left, end_of
from qgjob_agent.runners.appwright.story import Story, attempt_of, percent_of
from tests.fakes.agent_core import assignment

BEGIN: dict[str, Any] = {"event": "begin", "attempt": 0, "at_ms": 1_000}
END: dict[str, Any] = {"event": "end", "at_ms": 3_000, "passed": 2, "failed": 0, "skipped": 1, "duration_ms": 1_900}
EXIT = ExecutionResult(names.EXIT, 1, None, None, None, 500, 4_000, 3_500)


def story(*events: dict[str, Any]) -> Story:
    made = Story()
    for event in events:
        made.take(event)
    return made


def test_a_story_of_success() -> None:
    finished = story(BEGIN, END).finished()
    assert (finished.outcome, finished.started_at_ms, finished.ended_at_ms) == (Outcome.PASSED, 1_000, 3_000)
    assert finished.result is not None
    assert (finished.result.passed, finished.result.skipped, finished.result.summary) == (
        2,
        1,
        "2 of 3 passed, 1 skipped",
    )


def test_what_appium_gave_is_remembered_and_nothing_taken_on_trust() -> None:
    sessions = [{"event": "has_session", "session_id": x} for x in ("0a1b2c3d-aa", 7, "short", "a\n] b c d e f", None)]
    told = story(BEGIN | {"appium_log": [7, 100]}, *sessions, END | {"appium_log": [7, 200]})
    assert told.session_ids == ["0a1b2c3d-aa"]
    assert (told.logged_from, told.logged_to) == (Mark(7, 100), Mark(7, 200))
    many = story(*({"event": "has_session", "session_id": f"{number:08}"} for number in range(1_000)))
    assert (len(many.session_ids), many.session_ids[-1]) == (100, "00000999")
    forged = story(BEGIN | {"appium_log": "7"}, BEGIN | {"appium_log": [7, 100]}, BEGIN | {"appium_log": [7, 0]})
    assert forged.logged_from == Mark(7, 100)


def test_a_story_of_failures_names_the_first() -> None:
    finished = story(BEGIN, END | {"failed": 2, "error": "cart: the total\n is 0"}).finished()
    assert (finished.outcome, finished.error) == (Outcome.TEST_FAILED, "cart: the total  is 0 (and 1 more)")


def test_a_device_without_sessions_is_to_blame_only_if_nothing_passed() -> None:
    none = {"event": "no_session", "text": "no emulator"}
    failed = END | {"failed": 1, "error": "x"}
    assert story(BEGIN, none, failed | {"passed": 0}).finished().outcome is Outcome.DEVICE_ERROR
    assert story(BEGIN, none, failed).finished().outcome is Outcome.TEST_FAILED


def test_a_plan_without_sessions_is_to_blame_for_the_tests_that_got_none() -> None:
    asks, came = {"event": "asks", "number": 1}, {"event": "session", "number": 1}
    refused = {"event": "no_session", "text": "it is full"}
    failed = END | {"failed": 1, "error": "x"}
    told = story(BEGIN, asks, came, asks, refused, failed).finished()
    assert (told.outcome, told.error) == (Outcome.PROVIDER_ERROR, "the plan gave no session: it is full")
    told = story(BEGIN, asks, failed | {"passed": 0}).finished()
    assert told.error == "the plan gave no session: none came within the test's own time limit"
    assert story(BEGIN, asks, refused, asks, came, END | {"failed": 2}).finished().outcome is Outcome.TEST_FAILED
    assert story(BEGIN, asks, came, failed).finished().outcome is Outcome.TEST_FAILED


def test_after_the_end_nothing_changes_a_story() -> None:
    finished = story(BEGIN, END, END | {"failed": 9}, {"event": "error", "text": "late"}).finished()
    assert (finished.outcome, finished.error) == (Outcome.PASSED, None)


@pytest.mark.parametrize("value", [-1, 1.5, "2", True, None, [], 10**9])
def test_a_count_that_is_none_is_nought(value: object) -> None:
    told = story(BEGIN, END | {"passed": value})
    assert told.passed == 0
    assert percent_of({"percent": value}) == 0
    if type(value) is not int:
        assert attempt_of({"attempt": value}) is None


@pytest.fixture
def execution(tmp_path: Path) -> PlannedExecution:
    planned = PlannedExecution.planned(tmp_path, [assignment("t0"), assignment("t1")], {})
    (planned.path / names.SPEC).touch()  # it was launched
    return planned


def end(execution: PlannedExecution, told: Story, claim: str, result: ExecutionResult | None, **how: bool) -> Any:
    alone, doubtful, dead, removed = (how.get(name, False) for name in ("alone", "doubtful", "dead", "removed"))
    given = (told, 1, claim, result, execution)
    return end_of(*given, alone=alone, doubtful=doubtful, found_dead=dead, removed_with_others=removed)


def test_what_has_not_begun_goes_on_whoever_was_hit(execution: PlannedExecution) -> None:
    for result in (
        EXIT,
        None,
        replace(EXIT, ended_by=names.TIMEOUT, attempt=0),
        replace(EXIT, ended_by=names.CANCELLED, cause="revoked", attempt=0),
        replace(EXIT, ended_by=names.LINGERED),
    ):
        for claim in ("", names.LEFT):
            assert end(execution, Story(), claim, result) == Left()
    assert end(execution, Story(), "", None, dead=True) == Left()


@pytest.mark.parametrize(
    ("result", "outcome", "text"),
    [
        (EXIT, Outcome.APP_CRASHED, "exit code 1"),
        (replace(EXIT, exit_code=None, signal=9), Outcome.APP_CRASHED, "SIGKILL"),
        (replace(EXIT, ended_by=names.TIMEOUT, attempt=1), Outcome.TIMED_OUT, "time limit"),
        (replace(EXIT, ended_by=names.FLOODED, attempt=1), Outcome.TEST_FAILED, "has grown too large"),
        (replace(EXIT, ended_by=names.SILENCE, attempt=1), Outcome.TIMED_OUT, "nothing having moved"),
        (None, Outcome.DEVICE_ERROR, "supervisor left no result"),
    ],
)
def test_what_had_begun_is_what_was_hit(
    execution: PlannedExecution, result: ExecutionResult | None, outcome: Outcome, text: str
) -> None:
    for told, claim in ((story(BEGIN), names.BEGUN), (Story(), names.BEGUN), (story(BEGIN), "")):
        finished = end(execution, told, claim, result)
        assert isinstance(finished, Finished)
        assert finished.outcome is outcome
        assert text in (finished.error or "")


@pytest.mark.parametrize("why", [names.TIMEOUT, names.SILENCE])
def test_what_hung_before_it_began_is_its_own_fault_only_where_that_is_certain(
    execution: PlannedExecution, why: str
) -> None:
    hit = replace(EXIT, ended_by=why, attempt=1)
    assert end(execution, Story(), "", hit).outcome is Outcome.TIMED_OUT
    assert end(execution, Story(), "", hit, doubtful=True) == Left()
    assert end(execution, story(BEGIN), names.BEGUN, hit, doubtful=True).outcome is Outcome.TIMED_OUT


def test_who_removes_the_folder_of_a_run_has_failed(execution: PlannedExecution) -> None:
    """Without its files nobody knows who had begun: then each has a run of its own, or they would go on for ever."""
    removed = replace(EXIT, ended_by=names.REMOVED, exit_code=None, signal=9, attempt=1)
    ends = [end(execution, story(BEGIN), names.BEGUN, removed)]
    ends.append(end(execution, Story(), "", replace(removed, attempt=None), alone=True))
    execution.remove()
    ends += [end(execution, story(BEGIN), "", None), end(execution, Story(), "", None, alone=True)]
    for each in ends:
        assert isinstance(each, Finished)
        assert each.outcome is Outcome.TEST_FAILED
        assert "folder of this execution was removed" in (each.error or "")
    assert end(execution, Story(), "", None) == Left()


def test_where_several_folders_are_removed_what_had_begun_is_nobodys_fault(execution: PlannedExecution) -> None:
    """What has told its end keeps it, and what has not begun goes on; one that is alone in its run counts as begun."""
    removed = replace(EXIT, ended_by=names.REMOVED, exit_code=None, signal=9, attempt=1)
    for result in (removed, replace(removed, attempt=None), EXIT, None):
        assert end(execution, story(BEGIN), "", result, removed=True)[1:] == (DeathCause.AGENT_LOST, True)
        assert end(execution, story(BEGIN, END), "", result, removed=True).outcome is Outcome.PASSED
        assert end(execution, Story(), "", result, removed=True) == Left()
    for result in (removed, EXIT):
        assert end(execution, Story(), "", result, removed=True, alone=True)[1:] == (DeathCause.AGENT_LOST, True)
    lease = replace(EXIT, ended_by=names.LEASE)
    assert end(execution, story(BEGIN), "", lease, removed=True)[1] is DeathCause.LEASE_LOST


def test_who_kills_the_supervisor_of_a_run_has_crashed(execution: PlannedExecution) -> None:
    execution.process = subprocess.Popen(["sh", "-c", "kill -9 $$"])
    execution.process.wait(10)
    for told, alone in ((story(BEGIN), False), (Story(), True)):
        crashed = end(execution, told, "", None, alone=alone)
        assert isinstance(crashed, Finished)
        assert crashed.outcome is Outcome.APP_CRASHED
        assert "SIGKILL" in (crashed.error or "")
    assert end(execution, Story(), "", None) == Left()


def test_who_killed_it_is_told(execution: PlannedExecution) -> None:
    cancelled = replace(EXIT, ended_by=names.CANCELLED, cause="revoked", attempt=1)
    assert end(execution, story(BEGIN), names.BEGUN, cancelled) == (4_000, DeathCause.REVOKED, True)
    lease = replace(EXIT, ended_by=names.LEASE)
    assert end(execution, Story(), names.LEFT, lease) == (4_000, DeathCause.LEASE_LOST, False)
    assert end(execution, story(BEGIN), names.BEGUN, None, dead=True)[1:] == (DeathCause.AGENT_LOST, True)
    taken = end(execution, story(BEGIN, END), f"{names.CANCELLED} device_lost", EXIT)  # its tests were skipped
    assert isinstance(taken, tuple)
    assert taken[1:] == (DeathCause.DEVICE_LOST, False)


def test_what_had_ended_keeps_its_verdict_whatever_came_after(execution: PlannedExecution) -> None:
    for result in (None, replace(EXIT, ended_by=names.LEASE), replace(EXIT, ended_by=names.CANCELLED, attempt=1)):
        finished = end(execution, story(BEGIN, END), names.BEGUN, result)
        assert isinstance(finished, Finished)
        assert finished.outcome is Outcome.PASSED


def test_a_lonely_attempt_that_could_not_begin_is_told_with_what_the_run_said(execution: PlannedExecution) -> None:
    (execution.path / names.OUTPUT).write_text("Error: no such account\n    at config.ts:3\n")
    finished = end(execution, Story(), "", EXIT, alone=True)
    assert finished.outcome is Outcome.PROVIDER_ERROR
    assert finished.error == "no test could begin, exit code 1: Error: no such account"


def test_a_claim_has_one_owner(execution: PlannedExecution) -> None:
    assert execution.begin(0)
    assert not execution.take_back(0, DeathCause.REVOKED)
    assert execution.claim(0) == names.BEGUN
    assert execution.take_back(1, DeathCause.SHUTDOWN)
    assert execution.take_back(1, DeathCause.REVOKED)  # once taken back it stays so
    assert not execution.begin(1)
    assert execution.claim(1) == "cancelled shutdown"


def test_a_plan_is_found_again_as_it_was_made(execution: PlannedExecution, tmp_path: Path) -> None:
    found = PlannedExecution.found_planned(execution.path)
    assert found is not None
    assert [each.token for each in found.attempts] == ["t0", "t1"]
    assert not found.launched
    (tmp_path / "other").mkdir()
    assert PlannedExecution.found_planned(tmp_path / "other") is None

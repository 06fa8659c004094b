"""What a finished command means: its outcome, its counts and why it did not pass."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptFinished, AttemptKilled
from qgjob_agent.core.values import DeathCause, Finished, Outcome, TestResult
from qgjob_agent.executions import names
from qgjob_agent.host.plain_file import opened
from qgjob_agent.runners.junit_counts import JUnitError, counts_of

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.executions.execution import Execution
    from qgjob_agent.executions.folder import ExecutionFolder
    from qgjob_agent.executions.records import ExecutionResult

_COUNTS_FILE = "result.json"
_COUNTS_BYTES = 65_536
_SUMMARY_CHARS = 500
_LAST_LINE_BYTES = 4_096
_LAST_LINE_CHARS = 300
_ERROR = re.compile(r"\w*Error\b")
HIGHEST_COUNT = 1_000_000
FOLDER_REMOVED = "killed, since the agent's folder of this execution was removed: a test may only remove what it made"
KEPT_STOPPED = "; its supervisor was kept stopped, which no test may do, so the agent has ended both"
_CAUSES = {cause.value: cause for cause in DeathCause}  # a later version may have asked with another one


class _NotTakenError(Exception):
    """What is wrong with the test's own account."""


def event_of_result(
    token: str, result: ExecutionResult, execution: Execution, *, removed_with_others: bool = False
) -> AttemptFinished | AttemptKilled:
    """How the attempt ended. What was killed by order or by the end of its lease has no verdict of its own.

    Nor has what lost its folder with others (`removed_with_others`), unless it has passed without it.
    """
    if result.ended_by == names.CANCELLED:
        return AttemptKilled(token, result.ended_at_ms, _CAUSES.get(result.cause or ""))
    if result.ended_by == names.LEASE:
        return AttemptKilled(token, result.ended_at_ms, DeathCause.LEASE_LOST)
    if removed_with_others and (result.ended_by, result.exit_code) != (names.EXIT, 0):
        return AttemptKilled(token, result.ended_at_ms, DeathCause.AGENT_LOST)
    outcome, error = _verdict(result, execution, removed=execution.removed and not removed_with_others)
    finished = Finished(
        host_unfit=result.ended_by == names.NOT_STARTED and execution.of_host,
        outcome=outcome,
        started_at_ms=result.started_at_ms,
        ended_at_ms=result.ended_at_ms,
        duration_ms=result.duration_ms,
        result=_counts(outcome, result, execution.output_dir),
        error=error,
    )
    return AttemptFinished(token, finished)


def _verdict(result: ExecutionResult, execution: Execution, *, removed: bool) -> tuple[Outcome, str | None]:
    if result.ended_by == names.NOT_STARTED:
        return Outcome.DEVICE_ERROR, f"not startable: {result.error}"
    stopped = KEPT_STOPPED if result.kept_stopped else ""
    if result.ended_by in (names.TIMEOUT, names.SILENCE):
        timed = result.ended_by == names.TIMEOUT
        why = "its time limit being over" if timed else "having printed nothing for too long"
        return Outcome.TIMED_OUT, f"killed after {result.duration_ms / 1000:.1f} s, {why}{stopped}"
    if removed or result.ended_by == names.REMOVED:
        return Outcome.TEST_FAILED, FOLDER_REMOVED
    if result.exit_code == 0:
        return Outcome.PASSED, None
    last = _last_line(execution.path / names.OUTPUT)
    said = f": {last}" if last else ""
    if result.exit_code is None:
        return Outcome.APP_CRASHED, f"ended by {signal_name(result.signal or 0)}{said}"
    return Outcome.TEST_FAILED, f"exit code {result.exit_code}{said}"


def without_result(execution: ExecutionFolder, started_at_ms: int) -> Finished:
    """What it means that a supervisor ended without a result beside a living daemon. `started_at_ms`: 0 for unknown.

    Nothing of the tree lives.
    """
    now = wall_ms()
    started = started_at_ms or now
    outcome, error = _lost(execution)
    return Finished(outcome, started, now, max(now - started, 0), error=error)


def _lost(execution: ExecutionFolder) -> tuple[Outcome, str]:
    if execution.removed:
        return Outcome.TEST_FAILED, FOLDER_REMOVED
    if execution.killed_for_memory:
        why = "the kernel has killed processes of this host for want of memory since it began"
        return Outcome.PROVIDER_ERROR, f"its supervisor was killed, maybe as the host was out of memory: {why}"
    if execution.killed_by:  # by the test, for all that is known: nothing of a device's does that
        by = signal_name(execution.killed_by)
        return (
            Outcome.APP_CRASHED,
            f"its supervisor was ended by {by}, and what it ran with it: a test may not signal it",
        )
    text = "the supervisor left no result: it was killed, or the disk took none; what it ran is dead"
    return Outcome.DEVICE_ERROR, text


def missing_output(result: ExecutionResult | None) -> str | None:
    """What is known to be missing at the end of an output, for people; None when it is whole."""
    if result is None:
        return "the supervisor was killed; output from here on is lost"
    if result.kept_stopped:
        return "its supervisor was kept stopped, so the agent has ended both; output from here on is lost"
    if result.lost_output_bytes:
        return f"{result.lost_output_bytes} bytes of output from here on are lost: the agent's disk refused them"
    return None


def signal_name(number: int) -> str:
    """A signal as people call it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(path: Path) -> str:
    """The last line that was printed, for people."""
    return next((line for line in reversed(_last_lines(path)) if line), "")


def error_line(path: Path) -> str:
    """The last line that names an error, as a stack trace follows it; else the last line."""
    lines = _last_lines(path)
    return next((line for line in reversed(lines) if _ERROR.match(line)), "") or _last_line(path)


def _last_lines(path: Path) -> list[str]:
    try:
        with opened(path) as file:
            file.seek(max(os.fstat(file.fileno()).st_size - _LAST_LINE_BYTES, 0))
            return [
                _clean(line, _LAST_LINE_CHARS)
                for line in file.read(_LAST_LINE_BYTES).decode(errors="replace").split("\n")
            ]
    except OSError:
        return []


def _clean(text: str, most: int) -> str:
    return "".join(char for char in text if char.isprintable()).strip()[:most]


def _counts(outcome: Outcome, result: ExecutionResult, output_dir: Path) -> TestResult | None:
    """What the test counted, by its `result.json` {passed, failed, skipped, summary} or JUnit files; else one test.

    The summary then says why a file that is there was not taken.
    """
    if result.ended_by == names.NOT_STARTED:
        return None
    try:
        told = _told(output_dir / _COUNTS_FILE)
        passed, failed, skipped = (_count(told, name) for name in ("passed", "failed", "skipped"))
        summary = _summary(told)
    except FileNotFoundError:
        passed, failed, skipped, summary = _of_junit(outcome, output_dir)
    except _NotTakenError as e:
        passed, failed, skipped = _one_test(outcome)
        summary = f"{_COUNTS_FILE} was not taken: {e}"
    return TestResult(passed, failed, skipped, result.duration_ms, _clean(summary, _SUMMARY_CHARS))


def _of_junit(outcome: Outcome, output_dir: Path) -> tuple[int, int, int, str]:
    """What JUnit files in the folder count, and how they read in one line; one test where there are none."""
    try:
        counts = counts_of(output_dir)
    except JUnitError as e:
        return *_one_test(outcome), f"JUnit results were not taken: {e}"
    if counts is None or not counts.total:
        return *_one_test(outcome), ""
    summary = f"{counts.passed} of {counts.total} passed"
    if counts.skipped:
        summary += f", {counts.skipped} skipped"
    if counts.failed:
        more = f" and {counts.failed - 1} more" if counts.failed > 1 else ""
        summary += f"; failed: {counts.first_failure}{more}"
    return counts.passed, counts.failed, counts.skipped, summary


def _one_test(outcome: Outcome) -> tuple[int, int, int]:
    passed = outcome is Outcome.PASSED
    return int(passed), int(not passed), 0


def _count(told: dict[str, Any], name: str) -> int:
    count = told.get(name, 0)
    if type(count) is not int or not 0 <= count <= HIGHEST_COUNT:
        found = repr(count)[:50] if isinstance(count, int | float | str) else type(count).__name__
        raise _NotTakenError(f"{name} is no whole number from 0 to {HIGHEST_COUNT:,}: {found}")
    return count


def _summary(told: dict[str, Any]) -> str:
    summary = told.get("summary", "")
    if not isinstance(summary, str):
        raise _NotTakenError(f"summary is no string: {type(summary).__name__}")
    return summary


def _open_with_care(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _told(path: Path) -> dict[str, Any]:
    """The test's own account. Raises FileNotFoundError, _NotTakenError.

    It is the test's file, so it is read with care: no links, no devices, nothing large.
    """
    try:
        with open(path, "rb", opener=_open_with_care) as file:
            text = file.read(_COUNTS_BYTES + 1) or b""  # of a pipe into which nothing was written it is None
    except FileNotFoundError:
        raise
    except OSError as e:
        raise _NotTakenError("a link" if e.errno == errno.ELOOP else f"{e.strerror}") from e
    if len(text) > _COUNTS_BYTES:
        raise _NotTakenError(f"it has more than {_COUNTS_BYTES:,} bytes")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise _NotTakenError(f"no JSON: {e}") from e
    if not isinstance(parsed, dict):
        raise _NotTakenError("no JSON object")
    return parsed

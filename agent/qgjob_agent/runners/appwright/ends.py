"""What the end of a run means for an attempt of it that has not ended by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.values import DeathCause, Finished, Outcome
from qgjob_agent.executions import names
from qgjob_agent.runners.command_result import FOLDER_REMOVED, KEPT_STOPPED, error_line, signal_name, without_result

if TYPE_CHECKING:
    from qgjob_agent.executions.planned import PlannedExecution
    from qgjob_agent.executions.records import ExecutionResult
    from qgjob_agent.runners.appwright.story import Story


_HUNG = (names.TIMEOUT, names.SILENCE)


@dataclass(frozen=True, slots=True)
class Left:
    """It has not begun and nothing was its fault: it goes on in another run."""


_CAUSES = {cause.value: cause for cause in DeathCause}  # a later version may have asked with another one

Killed = tuple[int, DeathCause | None, bool]
"""When, why, and whether it had begun, as AttemptKilled has them."""


def taken_back(claim: str) -> DeathCause | None:
    """Why the attempt was taken back before it began, maybe by an earlier daemon that had no time to tell."""
    word, _, cause = claim.partition(" ")
    return _CAUSES.get(cause, DeathCause.REVOKED) if word == names.CANCELLED else None


def end_of(
    story: Story,
    index: int,
    claim: str,
    result: ExecutionResult | None,
    execution: PlannedExecution,
    *,
    alone: bool,
    doubtful: bool,
    found_dead: bool,
    removed_with_others: bool,
) -> Finished | Killed | Left:
    """`alone`: no other attempt was left in the run. `found_dead`: the supervisor had ended when this daemon began.

    `doubtful`: what hung before an attempt began may have been the file of another one. `removed_with_others`: the
    folder of the run was, and nobody knows by whose test.
    """
    now = wall_ms()
    if (cause := taken_back(claim)) is not None:
        return (now, cause, False)
    if story.ended:
        return story.finished()
    begun = bool(story.begun_at_ms) or claim == names.BEGUN
    if result is None:
        nobody = found_dead or removed_with_others
        return _without_result(story, now, execution, begun=begun, alone=alone, found_dead=nobody)
    if result.ended_by == names.LEASE:
        return (result.ended_at_ms, DeathCause.LEASE_LOST, begun)
    if result.ended_by == names.CANCELLED and result.attempt in (index, None):
        return (result.ended_at_ms, _CAUSES.get(result.cause or ""), begun)
    if removed_with_others:
        return (result.ended_at_ms, DeathCause.AGENT_LOST, True) if begun or alone else Left()
    if result.ended_by == names.NOT_STARTED:
        return Finished(
            Outcome.DEVICE_ERROR, now, now, 0, error=f"not startable: {result.error}", host_unfit=execution.of_host
        )
    removed = result.ended_by == names.REMOVED and alone  # before what it said of its attempts was read
    if removed or (result.attempt == index and result.ended_by in (*_HUNG, names.FLOODED, names.REMOVED)):
        return _ended(story, result, begun=begun, doubtful=doubtful)
    return _left_behind(story, result, execution, begun=begun, alone=alone)


def _left_behind(
    story: Story, result: ExecutionResult, execution: PlannedExecution, *, begun: bool, alone: bool
) -> Finished | Left:
    """The run has ended, and not for its sake."""
    if story.error:
        return _finished(Outcome.TEST_FAILED, story, result, story.error)
    if begun:
        return _finished(
            Outcome.APP_CRASHED, story, result, f"the run ended in the middle of it, {_how(result, execution)}"
        )
    if story.missing:
        text = "Playwright found no test in it: look at the project's testDir and testMatch, and at test.only"
        return _finished(Outcome.TEST_FAILED, story, result, text)
    if alone and result.ended_by == names.EXIT:
        return _finished(Outcome.PROVIDER_ERROR, story, result, f"no test could begin, {_how(result, execution)}")
    return Left()


def _without_result(
    story: Story, now: int, execution: PlannedExecution, *, begun: bool, alone: bool, found_dead: bool
) -> Finished | Killed | Left:
    """Of several that have not said that they began each has a run of its own, where that tells whose fault it was."""
    if not begun and not (alone and (execution.removed or execution.killed_by)):
        return Left()
    if found_dead:
        return (now, DeathCause.AGENT_LOST, True)
    return without_result(execution, story.begun_at_ms)


def _ended(story: Story, result: ExecutionResult, *, begun: bool, doubtful: bool) -> Finished | Left:
    """The supervisor has ended it for what it did, or did not do."""
    if doubtful and not begun and not story.error and result.ended_by in _HUNG:
        return Left()
    if result.ended_by == names.FLOODED:
        text = "killed, since the file in which it is told what begins and ends has grown too large"
        return _finished(Outcome.TEST_FAILED, story, result, text)
    if result.ended_by == names.REMOVED:
        return _finished(Outcome.TEST_FAILED, story, result, FOLDER_REMOVED)
    started = story.begun_at_ms or result.started_at_ms
    seconds = max(result.ended_at_ms - started, 0) / 1000
    silent = result.ended_by == names.SILENCE
    why = "nothing having moved for too long" if silent else "its time limit being over"
    if story.unanswered:
        text = f"killed after {seconds:.1f} s while it waited for a session: {story.no_session or 'the plan gave none'}"
        return _finished(Outcome.PROVIDER_ERROR, story, result, text)
    before = "" if begun else " before its first test began"
    stopped = KEPT_STOPPED if result.kept_stopped else ""
    return _finished(Outcome.TIMED_OUT, story, result, f"killed after {seconds:.1f} s{before}, {why}{stopped}")


def _finished(outcome: Outcome, story: Story, result: ExecutionResult, error: str) -> Finished:
    started = min(story.begun_at_ms or result.started_at_ms, result.ended_at_ms)
    return Finished(outcome, started, result.ended_at_ms, result.ended_at_ms - started, error=error[:500])


def _how(result: ExecutionResult, execution: PlannedExecution) -> str:
    """How the run ended, and the last that it said."""
    if result.ended_by not in (names.EXIT, names.LINGERED):
        return f"ended by {result.ended_by}"
    how = f"exit code {result.exit_code}" if result.signal is None else f"ended by {signal_name(result.signal)}"
    said = error_line(execution.path / names.OUTPUT)
    return f"{how}: {said}" if said else how

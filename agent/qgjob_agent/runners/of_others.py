"""Executions of another runner than this agent has now: ended, and what their tests left becomes evidence.

Nobody else looks for them. The coordinator takes their attempts for lost with an agent, and has them run again: what
the first ones left is all that says how far they had come.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.events import AttemptKilled
from qgjob_agent.core.values import DeathCause
from qgjob_agent.executions import names
from qgjob_agent.executions.execution import Execution
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.executions.records import RecordError
from qgjob_agent.executions.unread import look_through
from qgjob_agent.host.leftovers import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.runners.base import EvidenceTaker


async def end_of_others(root: Path, grace_seconds: float, log: Any, evidence: EvidenceTaker, settled: set[str]) -> None:
    """Ends what another runner began below `root`, and takes it away.

    `settled` are the tokens of attempts whose evidence is taken, since their results are in the spool.
    """
    known: dict[Path, Execution] = {}

    def read(path: Path) -> None:
        execution = PlannedExecution.found_planned(path) or Execution.found(path)
        if execution is not None:
            known[path] = execution
            jobs = [each.job_id for each in execution.attempts]
            raise RecordError("it is of another runner than this agent has now", jobs)

    for path, _ in await look_through(root, read, grace_seconds, log):
        if path in known:
            _hand_on(known[path], evidence, settled)
        await asyncio.to_thread(remove_tree, path)


def _hand_on(execution: Execution, evidence: EvidenceTaker, settled: set[str]) -> None:
    """Nothing of it lives: what those left that had begun is handed on."""
    now = wall_ms()
    for index, what in enumerate(execution.attempts):
        if what.token in settled:
            continue
        end = AttemptKilled(what.token, now, DeathCause.AGENT_LOST)
        if not isinstance(execution, PlannedExecution):
            output, began = execution.path / names.OUTPUT, execution.started_at_ms
            evidence.take(what, execution.output_dir, output, end, began)
        elif _begun(execution, index):  # when, only its runner could tell
            evidence.take(what, execution.files_of(index), execution.attempt_dir(index) / names.OUTPUT, end)


def _begun(execution: PlannedExecution, index: int) -> bool:
    """False too for one that was told long ago, and whose place is taken away since: it has no more to hand on."""
    try:
        return execution.claim(index) == names.BEGUN and execution.attempt_dir(index).exists()
    except OSError:  # the disk does not say: what is there is looked at
        return True

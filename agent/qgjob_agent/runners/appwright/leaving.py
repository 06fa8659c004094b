"""What an attempt leaves: the files of its test become evidence, and with them its part of Appium's log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgjob_agent.core.events import AttemptFinished, AttemptKilled
from qgjob_agent.core.values import Outcome
from qgjob_agent.executions import names
from qgjob_agent.host.plain_file import put_into
from qgjob_agent.runners.appwright.appium_log import end_of, own_lines, readable

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.host.leftovers import Leftovers
    from qgjob_agent.runners.appwright.appium_log import AppiumLog
    from qgjob_agent.runners.appwright.run import Attempt, Run
    from qgjob_agent.runners.base import EvidenceTaker

NAME = "appium.log"
_SHARED = b"[other devices used this Appium meanwhile: only lines that name this device or its sessions are here]\n"


class Leaving:
    """Hands on what attempts leave. `told` is what the agent's Appium says; `evidence` None: nobody wants it."""

    def __init__(self, evidence: EvidenceTaker | None, told: AppiumLog, leftovers: Leftovers, log: Any) -> None:
        self.evidence = evidence
        self._told = told
        self._leftovers = leftovers
        self._log = log
        self._at_appium: set[Run] = set()

    def begins(self, run: Run) -> None:
        """A run may use Appium from now on; whoever does meanwhile shares its log."""
        for other in self._at_appium:
            other.shares_appium = run.shares_appium = True
        self._at_appium.add(run)

    def ends(self, run: Run) -> None:
        """It does not any more."""
        self._at_appium.discard(run)

    def put_aside(self, run: Run, attempt: Attempt) -> None:
        """What the test left is evidence from now on."""
        files = run.execution.files_of(attempt.index)
        begun = not isinstance(attempt.end, AttemptKilled) or attempt.end.begun
        if self.evidence is not None and begun:
            self._add_log(run, attempt, files)
            output = run.execution.attempt_dir(attempt.index) / names.OUTPUT
            self.evidence.take(attempt.assignment, files, output, attempt.end, attempt.story.begun_at_ms)
        self._leftovers.remove(files, again=True)

    def _add_log(self, run: Run, attempt: Attempt, files: Path) -> None:
        """What Appium said meanwhile, of one that did not pass. Where that can't be had, it is told."""
        end, story = attempt.end, attempt.story
        passed = isinstance(end, AttemptFinished) and end.finished.outcome is Outcome.PASSED
        if passed or story.logged_from is None or not files.is_dir():
            return
        try:
            part = readable(self._told.part(story.logged_from, story.logged_to))
            if run.shares_appium and part:
                part = _SHARED + own_lines(part, run.device.udid, story.session_ids)
            if part:
                put_into(files, NAME, end_of(part))
        except OSError as error:
            why = error.strerror or str(error)
            self._log.warning("appium_log_not_kept", job_id=attempt.assignment.job_id, error=why)

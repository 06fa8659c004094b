"""The log: one line for each transition, with the ids of job, attempt and device bound."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from qgjob_agent.core import events, instructions
from qgjob_agent.core.values import Assignment, Finished, Progress, Started, TreeDead

if TYPE_CHECKING:
    from qgjob_agent.core.outbox import Report

LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


def configure_logging(level: str, *, as_json: bool) -> None:
    """Sets the process's log up: JSON lines in production, a readable console otherwise; on stderr."""
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


class Transitions:
    """Writes transitions. `enabled` is False above info, so that a busy agent pays nothing for lines nobody reads."""

    def __init__(self, log: Any, *, enabled: bool) -> None:
        self._log = log
        self.enabled = enabled

    def event(self, event: events.Event) -> None:
        """A line for what the coordinator says."""
        if isinstance(event, events.Assigned):
            for assignment in event.assignments:
                self._log.info("attempt_assigned", **_ids(assignment), test_path=assignment.test_path)
        elif isinstance(event, events.Revoked):
            self._log.info("attempt_revoked", token=event.token, reason=event.reason)
        elif isinstance(event, events.Welcomed):
            self._log.info("session_opened", epoch=event.epoch, adopted=len(event.adopted), lost=len(event.released))
        elif isinstance(event, events.DeviceSeen):
            self._log.info("device_seen", device_id=event.facts.device_id)
        elif isinstance(event, events.DeviceLost):
            self._log.info("device_lost", device_id=event.device_id)
        elif isinstance(event, events.InstallEnded):
            self._log.info(
                "install_ended",
                device_id=event.device_id,
                outcome="cancelled" if event.cancelled else event.outcome.value,
                install_ms=event.install_ms,
                error=event.error,
            )

    def instruction(self, instruction: instructions.Instruction) -> None:
        """A line for what the agent does."""
        if isinstance(instruction, instructions.SendReports):
            for report in instruction.reports:
                self._report(report)
        elif isinstance(instruction, instructions.Install):
            what = instruction.assignment
            self._log.info("install_begun", **_ids(what), org_id=what.org_id, app_version_id=what.app_version_id)
        elif isinstance(instruction, instructions.Kill):
            self._log.info(
                "attempt_killed",
                token=instruction.token,
                device_id=instruction.device_id,
                cause=instruction.cause.value,
                grace_seconds=instruction.grace_seconds,
            )
        elif isinstance(instruction, instructions.SendRecallAnswer):
            self._log.info("recall_answered", released=len(instruction.released), kept=len(instruction.kept))

    def _report(self, report: Report) -> None:
        ids, body = _ids(report.lease.assignment), report.body
        if isinstance(body, Started):
            self._log.info("attempt_started", **ids)
        elif isinstance(body, Finished):
            self._log.info(
                "attempt_finished", **ids, outcome=body.outcome.value, duration_ms=body.duration_ms, error=body.error
            )
        elif isinstance(body, TreeDead):
            self._log.info("attempt_dead", **ids, cause=body.cause.value, started=body.started)
        elif isinstance(body, Progress):
            self._log.debug("attempt_progress", **ids, percent=body.percent)

    def note(self, note: instructions.Note) -> None:
        """A line that the core asks for; warnings always."""
        write = self._log.warning if note.level is instructions.Level.WARNING else self._log.info
        write(note.event, **note.fields)


def _ids(assignment: Assignment) -> dict[str, object]:
    return {"job_id": assignment.job_id, "attempt": assignment.attempt, "device_id": assignment.device_id}

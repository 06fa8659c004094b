"""What a check says, in the words of the coordinator's findings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is, from the best to the worst; as the coordinator's."""

    OK = "ok"
    NOTE = "note"  # nothing has to be done
    WARNING = "warning"  # it works, and somebody should do something about it
    PROBLEM = "problem"  # tests fail, or the agent does not start


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `check` is a stable word, as in `android.adb`; `advice` is what to do, None: nothing.

    `subject` names the device, program or setting that it is about, where a check looks at several.
    """

    check: str
    level: Level
    found: str
    advice: str | None = None
    subject: str | None = None


def fine(check: str, found: str, subject: str | None = None) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Level.OK, found, None, subject)


def unused(check: str, why: str) -> Finding:
    """These settings don't need it."""
    return Finding(check, Level.OK, f"not used: {why}")


def note(check: str, found: str, advice: str | None = None, subject: str | None = None) -> Finding:
    """Good to know."""
    return Finding(check, Level.NOTE, found, advice, subject)


def warning(check: str, found: str, advice: str, subject: str | None = None) -> Finding:
    """It works, and somebody should look."""
    return Finding(check, Level.WARNING, found, advice, subject)


def problem(check: str, found: str, advice: str, subject: str | None = None) -> Finding:
    """It does not work."""
    return Finding(check, Level.PROBLEM, found, advice, subject)

"""Failure classes, and which of the two retry budgets each uses up."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Charge, ErrorClass, Outcome

CHARGES: dict[Outcome, Charge] = {
    Outcome.TEST_FAILED: Charge.TEST,
    Outcome.TIMED_OUT: Charge.TEST,
    Outcome.APP_CRASHED: Charge.TEST,
    Outcome.DEVICE_ERROR: Charge.INFRASTRUCTURE,
    Outcome.AGENT_LOST: Charge.INFRASTRUCTURE,
    Outcome.PROVIDER_ERROR: Charge.INFRASTRUCTURE,
}
"""Failed outcomes of an attempt, and whose budget each uses up."""

POISON_AGENTS = 2
"""A job that cost this many different agents their life is not tried again."""

POISON_MESSAGE = (
    "The job was running when the agents {agents} were lost; it is not tried again. It may be the cause, "
    "or only have run beside it: whatever runs on a host that is lost counts alike. "
    "Look at the test and at these hosts, then retry it by hand."
)
"""The error of such a job; `agents` are ids with a comma and a space between them.

How many others ran there it does not say: those of other orgs are not its readers', and without them it misleads.
"""

AVOIDED_DEVICES = 4
"""A retry keeps away from so many of the devices whose failures came before, the last ones; a host counts as one."""


def host_mark(agent_id: str) -> str:
    """What stands among the devices to avoid for all devices of a host: it was lost with an attempt, or cut off."""
    return f"@{agent_id}"


_CLASSES: dict[Charge, ErrorClass] = {
    Charge.TEST: ErrorClass.TEST,
    Charge.INFRASTRUCTURE: ErrorClass.INFRASTRUCTURE,
    Charge.NOBODY: ErrorClass.INFRASTRUCTURE,
    Charge.FINAL: ErrorClass.BUILD,
}


def charge_of(outcome: Outcome, *, unresolvable: bool = False) -> Charge:
    """Whose budget a failed attempt uses up. Raises KeyError for an outcome that is no failure of an attempt."""
    return Charge.FINAL if unresolvable else CHARGES[outcome]


def error_class_of(charge: Charge) -> ErrorClass:
    """The error class that readers see for a failure charged so."""
    return _CLASSES[charge]

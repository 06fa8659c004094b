"""With what attempts end that could not begin, by what stood in their way. Pure but for the clock."""

from __future__ import annotations

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.values import Finished, Outcome
from qgjob_agent.devices.app import AppUnknownError
from qgjob_agent.runners.appwright.appium import AppiumError
from qgjob_agent.runners.appwright.plan import TestPathError
from qgjob_agent.runners.appwright.versions import SuiteError

UNREADY = (SuiteError, AppiumError, AppUnknownError)
"""What a run needs can't be had."""


def unready(error: SuiteError | AppiumError | AppUnknownError) -> Finished:
    """What the run needs can't be had: on all of this host, where it has no Appium."""
    if isinstance(error, AppiumError):
        return _failed(Outcome.DEVICE_ERROR, str(error), host_unfit=error.host_unfit)
    unresolvable = isinstance(error, AppUnknownError) and error.unresolvable
    return _failed(Outcome.PROVIDER_ERROR, str(error), unresolvable=unresolvable)


def not_in_suite(error: TestPathError) -> Finished:
    """Its test file can't be run, here or elsewhere."""
    return _failed(Outcome.PROVIDER_ERROR, str(error), unresolvable=True)


def not_startable(error: OSError) -> Finished:
    """This host can't begin a process for it."""
    return _failed(Outcome.DEVICE_ERROR, f"not startable: {error}", host_unfit=True)


def _failed(outcome: Outcome, error: str, *, unresolvable: bool = False, host_unfit: bool = False) -> Finished:
    now = wall_ms()
    return Finished(outcome, now, now, 0, error=error, unresolvable=unresolvable, host_unfit=host_unfit)

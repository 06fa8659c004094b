"""A device as its provider knows it, and an installation on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.events import InstallEnded
from qgjob_agent.core.values import App, Outcome
from qgjob_agent.devices.refusals import InstallRefusedError

if TYPE_CHECKING:
    import asyncio

    from qgjob_agent.core.values import Assignment, DeviceFacts

_EXPECTED = (InstallRefusedError, BuildUnresolvedError, BuildAwayError, TimeoutError)


@dataclass(slots=True, eq=False)
class KnownDevice:
    """A serial that was seen. `facts` and `installed` are what was told last; None while it counts as lost."""

    serial: str
    device_id: str
    state: str
    there: bool = True
    facts: DeviceFacts | None = None
    installed: App | None = None
    properties: dict[str, str] = field(default_factory=dict)
    watching: asyncio.Task[None] | None = None
    installation: Installation | None = None
    installations: int = 0


@dataclass(slots=True, eq=False)
class Installation:
    """One that runs. `stopped` is why it was stopped, `cancelled` whether that was asked for.

    `blinded` is what of the host failed meanwhile: whatever it ends with, that is not the device's fault.
    """

    device: KnownDevice
    assignment: Assignment
    begun: float
    task: asyncio.Task[bool]
    stopped: str | None = None
    cancelled: bool = False
    blinded: str | None = None

    def stop(self, why: str) -> None:
        """Stops it, once: what ends it must not be stopped itself."""
        if self.stopped is None:
            self.stopped = why
            self.task.cancel()

    @property
    def app(self) -> App:
        """What is installed where it passes."""
        return App(self.assignment.org_id, self.assignment.app_version_id, self.assignment.build_digest)

    @property
    def fault(self) -> BaseException | None:
        """What it ended with, where that is a fault of the program. Only when it has ended."""
        error = None if self.task.cancelled() else self.task.exception()
        return None if isinstance(error, _EXPECTED) else error

    def ended(self, fetch_seconds: float) -> InstallEnded:
        """What is to be told of it, when it has ended."""
        install_ms = round(1000 * (monotonic_seconds() - self.begun))
        event = InstallEnded(self.device.device_id, self.assignment.token, Outcome.DEVICE_ERROR, install_ms)
        error = None if self.task.cancelled() else self.task.exception()
        if self.task.cancelled():
            event.error, event.cancelled = self.stopped, self.cancelled
        elif error is None:
            event.outcome, event.was_there = Outcome.PASSED, not self.task.result()
        else:
            event.outcome, event.error = Outcome.PROVIDER_ERROR, str(error)
            if isinstance(error, InstallRefusedError):
                event.outcome, event.unresolvable = error.outcome, error.unresolvable
            elif isinstance(error, BuildUnresolvedError):
                event.unresolvable = True
            elif isinstance(error, BuildAwayError):
                event.unfetched, event.host_unfit = True, error.host_unfit
            elif isinstance(error, TimeoutError):
                event.unfetched = True
                event.error = f"the build did not come to this host in {fetch_seconds:g} s"
            elif self.fault is not None:
                event.error = f"the agent failed while it installed: {type(error).__name__}: {error}"
        if self.blinded is not None and event.outcome is Outcome.DEVICE_ERROR:
            event.outcome = Outcome.PROVIDER_ERROR
            event.error = f"{self.blinded}: {event.error}"
        return event

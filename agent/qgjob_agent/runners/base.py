"""What every runner offers, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.core.events import AttemptEvent, AttemptFinished, AttemptKilled, RunningAttempt
    from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts


class Sink(Protocol):
    """Where a runner tells what happens. All may be called from within `Runner.start`."""

    def report(self, events: list[AttemptEvent]) -> None:
        """Events of attempts, in order. The last one of each is AttemptFinished or AttemptKilled: its tree is dead, or
        has gone on from it to another attempt, or waits for one, on the same device.
        """

    def not_begun(self, token: str, error: str) -> None:
        """The disk refused the files of an attempt that was to begin: nothing of it lives, and no event follows."""

    def failed(self, error: Exception) -> None:
        """A fault of the program, after which nobody knows what the runner does: the agent ends."""

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        """A piece of an attempt's log, `offset` bytes from its start; the last one before the attempt's last event."""


class EvidenceTaker(Protocol):
    """Where what an attempt left goes when its result is in the spool."""

    def take(
        self,
        assignment: Assignment,
        files: Path,
        output: Path,
        end: AttemptFinished | AttemptKilled | None,
        began_at_ms: int = 0,
    ) -> None:
        """Takes the folder `files` away, and keeps what was printed to `output`. Again: nothing. Raises nothing.

        `end` is how the attempt ended, where that is known; `began_at_ms` when the test began, 0 where it did not.
        """


@dataclass(frozen=True, slots=True)
class Recovery:
    """What an earlier daemon left: attempts, and the ends of those that have ended; the others end by events."""

    attempts: list[RunningAttempt] = field(default_factory=list)
    ended: list[AttemptEvent] = field(default_factory=list)


class Runner(Protocol):
    """Carries out batches of attempts. All methods are called in the event loop and must not block it.

    `attempts_per_execution` is how many attempts one `start` may get: 1 for a runner that starts a process for each,
    more for one whose start is expensive or that runs them at once. The attempts of one `start` are run in an order of
    the runner's, and count as begun when they are handed over.
    """

    attempts_per_execution: int

    def start(self, device: DeviceFacts, assignments: list[Assignment]) -> None:
        """Begins attempts on a device where nothing lives. What can't be begun ends as AttemptFinished."""

    def kill(self, token: str, cause: DeathCause, grace_seconds: float) -> None:
        """Ends one attempt: TERM, then KILL after the grace. Called again, the shorter grace holds."""

    def settled(self, token: str) -> None:
        """The attempt's last report is in the spool: whatever was kept of it may go, but for the end of its log."""

    def told(self, token: str) -> None:
        """The coordinator has the attempt's last report: its log may go too."""

    def lost(self, device_id: str) -> None:
        """A device is gone: what is kept for its next attempts goes, and attempts of it that live go on."""

    def prove_room(self) -> None:
        """Makes what an attempt needs to begin and takes it away. Raises OSError where the disk refuses that."""

    async def recover(self, settled: set[str]) -> Recovery:
        """Finds what an earlier daemon began and is not in `settled` yet; of what is, it tells the log again."""

    async def close(self) -> None:
        """Stops watching. Trees that have a supervisor go on."""

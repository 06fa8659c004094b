"""A lease that this agent holds: the right to carry out one attempt."""

from __future__ import annotations

from dataclasses import dataclass

from qgjob_agent.core.values import App, Assignment, DeathCause, HeldAttempt, Phase


@dataclass(slots=True, eq=False)
class Lease:
    """One attempt and where it stands. Lives from its assignment to the acknowledgement of its last report."""

    assignment: Assignment
    phase: Phase = Phase.UNSTARTED
    test_begun: bool = False
    install_ms: int | None = None
    installing: bool = False
    cause: DeathCause | None = None  # why it is DYING
    begun_at_ms: int = 0
    disk_was: str | None = None  # what ailed the disk at some time while it ran

    @property
    def token(self) -> str:
        """The nonce that names this lease; compared for equality only."""
        return self.assignment.token

    @property
    def app(self) -> App:
        """What must be installed."""
        return App(self.assignment.org_id, self.assignment.app_version_id, self.assignment.build_digest)

    @property
    def alive(self) -> bool:
        """True while a process tree or an installation of it may live."""
        return self.phase is Phase.RUNNING or self.phase is Phase.DYING

    def held(self) -> HeldAttempt:
        """This lease as the coordinator is shown it."""
        what = self.assignment
        phase = Phase.RUNNING if self.phase is Phase.DYING else self.phase
        return HeldAttempt(what.job_id, what.token, what.attempt, phase, what.device_id)

"""Executions of several attempts: planned by one daemon, begun by it or a later one, settled attempt by attempt."""

from __future__ import annotations

import contextlib
import errno
import json
from typing import TYPE_CHECKING, Any, Self

from qgjob_agent.executions import names
from qgjob_agent.executions.execution import Execution
from qgjob_agent.executions.records import attempts_of, plan_of, record_of
from qgjob_agent.host.plain_file import put_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qgjob_agent.core.values import Assignment, DeathCause


class PlannedExecution(Execution):
    """As Execution. Each attempt has a place for what is kept of it, and a claim that says who has it."""

    @classmethod
    def planned(cls, root: Path, attempts: Sequence[Assignment], facts: dict[str, Any]) -> Self:
        """Makes the directory of several attempts, to be begun later, by another daemon too. Raises OSError."""
        execution = cls.new(root, *attempts)
        execution.facts = facts
        try:
            (execution.path / names.CLAIMS).mkdir()
            for index in range(len(attempts)):
                execution.files_of(index).mkdir(parents=True)
            _write_plan(execution.path, execution.attempts, facts)
        except OSError:
            execution.remove()
            raise
        return execution

    @classmethod
    def found_planned(cls, path: Path) -> Self | None:
        """What an earlier daemon planned there; None when it had not got so far. Raises as `found` does."""
        plan = record_of(path / names.PLAN)
        return None if plan is None else plan.read(lambda told: cls(path, attempts_of(told), told["facts"]))

    def add(self, assignment: Assignment) -> int:
        """One more of several attempts, which the command may take while it runs. Gives its index. Raises OSError."""
        index = len(self.attempts)
        self.files_of(index).mkdir(parents=True, exist_ok=True)
        _write_plan(self.path, [*self.attempts, assignment], self.facts)
        self.attempts.append(assignment)
        return index

    @property
    def launched(self) -> bool:
        """Whether a supervisor was begun for it, by any daemon."""
        return (self.path / names.LOCK).exists()

    def attempt_dir(self, index: int) -> Path:
        """What is kept of one of several attempts."""
        return self.path / names.ATTEMPTS / str(index)

    def files_of(self, index: int) -> Path:
        """Where one of several attempts leaves its files."""
        return self.attempt_dir(index) / names.OUT

    def claim_path(self, index: int) -> Path:
        """Where it is settled who has one of several attempts."""
        return self.path / names.CLAIMS / str(index)

    def claim(self, index: int) -> str:
        """Who has one of several attempts; empty if nobody has it yet. Raises OSError where the disk does not say."""
        try:
            return str(self.claim_path(index).readlink())
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            if error.errno == errno.EINVAL:  # no link: nobody of ours has put it there
                return ""
            raise

    def begin(self, index: int) -> bool:
        """Has an attempt begin for a command that does not ask itself. False if it was taken back. Raises OSError."""
        try:
            self.claim_path(index).symlink_to(names.BEGUN)
        except FileExistsError:
            return self.claim(index) == names.BEGUN
        return True

    def take_back(self, index: int, cause: DeathCause) -> bool:
        """Keeps one of several attempts from ever beginning here. False if it has begun already. Raises OSError."""
        try:
            self.claim_path(index).symlink_to(f"{names.CANCELLED} {cause.value}")
        except FileExistsError:
            return self.claim(index) != names.BEGUN
        return True

    def leave_rest(self) -> None:
        """Keeps all attempts that have not begun from beginning here, as its supervisor does when it ends the tree."""
        for index in range(len(self.attempts)):
            with contextlib.suppress(OSError):
                self.claim_path(index).symlink_to(names.LEFT)

    def give_up_attempt(self, index: int) -> Path:
        """The same for what is kept of one of several attempts; gives where that is now."""
        kept = self.attempt_dir(index)
        gone = kept.with_name(f"{index}{names.GIVEN_UP}")
        try:
            return kept.rename(gone)
        except OSError:
            return kept


def _write_plan(path: Path, attempts: Sequence[Assignment], facts: dict[str, Any]) -> None:
    put_text(path / names.PLAN, json.dumps(plan_of(attempts, facts)))

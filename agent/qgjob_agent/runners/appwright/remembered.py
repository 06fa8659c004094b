"""What a run's directory says of it beside its attempts, and the runs that an earlier daemon left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.values import DeviceFacts, Target
from qgjob_agent.executions import names
from qgjob_agent.executions.planned import PlannedExecution
from qgjob_agent.executions.records import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Facts:
    """`generation` grows with each run that is made."""

    generation: int
    device: DeviceFacts

    def fields(self) -> dict[str, Any]:
        """As they are written down."""
        device = self.device
        what = {"device_id": device.device_id, "udid": device.udid, "platform": device.platform}
        return {"generation": self.generation, "device": what | {"target": device.target.value}}

    @classmethod
    def of(cls, execution: PlannedExecution) -> Facts:
        """The facts of a run. Raises KeyError, TypeError or ValueError for what is none that this version writes."""
        fields = execution.facts
        device = dict(fields["device"])
        device["target"] = Target(device["target"])
        generation, made = fields["generation"], DeviceFacts(**device)
        texts = all(isinstance(each, str) for each in (made.device_id, made.udid, made.platform or ""))
        if not texts or type(generation) is not int:
            raise ValueError("a value is of another kind")
        return cls(generation, made)


@dataclass(frozen=True, slots=True)
class Found:
    """A run of an earlier daemon, and the indexes of the attempts that it still answers for."""

    execution: PlannedExecution
    facts: Facts
    indexes: list[int]


def read(path: Path) -> Found | None:
    """The run that an earlier daemon left there, with the attempts that it has a folder for; None: it had not got so
    far. Raises OSError, RecordError.
    """
    execution = PlannedExecution.found_planned(path)
    if execution is None:
        return None
    try:
        facts = Facts.of(execution)
    except (KeyError, TypeError, ValueError) as error:
        what = f"the facts in {names.PLAN} are not as this version writes them: {error!r}"
        raise RecordError(what, [each.job_id for each in execution.attempts]) from error
    indexes = [index for index in range(len(execution.attempts)) if execution.attempt_dir(index).is_dir()]
    return Found(execution, facts, indexes)


def find(runs: Iterable[tuple[Path, Found | None]], remove: Callable[[Path], None]) -> list[Found]:
    """Of what was read the runs, in the order in which they were made; `remove` gets what is none, or is done with.

    A run answers for an attempt as long as it has a folder for it. One that was moved to another run has two for a
    moment: the younger has it.
    """
    found: list[Found] = []
    for path, each in runs:
        if each is None:  # the daemon died before it began anything, or while it removed this
            remove(path)
        else:
            found.append(each)
    found.sort(key=lambda each: each.facts.generation)
    youngest = {each.token: one.execution for one in found for each in one.execution.attempts}
    left: list[Found] = []
    for one in found:
        attempts = one.execution.attempts
        indexes = [index for index in one.indexes if youngest[attempts[index].token] is one.execution]
        if indexes or one.execution.supervised:
            left.append(Found(one.execution, one.facts, indexes))
        else:
            remove(one.execution.path)
    return left

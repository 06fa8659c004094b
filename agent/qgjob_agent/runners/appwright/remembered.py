"""What a run's directory says of it beside its attempts, and the runs that an earlier daemon left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.values import DeviceFacts, Target
from qgjob_agent.planned_executions import PlannedExecution

if TYPE_CHECKING:
    from collections.abc import Callable
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
        """The facts of a run. Raises KeyError, TypeError or ValueError for what is none."""
        fields = execution.facts
        device = dict(fields["device"])
        device["target"] = Target(device["target"])
        return cls(int(fields["generation"]), DeviceFacts(**device))


@dataclass(frozen=True, slots=True)
class Found:
    """A run of an earlier daemon, and the indexes of the attempts that it still answers for."""

    execution: PlannedExecution
    facts: Facts
    indexes: list[int]


def find(root: Path, remove: Callable[[Path], None]) -> list[Found]:
    """The runs in the order in which they were made; `remove` gets what is no run, or is done with.

    A run answers for an attempt as long as it has a folder for it. One that was moved to another run has two for a
    moment: the younger has it.
    """
    found: list[tuple[PlannedExecution, Facts]] = []
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        execution = PlannedExecution.found_planned(path)
        try:
            found.append((execution, Facts.of(execution)) if execution is not None else _none(path))
        except (KeyError, TypeError, ValueError):  # the daemon died before it began anything, or while it removed this
            remove(path)
    found.sort(key=lambda each: each[1].generation)
    youngest = {each.token: execution for execution, _ in found for each in execution.attempts}
    runs: list[Found] = []
    for execution, facts in found:
        indexes = [
            index
            for index, each in enumerate(execution.attempts)
            if execution.attempt_dir(index).is_dir() and youngest[each.token] is execution
        ]
        if indexes or execution.supervised:
            runs.append(Found(execution, facts, indexes))
        else:
            remove(execution.path)
    return runs


def _none(path: Path) -> tuple[PlannedExecution, Facts]:
    raise ValueError(f"{path} holds no run")

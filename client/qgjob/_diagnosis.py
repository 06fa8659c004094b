"""What a coordinator finds when it looks for what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob._shape import Shape

if TYPE_CHECKING:
    from datetime import datetime

    from qgjob._enums import FindingLevel


@dataclass(frozen=True, slots=True)
class Finding(Shape):
    """What a check found. `subject` is the agent, device or org that it is about, `advice` what to do."""

    check: str
    level: FindingLevel
    subject: str | None
    found: str
    advice: str | None


@dataclass(frozen=True, slots=True)
class Diagnosis(Shape):
    """All that one coordinator found; `level` is that of the worst finding. Those that share a store have one epoch."""

    level: FindingLevel
    coordinator: str
    version: str
    store_epoch: int
    timestamp: datetime | None
    findings: tuple[Finding, ...]

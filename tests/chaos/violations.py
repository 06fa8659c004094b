"""What the checker finds: one broken promise each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """`rule` names the function that found it, `text` the promise. What is known of job and place is set."""

    rule: str
    text: str
    job_id: str | None = None
    device_id: str | None = None
    at: float | None = None

"""What an agent is told of its BrowserStack account."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgjob_agent.core.values import DeviceFacts


@dataclass(frozen=True, slots=True)
class BrowserStackSettings:
    """Settings of the provider. Times are seconds.

    `sessions` is how many devices there are at most (None: as many as the plan has), `named` what is set of a device,
    by its serial `browserstack-N`. The account is shown by no `repr`.
    """

    agent_id: str
    user: str = field(repr=False)
    access_key: str = field(repr=False)
    api_url: str
    hub_url: str
    model: str
    os_version: str
    platform: str
    sessions: int | None = None
    named: Mapping[str, DeviceFacts] = field(default_factory=dict)
    look_seconds: float = 15.0  # between two looks at the plan while nothing waits for it
    wait_seconds: float = 120.0  # that a session may wait for room
    pause_seconds: float = 2.0  # between two looks at a full plan
    session_seconds: float = 180.0  # that one may take to begin
    upload_seconds: float = 900.0
    evidence: str = "failed"  # of which attempts video and logs are fetched: failed, always, never
    evidence_seconds: float = 30.0

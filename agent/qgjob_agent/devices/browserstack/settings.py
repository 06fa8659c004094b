"""What an agent is told of its BrowserStack account."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import SecretStr

    from qgjob_agent.config_tables import BrowserStackConfig
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

    @classmethod
    def of(cls, what: BrowserStackConfig, agent_id: str, named: Sequence[DeviceFacts]) -> BrowserStackSettings:
        """As agent.toml and the environment have them."""
        return cls(
            agent_id=agent_id,
            user=_told(what.username),
            access_key=_told(what.access_key),
            api_url=what.api_url,
            hub_url=what.hub_url,
            model=what.model,
            os_version=what.os_version,
            platform=what.platform,
            sessions=what.sessions,
            named={facts.udid: facts for facts in named},
            look_seconds=what.look_seconds,
            wait_seconds=what.wait_seconds,
            upload_seconds=what.upload_seconds,
            evidence=what.evidence,
            evidence_seconds=what.evidence_seconds,
        )


def _told(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()

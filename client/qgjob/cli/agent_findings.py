"""What is the matter with an agent: what its host finds, and what its coordinators say of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from qgjob._client import AsyncClient
from qgjob._enums import AgentState, FindingLevel
from qgjob._errors import ForbiddenError, NotAuthenticatedError, QgjobError
from qgjob._fleet import Agent
from qgjob.cli.doctor_findings import NOTE, OK, PROBLEM, WARNING, Told, Visit, judge, worst_first
from qgjob.cli.doctoring import ANSWER_SECONDS, visit_all
from qgjob.cli.settings import Settings


async def examine(checkup: Any, path: Path | None) -> list[Told]:
    """All findings, the worst first. `checkup` is the agent's module of that name, `path` its agent.toml.

    With wrong settings nothing else is looked at: what to look at is not known.
    """
    settled = checkup.settle(path)
    found = [_of(each) for each in settled.findings]
    config = settled.config
    if config is None:
        return worst_first([*found, Told("host.session", NOTE, None, None, "not looked for: see host.settings", None)])
    token = None if config.token is None else config.token.get_secret_value()
    settings = Settings(",".join(config.coordinator), token, None, "json", None)
    of_host, visits = await asyncio.gather(checkup.examine(config), visit_all(settings))
    found += [_of(each) for each in of_host]
    found.append(token_told(visits, has=token is not None))
    origin = config.source_of("coordinator")
    found += [each for each in judge(visits, origin, version("qgjob")) if _is_of(each, config.agent_id)]
    agents = await _agents(settings) if any(visit.answer is not None for visit in visits) else None
    found.append(session_told(config.agent_id, settled.holder, agents))
    return worst_first(found)


def _of(finding: Any) -> Told:
    return Told(finding.check, FindingLevel(finding.level), finding.subject, None, finding.found, finding.advice)


def _is_of(told: Told, agent_id: str) -> bool:
    """Whether a finding is of the way to the coordinators, or of this agent; others are the coordinators' doctor's."""
    return told.check.startswith("client.") or told.subject == agent_id


async def _agents(settings: Settings) -> list[Agent] | None:
    async with AsyncClient(settings.coordinator, token=settings.token or "", timeout_seconds=ANSWER_SECONDS) as client:
        try:
            return [agent async for agent in client.agents()]
        except QgjobError:
            return None  # what keeps them from answering, their doctor tells


def token_told(visits: Sequence[Visit], *, has: bool) -> Told:
    """Whether a coordinator refuses the agent's token."""
    check = "host.token"
    refused = [each for each in visits if isinstance(each.error, NotAuthenticatedError | ForbiddenError)]
    if refused:
        what = "refuses the token of this agent" if has else "wants a token, and this agent has none"
        advice = "set QGJOB_TOKEN for the agent to one that is its own and still valid"
        return Told(check, PROBLEM, None, refused[0].address, f"the coordinator {what}", advice)
    return Told(check, OK, None, None, "a token is set" if has else "none is set, and none was asked for", None)


def session_told(agent_id: str, holder: int | None, agents: Sequence[Agent] | None) -> Told:
    """Whether what runs here is what the coordinators see. `holder` is the daemon here, `agents` None: nobody told."""
    check = "host.session"
    if agents is None:
        return Told(check, NOTE, None, None, "no coordinator tells of sessions: see client.address", None)
    mine = next((each for each in agents if each.agent_id == agent_id), None)
    online = mine is not None and mine.state is not AgentState.OFFLINE
    if mine is not None and online and holder is not None:
        return Told(check, OK, None, None, f"{agent_id} is connected; devices: {mine.devices}", None)
    if holder is not None:
        text = f"{agent_id} runs here (process {holder}), and the coordinators have no session of it"
        return Told(
            check, PROBLEM, None, None, text, "its log says why: `not_connected`, `agent_id_in_use`, `session_ended`"
        )
    if mine is not None and online:
        text = f"{agent_id} is connected from {mine.host}, and no agent runs with this state directory"
        advice = "if that is another host give this one an agent_id of its own; else ask with the agent's own settings"
        return Told(check, WARNING, None, None, text, advice)
    advice = "`qgjob agent start`, or `qgjob agent install-service` to have it start with the host"
    return Told(check, NOTE, None, None, f"{agent_id} does not run here", advice)

"""When the stack of `qgjob up` can be used, and how."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any

from qgjob.cli.runner import tell
from qgjob.cli.up_settings import AGENTS

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob.cli.children import Child
    from qgjob.cli.up_settings import StackSettings

_POLL_SECONDS = 0.1
_PROBE_SECONDS = 5.0
_IMPATIENT_SECONDS = 8.0
_OK = 200
DEFAULT_GRPC_PORT = 50051


async def wait_ready(settings: StackSettings, agents: Sequence[Child]) -> None:
    """Return when the coordinator is ready and the agents have come.

    When that takes long it says what is missing, and what agents complain of; then again whenever that has changed.
    """
    loop = asyncio.get_running_loop()
    last_told, said = loop.time(), ""
    while (missing := await asyncio.to_thread(what_is_missing, settings)) is not None:
        if loop.time() - last_told > _IMPATIENT_SECONDS:
            text = "\n".join([f"still waiting: {missing.what}", *(_complaints(agents) if missing.of_agents else ())])
            if text != said:
                tell(text)
            last_told, said = loop.time(), text
        await asyncio.sleep(_POLL_SECONDS)


def _complaints(agents: Sequence[Child]) -> list[str]:
    """A line for each agent whose log ends with a warning."""
    found = [(agent, agent.complaint()) for agent in agents]
    return [f"    {agent.name}: {complaint} (see {agent.log})" for agent, complaint in found if complaint is not None]


@dataclass(frozen=True, slots=True)
class Missing:
    """`what` keeps the stack from being used; `of_agents` where they may know more of it than the coordinator says."""

    what: str
    of_agents: bool = False


def what_is_missing(settings: StackSettings) -> Missing | None:
    """Why the stack is not ready; None when it is."""
    status, body = _get(settings, "/health/ready")
    if status is None:
        return Missing(f"the coordinator does not answer ({body})")
    if status != _OK:
        return Missing(f"the coordinator is not ready: {_reasons(body)}")
    status, body = _get(settings, "/api/jobs/stats")
    try:
        online = json.loads(body)["scheduler"]["agents_online"] if status == _OK else 0
    except (ValueError, KeyError, TypeError):
        return Missing(f"the coordinator's statistics can't be read ({body})")
    if online >= len(AGENTS):
        return None
    return Missing(f"{online} of {len(AGENTS)} agents are online", of_agents=True)


def _reasons(body: str) -> str:
    """What an answer of /health/ready says to people; all of it where it is none."""
    try:
        return "; ".join(map(str, json.loads(body)["reasons"]))
    except (ValueError, KeyError, TypeError):
        return body


def _get(settings: StackSettings, path: str) -> tuple[Any, str]:
    """(status, body), or (None, what went wrong)."""
    connection = HTTPConnection(settings.reachable_host, settings.port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", errors="replace").strip()
    except (OSError, HTTPException) as error:
        return None, str(error) or type(error).__name__
    finally:
        connection.close()


def welcome(settings: StackSettings, agent_config: Path | None = None) -> str:
    """What to try next. Which tests the agents of an `agent_config` can run, nobody here knows."""
    devices, test = "its devices are simulated: tests pass without being run", "xyz123 --test=tests/onboarding.spec.js"
    if agent_config is not None:
        devices, test = f"what its devices do with a test is said in {agent_config}", "APP_VERSION --test=PATH"
    export = f"export QGJOB_COORDINATOR={settings.grpc_address}"
    return "\n".join(
        [
            f"ready: http://{settings.reachable_host}:{settings.port} (REST), {settings.grpc_address} (gRPC)",
            devices,
            "try, in another terminal:",
            *([f"    {export}"] if settings.grpc_port != DEFAULT_GRPC_PORT else []),
            f"    qgjob run --org-id=qualgent --app-version-id={test}",
            "    qgjob devices ls",
            "Ctrl-C ends it; what was accepted is kept, and `qgjob up` in this folder goes on with it.",
        ]
    )

"""The fleet for people: devices, agents, and the groups that they work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime

from rich.console import RenderableType

from qgjob._enums import AgentState, DeviceState
from qgjob._fleet import Agent, Device, Group
from qgjob.cli.job_words import pairs
from qgjob.cli.moments import when
from qgjob.cli.render import facts, grid
from qgjob.cli.tables import Column


def unexplained(device: Device) -> bool:
    """Whether a device is offline, and nothing of its own says why."""
    return device.state is DeviceState.OFFLINE and not device.reason


def device_table(devices: Sequence[Device], agents: Sequence[Agent] = ()) -> RenderableType:
    """Devices, a line each. `agents` are those that are known: of them it depends why a device is offline."""
    states = {agent.agent_id: agent.state for agent in agents}
    columns = [
        Column("DEVICE"),
        Column("AGENT", spare=8),
        Column("TARGET", spare=5),
        Column("STATE", spare=1),
        Column("HEALTH", spare=2),
        Column("INSTALLED", spare=7),
        Column("INSTALLS", spare=9),
        Column("JOB", spare=6),
        Column("UNTIL", spare=4),
        Column("REASON", spare=3, least=12),
    ]
    return grid(columns, [_device_row(device, states.get(device.agent_id)) for device in devices])


def _device_row(device: Device, agent_state: AgentState | None) -> list[object]:
    installed = f"{device.org_id}/{device.app_version_id}" if device.app_version_id else None
    return [
        device.device_id,
        device.agent_id,
        device.target,
        device.state,
        device.health,
        installed,
        device.installs,
        device.current_job_id,
        device.until,
        _offline_words(agent_state) if unexplained(device) else device.reason or "",
    ]


def _offline_words(agent_state: AgentState | None) -> str:
    if agent_state is None:
        return ""
    if agent_state is AgentState.OFFLINE:
        return "its agent is offline"
    return "its agent does not see it; that agent's log says why"


def device_facts(device: Device) -> RenderableType:
    """One device in full."""
    shown = [each.name for each in fields(device) if each.name != "labels"]
    labels = pairs({"labels": dict(device.labels)})
    return facts([*((name, getattr(device, name)) for name in shown), ("labels", labels)])


def agent_table(agents: Sequence[Agent]) -> RenderableType:
    """Agents, a line each."""
    rows = [
        [each.agent_id, each.state, each.devices, each.version, each.host, each.connected_at, each.last_seen_at]
        for each in agents
    ]
    columns = [
        Column("AGENT"),
        Column("STATE", spare=1),
        Column("DEVICES", spare=2),
        Column("VERSION", spare=6),
        Column("HOST", spare=4),
        Column("CONNECTED", spare=5),
        Column("LAST SEEN", spare=3),
    ]
    return grid(columns, rows)


def group_table(groups: Sequence[Group], now: datetime) -> RenderableType:
    """Groups, a line each."""
    columns = [
        Column("ORG"),
        Column("APP VERSION"),
        Column("TARGET", spare=1),
        Column("QUEUED", spare=2),
        Column("SCHEDULED", spare=5),
        Column("RUNNING", spare=3),
        Column("DEVICES", spare=6, least=16, wraps=True),
        Column("INSTALLS", spare=7),
        Column("ENDS ABOUT", spare=4),
    ]
    rows = [
        [
            each.org_id, each.app_version_id, each.target, each.queued, each.scheduled, each.running,
            ", ".join(each.device_ids) or None, each.installs,
            _soon(each.estimated_end_at, now),
        ]
        for each in groups
    ]  # fmt: skip
    return grid(columns, rows, now)


def _soon(moment: datetime | None, now: datetime) -> str | None:
    """An estimate as people read it; one that is over is due."""
    if moment is None:
        return None
    return when(moment, now) if moment > now else "any moment"

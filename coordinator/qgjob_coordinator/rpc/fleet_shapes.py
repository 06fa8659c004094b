"""Devices, agents and what is found about them as the API's messages."""

from __future__ import annotations

from qgjob_coordinator.model.findings import Diagnosis, Finding
from qgjob_coordinator.model.fleet import Agent, Device
from qgjob_coordinator.rpc.numbers import AGENT_STATE, DEVICE_STATE, HEALTH, LEVEL, TARGET
from qgjob_coordinator.rpc.shapes import time_out
from qgjob_proto.v1 import fleet_pb2, types_pb2


def device_out(d: Device) -> types_pb2.Device:
    """A device."""
    return types_pb2.Device(
        device_id=d.device_id,
        agent_id=d.agent_id,
        udid=d.udid,
        target=TARGET[d.target],  # type: ignore[arg-type]
        platform=d.platform,
        os_version=d.os_version,
        model=d.model,
        state=DEVICE_STATE[d.state],  # type: ignore[arg-type]
        health=HEALTH[d.health],  # type: ignore[arg-type]
        reason=d.reason,
        until=time_out(d.until),
        current_job_id=d.current_job_id,
        org_id=d.org_id,
        app_version_id=d.app_version_id,
        labels=d.labels,
        installs=d.installs,
        last_seen_at=time_out(d.last_seen_at),
    )


def agent_out(a: Agent) -> types_pb2.Agent:
    """An agent."""
    return types_pb2.Agent(
        agent_id=a.agent_id,
        state=AGENT_STATE[a.state],  # type: ignore[arg-type]
        version=a.version,
        host=a.host,
        devices=a.devices,
        connected_at=time_out(a.connected_at),
        last_seen_at=time_out(a.last_seen_at),
    )


def diagnosis_out(d: Diagnosis) -> fleet_pb2.DiagnoseResponse:
    """What a coordinator found."""
    return fleet_pb2.DiagnoseResponse(
        level=LEVEL[d.level],  # type: ignore[arg-type]
        coordinator=d.coordinator,
        version=d.version,
        store_epoch=d.store_epoch,
        timestamp=time_out(d.timestamp),
        findings=[_finding(f) for f in d.findings],
    )


def _finding(f: Finding) -> types_pb2.Finding:
    return types_pb2.Finding(
        check=f.check,
        level=LEVEL[f.level],  # type: ignore[arg-type]
        subject=f.subject,
        found=f.found,
        advice=f.advice,
    )

"""Devices, agents, groups, runs and counts: from protobuf messages to models."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from qgjob import _enums as enums
from qgjob._diagnosis import Diagnosis, Finding
from qgjob._fleet import (
    Agent,
    AgentPage,
    Device,
    DeviceCounts,
    DevicePage,
    Group,
    GroupPage,
    QueueStats,
    Run,
    SchedulerStats,
    Stats,
)
from qgjob._wire import TARGET, Words, optional, optional_time
from qgjob_proto.v1 import fleet_pb2, jobs_pb2, types_pb2

DEVICE_STATE = Words(enums.DeviceState, types_pb2.DeviceState)
DEVICE_HEALTH = Words(enums.DeviceHealth, types_pb2.DeviceHealth)
AGENT_STATE = Words(enums.AgentState, types_pb2.AgentState)
FINDING_LEVEL = Words(enums.FindingLevel, types_pb2.FindingLevel)


def read_device(message: types_pb2.Device) -> Device:
    """A device."""
    return Device(
        device_id=message.device_id,
        agent_id=message.agent_id,
        udid=message.udid,
        target=TARGET.read(message.target),
        platform=optional(message, "platform"),
        os_version=optional(message, "os_version"),
        model=optional(message, "model"),
        state=DEVICE_STATE.read(message.state),
        health=DEVICE_HEALTH.read(message.health),
        reason=optional(message, "reason"),
        until=optional_time(message, "until"),
        current_job_id=optional(message, "current_job_id"),
        org_id=optional(message, "org_id"),
        app_version_id=optional(message, "app_version_id"),
        labels=dict(message.labels),
        installs=message.installs,
        last_seen_at=optional_time(message, "last_seen_at"),
    )


def read_device_page(message: fleet_pb2.ListDevicesResponse) -> DevicePage:
    """One page of devices."""
    return DevicePage(message.next_page_token or None, tuple(map(read_device, message.devices)))


def read_agent_page(message: fleet_pb2.ListAgentsResponse) -> AgentPage:
    """One page of agents."""
    return AgentPage(message.next_page_token or None, tuple(map(_read_agent, message.agents)))


def _read_agent(message: types_pb2.Agent) -> Agent:
    return Agent(
        agent_id=message.agent_id,
        state=AGENT_STATE.read(message.state),
        version=message.version,
        host=message.host,
        devices=message.devices,
        connected_at=optional_time(message, "connected_at"),
        last_seen_at=optional_time(message, "last_seen_at"),
    )


def read_group_page(message: jobs_pb2.ListGroupsResponse) -> GroupPage:
    """One page of groups."""
    return GroupPage(message.next_page_token or None, tuple(map(_read_group, message.groups)))


def _read_group(message: types_pb2.Group) -> Group:
    return Group(
        group_id=message.group_id,
        org_id=message.org_id,
        app_version_id=message.app_version_id,
        target=TARGET.read(message.target),
        queued=message.queued,
        scheduled=message.scheduled,
        running=message.running,
        device_ids=tuple(message.device_ids),
        installs=message.installs,
        estimated_end_at=optional_time(message, "estimated_end_at"),
    )


def read_run(message: types_pb2.Run) -> Run:
    """A run."""
    return Run(
        run_id=message.run_id,
        org_id=message.org_id,
        status_counts=_counts(message.status_counts, enums.JobStatus),
        outcome_counts=_counts(message.outcome_counts, enums.Outcome),
        installs=message.installs,
        started_at=optional_time(message, "started_at"),
        completed_at=optional_time(message, "completed_at"),
    )


def _counts(counts: Mapping[str, int], words: type[StrEnum]) -> dict[str, int]:
    """A map of counts in the order of its words: the wire keeps none."""
    known = {word.value: counts[word.value] for word in words if word.value in counts}
    return {**known, **{word: count for word, count in sorted(counts.items()) if word not in known}}


def read_stats(message: types_pb2.Stats) -> Stats:
    """Counts."""
    queue, scheduler, devices = message.queue, message.scheduler, message.scheduler.devices
    return Stats(
        queue=QueueStats(
            queued=queue.queued,
            scheduled=queue.scheduled,
            running=queue.running,
            completed=queue.completed,
            failed=queue.failed,
            cancelled=queue.cancelled,
            retry_wait=queue.retry_wait,
            oldest_queued_age_seconds=queue.oldest_queued_age_seconds,
        ),
        scheduler=SchedulerStats(
            agents_online=scheduler.agents_online,
            devices=DeviceCounts(devices.total, devices.idle, devices.busy, devices.offline, devices.bad),
            groups=scheduler.groups,
            installs=scheduler.installs,
            installs_saved=scheduler.installs_saved,
            plans=scheduler.plans,
            plan_ms_p50=scheduler.plan_ms_p50,
        ),
        timestamp=optional_time(message, "timestamp"),
    )


def read_diagnosis(message: fleet_pb2.DiagnoseResponse) -> Diagnosis:
    """What a coordinator found."""
    return Diagnosis(
        level=FINDING_LEVEL.read(message.level),
        coordinator=message.coordinator,
        version=message.version,
        store_epoch=message.store_epoch,
        timestamp=optional_time(message, "timestamp"),
        findings=tuple(map(_read_finding, message.findings)),
    )


def _read_finding(message: types_pb2.Finding) -> Finding:
    return Finding(
        check=message.check,
        level=FINDING_LEVEL.read(message.level),
        subject=optional(message, "subject"),
        found=message.found,
        advice=optional(message, "advice"),
    )

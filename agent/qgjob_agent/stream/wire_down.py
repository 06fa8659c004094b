"""Messages of the stream as events of the core. `wire` writes those that go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgjob_agent.core import events
from qgjob_agent.core.values import Assignment, Target, Verdict
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types

if TYPE_CHECKING:
    from collections.abc import Callable

_TARGET = {
    types.TARGET_EMULATOR: Target.EMULATOR,
    types.TARGET_DEVICE: Target.DEVICE,
    types.TARGET_BROWSERSTACK: Target.BROWSERSTACK,
}
_VERDICT = {
    pb.REPORT_VERDICT_APPLIED: Verdict.APPLIED,
    pb.REPORT_VERDICT_REPLAYED: Verdict.REPLAYED,
    pb.REPORT_VERDICT_STALE: Verdict.STALE,
}


def event_of(message: pb.ConnectResponse) -> events.Event | None:
    """What a message of the coordinator means to the core; None for one that this version does not know."""
    kind = message.WhichOneof("body")
    if kind is None:
        return None
    read = _DOWN.get(kind)
    return None if read is None else read(message.epoch, getattr(message, kind))


def _welcome(epoch: int, body: pb.Welcome) -> events.Welcomed:
    return events.Welcomed(
        epoch,
        body.heartbeat_ms,
        body.session_timeout_ms,
        body.lease_ms,
        body.kill_grace_ms,
        list(body.adopted),
        list(body.released),
        list(body.revoked),
        body.joined_reports,
    )


def _heartbeat_ack(epoch: int, body: pb.HeartbeatAck) -> events.HeartbeatConfirmed:
    return events.HeartbeatConfirmed(epoch, body.seq, list(body.revoked), list(body.released))


def _assign(epoch: int, body: pb.Assign) -> events.Assigned:
    return events.Assigned(epoch, [_assignment(item) for item in body.assignments])


def _assignment(item: pb.Assignment) -> Assignment:
    return Assignment(
        item.job_id,
        item.token,
        item.attempt,
        item.round,
        item.device_id,
        item.org_id,
        item.app_version_id,
        item.test_path,
        _TARGET.get(item.target),
        dict(item.env) if item.env else {},
        item.build_digest if item.HasField("build_digest") else None,
        item.suite_digest if item.HasField("suite_digest") else None,
        item.timeout_ms,
        item.silence_timeout_ms,
        item.expected_ms,
        item.build_format,
        item.build_package,
        item.build_size_bytes,
        item.suite_size_bytes,
    )


def _report_ack(epoch: int, body: pb.ReportAck) -> events.ReportsAcknowledged:
    return events.ReportsAcknowledged(
        epoch, [(entry.report_id, _VERDICT.get(entry.verdict, Verdict.STALE)) for entry in body.entries]
    )


def _recall(epoch: int, body: pb.Recall) -> events.Recalled:
    return events.Recalled(epoch, body.recall_id, list(body.tokens))


def _revoke(epoch: int, body: pb.Revoke) -> events.Revoked:
    return events.Revoked(epoch, body.token, body.reason, body.grace_ms)


def _device_command(epoch: int, body: pb.DeviceCommand) -> events.Event | None:
    if body.kind == pb.DEVICE_COMMAND_KIND_DRAIN:
        return events.DrainDevice(epoch, body.device_id)
    if body.kind == pb.DEVICE_COMMAND_KIND_RESUME:
        return events.ResumeDevice(epoch, body.device_id)
    if body.kind == pb.DEVICE_COMMAND_KIND_PROBE:
        return events.ProbeDevice(epoch, body.device_id)
    return None


_DOWN: dict[str, Callable[[int, Any], events.Event | None]] = {
    "welcome": _welcome,
    "heartbeat_ack": _heartbeat_ack,
    "assign": _assign,
    "report_ack": _report_ack,
    "recall": _recall,
    "revoke": _revoke,
    "device_command": _device_command,
}

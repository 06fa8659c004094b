"""The words of the model and the enum numbers of the API."""

from __future__ import annotations

from typing import Any

from qgjob_proto.v1 import types_pb2


def _numbers(enum: Any, prefix: str) -> dict[str, int]:
    """Word -> number of a protobuf enum."""
    return {name.removeprefix(prefix).lower(): number for name, number in enum.items() if number}


STATUS = _numbers(types_pb2.JobStatus, "JOB_STATUS_")
OUTCOME = _numbers(types_pb2.Outcome, "OUTCOME_")
TARGET = _numbers(types_pb2.Target, "TARGET_")
ERROR_CLASS = _numbers(types_pb2.ErrorClass, "ERROR_CLASS_")
PENDING = _numbers(types_pb2.PendingCode, "PENDING_CODE_")
DEVICE_STATE = _numbers(types_pb2.DeviceState, "DEVICE_STATE_")
HEALTH = _numbers(types_pb2.DeviceHealth, "DEVICE_HEALTH_")
AGENT_STATE = _numbers(types_pb2.AgentState, "AGENT_STATE_")
LEVEL = _numbers(types_pb2.FindingLevel, "FINDING_LEVEL_")

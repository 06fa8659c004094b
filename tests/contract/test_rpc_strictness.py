"""What gRPC refuses that REST can't even say: bytes that are no message, numbers of methods that REST does not have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from qgjob_proto.v1 import fleet_pb2, jobs_pb2
from tests.contract import scenarios
from tests.contract.rpc import CLASSES
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.error_details import error_field

ORG = "rpc-strict"
UNKNOWN = f"{ORG}~{scenarios.UNKNOWN_ULID}"
MALFORMED = {
    "cut": b"\x0a\x7fa",
    "no field": b"\xff\xff\xff\xff",
    "not UTF-8": b"\x12\x04\x12\x02\xff\xfe\x0a\x02\xff\xfe",
}
"""The last one holds an agent_id in a Hello, and a text in field 1, as most requests have it."""


@pytest.fixture
async def channel(coordinator: CoordinatorProcess) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(coordinator.target) as opened:
        yield opened


def plain(data: Any) -> bytes:
    return data if isinstance(data, bytes) else data.SerializeToString()


async def called(channel: grpc.aio.Channel, method: str, request: bytes | Message) -> None:
    """A call to its end."""
    path = f"/qgjob.v1.{method}"
    if method == "JobService/TailLogs":
        async for _ in channel.unary_stream(path, plain)(request, timeout=10.0):
            pass
    elif method == "AgentService/Connect":
        async for _ in channel.stream_stream(path, plain)(iter([request]), timeout=10.0):
            pass
    else:
        await channel.unary_unary(path, plain)(request, timeout=10.0)


async def refused(channel: grpc.aio.Channel, method: str, request: bytes | Message) -> str:
    """Code and field of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await called(channel, method, request)
    return f"{CLASSES[caught.value.code()]} {error_field(caught.value)}"


@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.parametrize(
    "method", ["JobService/SubmitJob", "FleetService/Drain", "JobService/TailLogs", "AgentService/Connect"]
)
async def test_bytes_that_are_no_message_are_invalid(channel: grpc.aio.Channel, method: str, what: str) -> None:
    assert await refused(channel, method, MALFORMED[what]) == "invalid body"


REFUSED: list[tuple[str, Message, str]] = [
    ("JobService/SubmitJobs", jobs_pb2.SubmitJobsRequest(view=9), "view"),  # type: ignore[arg-type]
    ("JobService/TailLogs", jobs_pb2.TailLogsRequest(job_id=UNKNOWN, attempt=-1), "attempt"),
    ("JobService/TailLogs", jobs_pb2.TailLogsRequest(job_id=UNKNOWN, attempt=0), "attempt"),
    ("JobService/TailLogs", jobs_pb2.TailLogsRequest(job_id=UNKNOWN, offset=-1), "offset"),
    ("JobService/TailLogs", jobs_pb2.TailLogsRequest(job_id=UNKNOWN, offset=2**60), "offset"),
    ("JobService/ListJobs", jobs_pb2.ListJobsRequest(org_id=ORG, run_id=""), "run_id"),
    ("JobService/CancelJob", jobs_pb2.CancelJobRequest(job_id=UNKNOWN, operation_id=""), "operation_id"),
    ("JobService/CancelJobs", jobs_pb2.CancelJobsRequest(org_id=ORG, run_id=""), "run_id"),
    ("JobService/ListGroups", jobs_pb2.ListGroupsRequest(org_id=""), "org_id"),
    ("JobService/GetStats", jobs_pb2.GetStatsRequest(org_id=""), "org_id"),
    ("FleetService/ListDevices", fleet_pb2.ListDevicesRequest(agent_id=""), "agent_id"),
    ("FleetService/Drain", fleet_pb2.DrainRequest(device_id=""), "device_id"),
    ("FleetService/Resume", fleet_pb2.ResumeRequest(agent_id=""), "agent_id"),
]


@pytest.mark.parametrize(("method", "request_", "field"), REFUSED)
async def test_a_number_or_id_out_of_its_range_is_named(
    channel: grpc.aio.Channel, method: str, request_: Message, field: str
) -> None:
    assert await refused(channel, method, request_) == f"invalid {field}"

"""What gRPC refuses that REST can't even say: bytes that are no message, numbers of methods that REST does not have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import timestamp_pb2
from google.protobuf.message import Message

from qgjob_proto.v1 import fleet_pb2, jobs_pb2, jobs_pb2_grpc
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
    if method in ("JobService/TailLogs", "JobService/WatchJobs"):
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


FIELD_99 = b"\x9a\x06\x01x"
JOB = jobs_pb2.SubmitJobRequest(org_id=ORG, app_version_id="v1", test_path="a.spec.js")
TIME = timestamp_pb2.Timestamp(seconds=4_000_000_000)


def under(number: int, *parts: bytes) -> bytes:
    """A field that holds what the parts hold, as bytes of a request."""
    data = b"".join(parts)
    return bytes([number << 3 | 2, len(data)]) + data


ODD: list[tuple[str, bytes, str]] = [
    ("JobService/SubmitJob", JOB.SerializeToString() + FIELD_99, "99"),
    ("JobService/SubmitJob", JOB.SerializeToString() + under(9, FIELD_99), "requirements.99"),
    ("JobService/SubmitJob", JOB.SerializeToString() + under(13, TIME.SerializeToString(), FIELD_99), "not_before.99"),
    ("JobService/SubmitJob", JOB.SerializeToString() + under(8, b"\x0a\x01k\x12\x01v", FIELD_99), "labels"),
    ("JobService/SubmitJob", JOB.SerializeToString() + b"\x10\x05", "app_version_id"),  # a number where a text is
    ("JobService/SubmitJobs", under(1, JOB.SerializeToString()) * 2 + FIELD_99, "99"),
    (
        "JobService/SubmitJobs",
        under(1, JOB.SerializeToString()) + under(1, JOB.SerializeToString(), under(9, FIELD_99)),
        "jobs[1].requirements.99",
    ),
    ("JobService/GetStats", b"\x9b\x06\x08\x01\x9c\x06", "99"),  # a group
    ("JobService/WatchJobs", FIELD_99, "99"),
    ("JobService/TailLogs", jobs_pb2.TailLogsRequest(job_id=UNKNOWN).SerializeToString() + FIELD_99, "99"),
    ("FleetService/ListDevices", FIELD_99, "99"),
]


@pytest.mark.parametrize(("method", "data", "field"), ODD)
async def test_a_field_that_is_not_known_is_refused(
    channel: grpc.aio.Channel, method: str, data: bytes, field: str
) -> None:
    assert await refused(channel, method, data) == f"invalid {field}"


async def test_a_refused_field_leaves_no_job(channel: grpc.aio.Channel) -> None:
    org_id = f"{ORG}-none"
    job = jobs_pb2.SubmitJobRequest(org_id=org_id, app_version_id="v1", test_path="a.spec.js")
    assert await refused(channel, "JobService/SubmitJob", job.SerializeToString() + FIELD_99) == "invalid 99"
    stub = jobs_pb2_grpc.JobServiceStub(channel)  # type: ignore[no-untyped-call]
    assert (await stub.ListJobs(jobs_pb2.ListJobsRequest(org_id=org_id))).count == 0


@pytest.mark.parametrize(
    "data",
    [
        JOB.SerializeToString() + JOB.SerializeToString(),  # the last one counts
        JOB.SerializeToString() + b"\x20\x80\x00",  # a default that is written out, at length
        b"".join(under(8, b"\x0a\x01k\x12\x01v") for _ in range(2)) + JOB.SerializeToString(),  # one key twice
        JOB.SerializeToString() + under(10, b"\x0a\x01E"),  # an entry without its value
    ],
)
async def test_an_unusual_way_to_write_what_is_known_is_taken(channel: grpc.aio.Channel, data: bytes) -> None:
    await called(channel, "JobService/SubmitJob", data)


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

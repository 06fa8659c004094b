"""The calls over gRPC."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from qgjob_proto.v1 import fleet_pb2, fleet_pb2_grpc, jobs_pb2, jobs_pb2_grpc, types_pb2
from tests.contract.api import Json, Reply
from tests.contract.plain import plain
from tests.fakes.error_details import error_field

CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid",
    grpc.StatusCode.UNAUTHENTICATED: "not_authenticated",
    grpc.StatusCode.PERMISSION_DENIED: "forbidden",
    grpc.StatusCode.NOT_FOUND: "not_found",
    grpc.StatusCode.FAILED_PRECONDITION: "conflict",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "exhausted",
    grpc.StatusCode.UNAVAILABLE: "unavailable",
}
UNKNOWN = 99
"""The number of a word that no enum has."""

_ENUMS = {
    "priority": (types_pb2.Priority, "PRIORITY_"),
    "target": (types_pb2.Target, "TARGET_"),
    "overflow_target": (types_pb2.Target, "TARGET_"),
    "status": (types_pb2.JobStatus, "JOB_STATUS_"),
}


class RpcApi:
    """Thin: no retries, no rules."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._jobs = jobs_pb2_grpc.JobServiceStub(channel)
        self._fleet = fleet_pb2_grpc.FleetServiceStub(channel)

    async def submit(self, body: Json) -> Reply:
        reply, answer = await _call(self._jobs.SubmitJob, _filled(jobs_pb2.SubmitJobRequest(), body))
        return reply if answer is None else Reply("ok", value=_job(answer.job), created=answer.created)

    async def submit_many(self, bodies: list[Json]) -> Reply:
        request = jobs_pb2.SubmitJobsRequest(jobs=[_filled(jobs_pb2.SubmitJobRequest(), b) for b in bodies])
        reply, answer = await _call(self._jobs.SubmitJobs, request)
        if answer is None:
            return reply
        value = {"count": answer.count, "jobs": [_job(j) for j in answer.jobs]}
        return Reply("ok", value=value, created=answer.created > 0)

    async def get(self, job_id: str) -> Reply:
        return await self._one(self._jobs.GetJob, jobs_pb2.GetJobRequest(job_id=job_id))

    async def list(self, **query: object) -> Reply:
        reply, answer = await _call(self._jobs.ListJobs, _filled(jobs_pb2.ListJobsRequest(), query))
        if answer is None:
            return reply
        value = plain(answer)
        jobs = [_job(j) for j in answer.jobs]
        order = ("count", "jobs", "next_page_token", "org_id", "status_filter")
        return Reply("ok", value={k: jobs if k == "jobs" else value[k] for k in order})

    async def cancel(self, job_id: str, **query: object) -> Reply:
        return await self._one(self._jobs.CancelJob, _filled(jobs_pb2.CancelJobRequest(job_id=job_id), query))

    async def retry(self, job_id: str, **body: object) -> Reply:
        return await self._one(self._jobs.RetryJob, _filled(jobs_pb2.RetryJobRequest(job_id=job_id), body))

    async def groups(self, **query: object) -> Reply:
        return await self._page("groups", self._jobs.ListGroups, _filled(jobs_pb2.ListGroupsRequest(), query))

    async def devices(self, **query: object) -> Reply:
        return await self._page("devices", self._fleet.ListDevices, _filled(fleet_pb2.ListDevicesRequest(), query))

    async def stats(self, **query: object) -> Reply:
        reply, answer = await _call(self._jobs.GetStats, _filled(jobs_pb2.GetStatsRequest(), query))
        return reply if answer is None else Reply("ok", value=plain(answer.stats))

    async def _one(self, method: Any, request: Message) -> Reply:
        reply, answer = await _call(method, request)
        return reply if answer is None else Reply("ok", value=_job(answer.job))

    async def _page(self, name: str, method: Any, request: Message) -> Reply:
        reply, answer = await _call(method, request)
        if answer is None:
            return reply
        value = plain(answer)
        return Reply("ok", value={k: value[k] for k in ("count", name, "next_page_token")})


def _job(message: Message) -> Json:
    """A job; `deduplicated` is there on submission only."""
    value: Json = plain(message)
    return value if value["deduplicated"] is not None else {k: v for k, v in value.items() if k != "deduplicated"}


def _filled(request: Any, body: Json) -> Any:
    """The request with a REST body's fields."""
    body = dict(body)
    for name, (enum, prefix) in _ENUMS.items():
        if name in body:
            number = dict(enum.items()).get(prefix + str(body.pop(name)).upper(), UNKNOWN)
            setattr(request, name, number)
    return ParseDict(body, request)


async def _call(method: Any, request: Message) -> tuple[Reply, Any]:
    try:
        return Reply("ok"), await method(request, timeout=20.0)
    except grpc.aio.AioRpcError as e:
        return Reply(CLASSES[e.code()], error_field(e), e.details()), None

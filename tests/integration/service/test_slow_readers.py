"""A caller of a stream that reads nothing is cut and told from where to go on; what its stream held is free at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from qgjob_coordinator.rpc import interceptor
from qgjob_coordinator.telemetry import Telemetry
from qgjob_proto.v1 import builds_pb2, builds_pb2_grpc, jobs_pb2_grpc, types_pb2
from qgjob_proto.v1 import jobs_pb2 as pb


class Endless(jobs_pb2_grpc.JobServiceServicer, builds_pb2_grpc.BuildServiceServicer):
    def __init__(self) -> None:
        self.freed = asyncio.Event()

    async def WatchJobs(self, request: Any, context: Any) -> AsyncIterator[pb.WatchJobsResponse]:  # noqa: N802
        n = 0
        try:
            while True:
                n += 1
                yield pb.WatchJobsResponse(cursor=f"1.{n}-0", job=types_pb2.Job(job_id="x" * 10_000))
        finally:
            self.freed.set()

    async def FetchBuild(self, request: Any, context: Any) -> AsyncIterator[builds_pb2.FetchBuildResponse]:  # noqa: N802
        n = 0
        try:
            while True:
                yield builds_pb2.FetchBuildResponse(offset=n * 10_000, chunk=b"x" * 10_000)
                n += 1
        finally:
            self.freed.set()

    async def TailLogs(self, request: Any, context: Any) -> AsyncIterator[pb.TailLogsResponse]:  # noqa: N802
        n = 0
        try:
            while True:
                yield pb.TailLogsResponse(attempt=1, offset=n * 10_000, data=b"x" * 10_000)
                n += 1
        finally:
            self.freed.set()


@pytest.mark.parametrize("method", ["WatchJobs", "TailLogs", "FetchBuild"])
async def test_a_reader_that_takes_nothing_is_cut_and_told_where_to_go_on(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(interceptor, "WRITE_SECONDS", 0.2)
    endless = Endless()
    server = grpc.aio.server(interceptors=[interceptor.CallInterceptor(Telemetry())])
    jobs_pb2_grpc.add_JobServiceServicer_to_server(endless, server)
    builds_pb2_grpc.add_BuildServiceServicer_to_server(endless, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(10):
            if method == "FetchBuild":
                call = builds_pb2_grpc.BuildServiceStub(channel).FetchBuild(builds_pb2.FetchBuildRequest())
            else:
                call = getattr(jobs_pb2_grpc.JobServiceStub(channel), method)(getattr(pb, f"{method}Request")())
            await endless.freed.wait()  # before anything was read
            with pytest.raises(grpc.aio.AioRpcError) as error:
                _ = [message async for message in call]
            assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            said = error.value.details() or ""
            assert "took nothing for 0.2 s; go on " in said
            places = {"WatchJobs": "cursor 1.", "TailLogs": "of attempt 1", "FetchBuild": "go on from offset "}
            assert places[method] in said
    finally:
        await server.stop(None)

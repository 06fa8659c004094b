"""Fetches builds and suites that were pushed from whichever coordinator serves. One of the places of gRPC in the agent.

Each fetch has a connection of its own: hundreds of megabytes must not stand before a heartbeat.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import grpc

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_proto.v1 import builds_pb2 as pb
from qgjob_proto.v1 import builds_pb2_grpc as pb_grpc
from qgjob_proto.v1 import suites_pb2, suites_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from qgjob_agent.stream.session import Coordinators

_CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.use_local_subchannel_pool", 1),
]
_NOT_THERE = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


class _PushedContents(ABC):
    """Contents of one kind that coordinators have. The address that served last is asked first."""

    kind: str

    def __init__(self, coordinators: Coordinators) -> None:
        self._coordinators = coordinators
        self._turn = 0

    async def __call__(self, org_id: str, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        """The content from `offset` on. Raises BuildAwayError, BuildUnresolvedError.

        A coordinator that fails before the first byte is followed by the next one; the fetch that breaks later is its
        caller's to repeat, from where it broke.
        """
        addresses = self._coordinators.addresses
        problems = []
        for _ in addresses:
            address = addresses[self._turn % len(addresses)]
            at = offset
            try:
                async for piece in self._from(address, org_id, digest, offset):
                    at += len(piece)
                    yield piece
            except grpc.aio.AioRpcError as error:
                said = f"{address}: {error.details() or error.code().name}"
                if error.code() in _NOT_THERE:
                    raise BuildUnresolvedError(f"{self.kind} {digest} of {org_id} can't be fetched: {said}") from error
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    said = f"{address} is older than this agent and has no {self.kind}s; update it"
                self._turn += 1
                problems.append(said)
                if at > offset:
                    break
            else:
                return
        raise BuildAwayError(f"{self.kind} {digest} of {org_id} can't be fetched now: {'; '.join(problems)}")

    async def _from(self, address: str, org_id: str, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        async with grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS) as channel:
            call = self._call(channel, org_id, digest, offset)
            try:
                async for message in call:
                    yield message.chunk
            finally:
                call.cancel()

    @abstractmethod
    def _call(self, channel: grpc.aio.Channel, org_id: str, digest: str, offset: int) -> Any:
        """The call that streams a content from an offset on."""


class PushedBuilds(_PushedContents):
    """The coordinators' builds."""

    kind = "build"

    def _call(self, channel: grpc.aio.Channel, org_id: str, digest: str, offset: int) -> Any:
        request = pb.FetchBuildRequest(org_id=org_id, digest=digest, offset=offset)
        return pb_grpc.BuildServiceStub(channel).FetchBuild(request, metadata=self._coordinators.metadata)


class PushedSuites(_PushedContents):
    """The coordinators' suites."""

    kind = "suite"

    def _call(self, channel: grpc.aio.Channel, org_id: str, digest: str, offset: int) -> Any:
        request = suites_pb2.FetchSuiteRequest(org_id=org_id, digest=digest, offset=offset)
        return suites_pb2_grpc.SuiteServiceStub(channel).FetchSuite(request, metadata=self._coordinators.metadata)

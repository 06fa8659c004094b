"""An agent's fetches of builds over gRPC: from whichever coordinator serves, and what each failure means."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.stream.content_fetching import PushedBuilds, PushedSuites
from qgjob_agent.stream.session import Coordinators
from qgjob_proto.v1 import builds_pb2 as pb
from qgjob_proto.v1 import builds_pb2_grpc as pb_grpc
from qgjob_proto.v1 import suites_pb2, suites_pb2_grpc

CONTENT = bytes(range(256)) * 1000
PIECE = 50_000
DIGEST = "ab" * 32


class Coordinator(pb_grpc.BuildServiceServicer):
    """One that serves a content. `code`: answers with that instead; `breaks_after` so many bytes it ends the call."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.breaks_after: int | None = None
        self.asked: list[tuple[str, str, int]] = []
        self.agents: list[str] = []
        self.address = ""

    async def FetchBuild(self, request: pb.FetchBuildRequest, context: Any) -> AsyncIterator[pb.FetchBuildResponse]:  # noqa: N802
        self.asked.append((request.org_id, request.digest, request.offset))
        self.agents.append(dict(context.invocation_metadata())["qgjob-agent-id"])
        if self.code is not None:
            await context.abort(self.code, "as the test wants it")
        for at in range(request.offset, len(CONTENT), PIECE):
            if self.breaks_after is not None and at - request.offset >= self.breaks_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "it ends")
            yield pb.FetchBuildResponse(chunk=CONTENT[at : at + PIECE], offset=at)


@pytest.fixture
async def two() -> AsyncIterator[list[Coordinator]]:
    servers, coordinators = [], []
    for _ in range(2):
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        one = Coordinator()
        pb_grpc.add_BuildServiceServicer_to_server(one, server)
        one.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        servers.append(server)
        coordinators.append(one)
    yield coordinators
    for server in servers:
        await server.stop(0)


def fetcher(*addresses: str) -> PushedBuilds:
    return PushedBuilds(Coordinators(addresses, "agent-1"))


async def fetched(builds: PushedBuilds, offset: int = 0) -> bytes:
    return b"".join([piece async for piece in builds("acme", DIGEST, offset)])


async def test_a_build_comes_from_an_offset_on_and_says_which_agent_asks(two: list[Coordinator]) -> None:
    assert await fetched(fetcher(two[0].address), 100) == CONTENT[100:]
    assert (two[0].asked, two[0].agents) == ([("acme", DIGEST, 100)], ["agent-1"])


async def test_the_next_coordinator_serves_where_one_does_not_and_is_asked_first_afterwards(
    two: list[Coordinator],
) -> None:
    builds = fetcher("127.0.0.1:1", two[0].address, two[1].address)
    two[0].code = grpc.StatusCode.UNAVAILABLE
    assert await fetched(builds) == CONTENT
    assert await fetched(builds) == CONTENT
    assert (len(two[0].asked), len(two[1].asked)) == (1, 2)


async def test_a_fetch_that_breaks_is_its_callers_to_repeat(two: list[Coordinator]) -> None:
    """Another coordinator would begin at the offset of the call: the caller knows better how far it is."""
    two[0].breaks_after = 2 * PIECE
    builds = fetcher(two[0].address, two[1].address)
    got = bytearray()

    async def take() -> None:
        async for piece in builds("acme", DIGEST, 0):
            got.extend(piece)

    with pytest.raises(BuildAwayError, match="it ends"):
        await take()
    assert bytes(got) == CONTENT[: 2 * PIECE]
    assert await fetched(builds, len(got)) == CONTENT[len(got) :]
    assert two[1].asked == [("acme", DIGEST, 2 * PIECE)]


async def test_what_no_coordinator_has_will_not_come(two: list[Coordinator]) -> None:
    two[0].code = grpc.StatusCode.NOT_FOUND
    with pytest.raises(BuildUnresolvedError, match=f"build {DIGEST} of acme can't be fetched: .*as the test wants it"):
        await fetched(fetcher(two[0].address, two[1].address))


async def test_a_coordinator_that_is_older_leaves_it_to_the_next_one(two: list[Coordinator]) -> None:
    two[0].code = grpc.StatusCode.UNIMPLEMENTED
    assert await fetched(fetcher(two[0].address, two[1].address)) == CONTENT
    with pytest.raises(BuildAwayError, match=f"{two[0].address} is older than this agent and has no builds; update it"):
        await fetched(fetcher(two[0].address))


async def test_where_none_serves_all_are_named(two: list[Coordinator]) -> None:
    for one in two:
        one.code = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(BuildAwayError) as caught:
        await fetched(fetcher(two[0].address, two[1].address))
    assert all(one.address in str(caught.value) for one in two)


class OfSuites(suites_pb2_grpc.SuiteServiceServicer):
    """One that serves a suite, or has none."""

    async def FetchSuite(  # noqa: N802
        self, request: suites_pb2.FetchSuiteRequest, context: Any
    ) -> AsyncIterator[suites_pb2.FetchSuiteResponse]:
        if request.digest != DIGEST:
            await context.abort(grpc.StatusCode.NOT_FOUND, "nobody pushed it")
        yield suites_pb2.FetchSuiteResponse(chunk=CONTENT[request.offset :], offset=request.offset)


async def test_suites_come_by_a_call_of_their_own() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    suites_pb2_grpc.add_SuiteServiceServicer_to_server(OfSuites(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    suites = PushedSuites(Coordinators((address,), "agent-1"))
    assert await fetched(suites, 1000) == CONTENT[1000:]
    with pytest.raises(BuildUnresolvedError, match=r"of acme can't be fetched: .*nobody pushed it"):
        await anext(suites("acme", DIGEST[::-1], 0))
    await server.stop(0)

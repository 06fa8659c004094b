"""How an agent sends evidence to coordinators that are away, older, full, or break off."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench.processes import free_port
from qgjob_agent.evidence.choice import LeftOut, Named
from qgjob_agent.evidence.keeper import EvidenceAwayError, EvidenceRefusedError, EvidenceTooLargeError
from qgjob_agent.evidence.shelf import Evidence, Kept, Whose
from qgjob_agent.evidence_pushing import PushedEvidence
from qgjob_agent.session import Coordinators
from qgjob_proto.v1 import artifacts_pb2 as pb
from qgjob_proto.v1 import artifacts_pb2_grpc

FILM = bytes(range(256)) * 4000


class Coordinator(artifacts_pb2_grpc.ArtifactServiceServicer):
    """Takes what it wants, or ends the call with `code`: at the header, or after so many bytes."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.after_bytes = 0
        self.wants = [0, 1]
        self.header: pb.PushArtifactsHeader | None = None
        self.got: dict[int, bytes] = {}
        self.metadata: dict[str, Any] = {}

    async def PushArtifacts(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.PushArtifactsResponse]:  # noqa: N802
        self.metadata = dict(context.invocation_metadata())
        self.header = (await anext(request_iterator)).header
        sizes = [file.size_bytes for file in self.header.files]
        await self._end(context, 0)
        yield pb.PushArtifactsResponse(wanted=pb.ArtifactsWanted(files=self.wants))
        for place in self.wants:
            data = b""
            while len(data) < sizes[place]:
                chunk = (await anext(request_iterator)).chunk
                assert chunk.file == place
                data += chunk.data
                await self._end(context, len(data))
            self.got[place] = data
            yield pb.PushArtifactsResponse(kept=pb.ArtifactKept(file=place))

    async def _end(self, context: Any, size: int) -> None:
        if self.code is not None and size >= self.after_bytes:
            await context.abort(self.code, "as the test wants it")


@asynccontextmanager
async def served(*services: Coordinator) -> AsyncIterator[str]:
    server = grpc.aio.server()
    for each in services:
        artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server(each, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    contents = {"log.txt": b"printed\n", "film.webm": FILM}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    kept = tuple(
        Kept(Named(name, name, kind, len(contents[name])), hashlib.sha256(contents[name]).hexdigest())
        for name, kind in (("log.txt", "log"), ("film.webm", "video"))
    )
    whose = Whose("acme~01K3ZV7Q9M4T8B2N6R5W0XYCEF", "t1", 2, "d", None, 1, 2)
    return Evidence(tmp_path, whose, kept, (LeftOut(3, 9, "too many"),))


@asynccontextmanager
async def pushing(*addresses: str, token: str | None = None) -> AsyncIterator[PushedEvidence]:
    push = PushedEvidence(Coordinators(addresses, "agent-1", token))
    try:
        yield push
    finally:
        await push.close()


async def test_what_is_wanted_is_sent_by_whichever_coordinator_is_there(evidence: Evidence) -> None:
    coordinator = Coordinator()
    async with served(coordinator) as address, pushing(f"127.0.0.1:{free_port()}", address, token="secret") as push:  # noqa: S106 - a test's
        assert await push(evidence) == 2
        assert coordinator.got == {0: b"printed\n", 1: FILM}
        assert coordinator.metadata["authorization"] == "Bearer secret"
        header = coordinator.header
        assert header is not None
        assert (header.attempt, header.token, [f.kind for f in header.files]) == (2, "t1", [1, 4])
        assert [(each.files, each.reason) for each in header.left_out] == [(3, "too many")]
        coordinator.wants = []
        assert await push(evidence) == 0


@pytest.mark.parametrize(
    ("code", "after_bytes", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, 0, EvidenceAwayError),
        (grpc.StatusCode.UNAVAILABLE, 300_000, EvidenceAwayError),
        (grpc.StatusCode.INVALID_ARGUMENT, 300_000, EvidenceAwayError),  # it had waited too long for a piece
        (grpc.StatusCode.INVALID_ARGUMENT, 0, EvidenceRefusedError),
        (grpc.StatusCode.NOT_FOUND, 0, EvidenceRefusedError),
        (grpc.StatusCode.FAILED_PRECONDITION, 0, EvidenceRefusedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 0, EvidenceTooLargeError),
    ],
)
async def test_what_a_refusal_means(
    evidence: Evidence, code: grpc.StatusCode, after_bytes: int, error: type[Exception]
) -> None:
    coordinator = Coordinator()
    coordinator.code, coordinator.after_bytes = code, after_bytes
    async with served(coordinator) as address, pushing(address) as push:
        with pytest.raises(error, match=r"as the test wants it|broke off while bytes were sent"):
            await push(evidence)
        coordinator.code = None
        assert await push(evidence) == 2


async def test_an_older_coordinator_is_told_as_such_and_a_lost_file_too(evidence: Evidence) -> None:
    async with served() as address, pushing(address) as push:
        with pytest.raises(EvidenceAwayError, match="is older than this agent and keeps no evidence"):
            await push(evidence)
    (evidence.path / "film.webm").unlink()
    async with served(Coordinator()) as address, pushing(address) as push:
        with pytest.raises(EvidenceRefusedError, match="it can't be read any more: No such file"):
            await push(evidence)

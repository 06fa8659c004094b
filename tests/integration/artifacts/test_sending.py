"""How an agent sends evidence to coordinators that are away, older, full, or break off."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import grpc
import pytest
import structlog

from bench.processes import free_port
from qgjob_agent.evidence import sending
from qgjob_agent.evidence.choice import Bounds, LeftOut, Named
from qgjob_agent.evidence.outgoing import KeeperSettings, Outgoing
from qgjob_agent.evidence.pushing import EvidenceAwayError, EvidenceRefusedError, EvidenceTooLargeError
from qgjob_agent.evidence.shelf import Evidence, Kept, Shelf, Whose
from qgjob_agent.stream import evidence_pushing
from qgjob_agent.stream.evidence_pushing import PushedEvidence
from qgjob_agent.stream.session import Coordinators
from qgjob_proto.v1 import artifacts_pb2 as pb
from qgjob_proto.v1 import artifacts_pb2_grpc
from tests.fakes.waiting import until

FILM = bytes(range(256)) * 4000
AS_WANTED = r"as the test wants it|broke off while bytes were sent"


class Coordinator(artifacts_pb2_grpc.ArtifactServiceServicer):
    """Takes what it wants, or ends the call with `code`: at the header, or after so many bytes."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.after_bytes = 0
        self.wants = [0, 1]
        self.header: pb.PushArtifactsHeader | None = None
        self.got: dict[int, bytes] = {}
        self.metadata: dict[str, Any] = {}
        self.small = False
        self.small_code = grpc.StatusCode.UNIMPLEMENTED
        self.verdicts: dict[str, tuple[pb.PushVerdict, str]] = {}
        self.together: list[dict[str, bytes]] = []

    async def PushSmallArtifacts(  # noqa: N802
        self, request: pb.PushSmallArtifactsRequest, context: Any
    ) -> pb.PushSmallArtifactsResponse:
        if not self.small:
            await context.abort(self.small_code, "as the test wants it")
        self.together.append({each.header.job_id: b"".join(each.contents) for each in request.attempts})
        told = [self.verdicts.get(each.header.job_id, (pb.PUSH_VERDICT_KEPT, "")) for each in request.attempts]
        answers = [pb.SmallArtifactsPushed(verdict=verdict, files=1, message=text) for verdict, text in told]
        return pb.PushSmallArtifactsResponse(attempts=answers)

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
        assert await push([evidence]) == [2]
        assert coordinator.got == {0: b"printed\n", 1: FILM}
        assert coordinator.metadata["authorization"] == "Bearer secret"
        header = coordinator.header
        assert header is not None
        assert (header.attempt, header.token, [f.kind for f in header.files]) == (2, "t1", [1, 4])
        assert [(each.files, each.reason) for each in header.left_out] == [(3, "too many")]
        coordinator.wants = []
        assert await push([evidence]) == [0]


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
        with pytest.raises(EvidenceAwayError, match=AS_WANTED) if error is EvidenceAwayError else nullcontext():
            (sent,) = await push([evidence])
            assert isinstance(sent, error)
            assert re.search(AS_WANTED, str(sent))
        coordinator.code = None
        assert await push([evidence]) == [2]


async def test_an_older_coordinator_is_told_as_such_and_a_lost_file_too(evidence: Evidence) -> None:
    async with served() as address, pushing(address) as push:
        with pytest.raises(EvidenceAwayError, match="is older than this agent and keeps no evidence"):
            await push([evidence])
    (evidence.path / "film.webm").unlink()
    async with served(Coordinator()) as address, pushing(address) as push:
        (sent,) = await push([evidence])
        assert isinstance(sent, EvidenceRefusedError)
        assert "it can't be read any more: No such file" in str(sent)


# ---- several together ----


def small(folder: Path, number: int) -> Evidence:
    """Of one attempt, which has a log."""
    place = folder / str(number)
    place.mkdir()
    text = f"of {number}\n".encode()
    (place / "log").write_bytes(text)
    kept = Kept(Named("log.txt", "log", "log", len(text)), hashlib.sha256(text).hexdigest())
    return Evidence(place, Whose(f"acme~{number}", f"t{number}", 1, "d", None, 1, 2), (kept,))


async def test_small_evidence_of_several_attempts_is_one_call_and_each_is_answered(tmp_path: Path) -> None:
    coordinator = Coordinator()
    coordinator.small = True
    several = [small(tmp_path, number) for number in range(6)]
    coordinator.verdicts = {
        "acme~1": (pb.PUSH_VERDICT_TOO_LARGE, "at most 500"),
        "acme~2": (pb.PUSH_VERDICT_REFUSED, "the job is gone"),
        "acme~4": (pb.PUSH_VERDICT_AWAY, "its store is away"),
        "acme~5": (99, "what nobody knows yet"),  # type: ignore[dict-item]
    }
    (several[3].path / "log").unlink()
    async with served(coordinator) as address, pushing(f"127.0.0.1:{free_port()}", address) as push:
        sent = await push(several)
    refused, away = EvidenceRefusedError, EvidenceAwayError
    assert [type(each) for each in sent] == [int, EvidenceTooLargeError, refused, refused, away, away]
    assert [str(each).partition(" ")[2] for each in sent[1:3]] == ["at most 500", "the job is gone"]
    assert "it can't be read any more" in str(sent[3])
    assert coordinator.together == [{f"acme~{n}": f"of {n}\n".encode() for n in (0, 1, 2, 4, 5)}]
    assert coordinator.header is None


async def test_a_file_that_the_host_can_not_open_now_is_sent_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = Coordinator()
    coordinator.small, coordinator.wants = True, [0]
    waiting = [small(tmp_path, 1)]

    def refused(path: Path) -> BinaryIO:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with served(coordinator) as address, pushing(address) as push:
        with monkeypatch.context() as patch:
            patch.setattr(evidence_pushing, "opened", refused)
            (sent,) = await push(waiting)
            assert isinstance(sent, EvidenceAwayError)
            coordinator.small = False
            (sent,) = await push(waiting)
            assert isinstance(sent, EvidenceAwayError)
        assert await push(waiting) == [1]


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNKNOWN]
)
async def test_where_they_are_not_taken_together_the_first_goes_alone(tmp_path: Path, code: grpc.StatusCode) -> None:
    """As by a coordinator of before that, or for a call that it finds a fault with."""
    coordinator = Coordinator()
    coordinator.small_code, coordinator.wants = code, [0]
    several = [small(tmp_path, number) for number in range(3)]
    async with served(coordinator) as address, pushing(address) as push:
        assert await push(several) == [1]
        assert coordinator.header is not None
        assert coordinator.header.job_id == "acme~0"
        coordinator.code = grpc.StatusCode.INTERNAL
        (away,) = await push(several)  # says nothing of the others
        assert isinstance(away, EvidenceAwayError)
        coordinator.small_code = grpc.StatusCode.UNAVAILABLE
        with pytest.raises(EvidenceAwayError, match="as the test wants it"):
            await push(several)


async def test_a_film_that_breaks_off_leaves_a_call_of_small_evidence_alone(evidence: Evidence, tmp_path: Path) -> None:
    """Its connection is given up: nothing else may be on it."""
    reached, let_go = asyncio.Event(), asyncio.Event()

    class Slow(Coordinator):
        async def PushSmallArtifacts(  # noqa: N802
            self, request: pb.PushSmallArtifactsRequest, context: Any
        ) -> pb.PushSmallArtifactsResponse:
            reached.set()
            await let_go.wait()
            return await super().PushSmallArtifacts(request, context)

    coordinator = Slow()
    coordinator.small, coordinator.code = True, grpc.StatusCode.UNAVAILABLE
    async with served(coordinator) as address, pushing(address) as push:
        call = asyncio.create_task(push([small(tmp_path, 1)]))
        await reached.wait()
        with pytest.raises(EvidenceAwayError):
            await push([evidence])
        let_go.set()
        assert await call == [1]


async def test_an_org_that_fails_each_call_with_it_costs_no_other_one_its_evidence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A coordinator of before that answered each attempt fails the whole call. What fails waits, and the others go."""
    monkeypatch.setattr(sending, "GATHER_SECONDS", 0.0)
    monkeypatch.setattr(sending, "FIRST_PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(sending, "LONGEST_PAUSE_SECONDS", 60.0)

    class Older(Coordinator):
        calls = 0

        async def PushSmallArtifacts(  # noqa: N802
            self, request: pb.PushSmallArtifactsRequest, context: Any
        ) -> pb.PushSmallArtifactsResponse:
            self.calls += 1
            if any(each.header.job_id.startswith("beta~") for each in request.attempts):
                await context.abort(grpc.StatusCode.INTERNAL, "a record of beta is damaged")
            return await super().PushSmallArtifacts(request, context)

    coordinator = Older()
    coordinator.small, coordinator.code = True, grpc.StatusCode.INTERNAL
    several = [small(tmp_path, number) for number in range(6)]
    for place in (0, 3):
        several[place] = replace(several[place], whose=replace(several[place].whose, job_id=f"beta~{place}"))
    log: Any = structlog.get_logger()
    settings = KeeperSettings("all", Bounds(10, 1_000), 1_000_000, keep_ms=2**60)
    async with served(coordinator) as address, pushing(address) as push:
        outgoing = Outgoing(Shelf(tmp_path), settings, push, log)
        task = asyncio.create_task(outgoing.run())
        await outgoing.add(*several)
        await until(lambda: len(outgoing.paths) == 2, lambda: f"these wait: {outgoing.paths}", seconds=10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert outgoing.paths == {several[0].path, several[3].path}
    assert coordinator.calls == 2
    assert coordinator.together == [{f"acme~{n}": f"of {n}\n".encode() for n in (1, 2, 4, 5)}]

"""Evidence as callers see it: over gRPC, by the client and the command line, from a coordinator that is a process."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from qgjob import Artifact, ArtifactKind, AsyncClient, Client, JobSpec, NotFoundError, QgjobError, UnavailableError
from qgjob.cli.evidence import place_of
from qgjob_proto.v1 import artifacts_pb2 as pb
from qgjob_proto.v1 import artifacts_pb2_grpc
from tests.fakes import command_line
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.error_details import error_field
from tests.fakes.store_process import StoreProcess

LOG, FILM = b"a line\n" * 100, bytes(range(256)) * 5000
FILES = {"log.txt": (pb.ARTIFACT_KIND_LOG, LOG), "video/film.webm": (pb.ARTIFACT_KIND_VIDEO, FILM)}
CHUNK = 200_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    store = StoreProcess(tmp_path_factory.mktemp("store"))
    store.start()
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator"), store.url, ARTIFACTS_MAX_MB=2)
    try:
        process.start()
        yield process
    finally:
        process.stop()
        store.stop()


@pytest.fixture
async def client(served: CoordinatorProcess) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(served.target) as opened:
        yield opened


@pytest.fixture
async def stub(served: CoordinatorProcess) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(served.target) as channel:
        yield artifacts_pb2_grpc.ArtifactServiceStub(channel)


@pytest.fixture
async def job_id(client: AsyncClient, request: pytest.FixtureRequest) -> str:
    """A job of a run of the test's own, which nothing serves."""
    org = "org-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return (await client.submit(JobSpec(org, "v1", "login.spec.ts", run_id="run-1"))).job_id


def header(job_id: str, files: dict[str, tuple[int, bytes]], **changes: Any) -> pb.PushArtifactsRequest:
    offered = [
        pb.ArtifactFile(name=name, kind=kind, digest=hashlib.sha256(data).hexdigest(), size_bytes=len(data))  # type: ignore[arg-type]
        for name, (kind, data) in files.items()
    ]
    values = {"job_id": job_id, "attempt": 1, "token": "t1", "files": offered}
    return pb.PushArtifactsRequest(header=pb.PushArtifactsHeader(**values | changes))


def chunk(file: int, data: bytes) -> pb.PushArtifactsRequest:
    return pb.PushArtifactsRequest(chunk=pb.ArtifactChunk(file=file, data=data))


async def push(stub: Any, job_id: str, files: dict[str, tuple[int, bytes]], **changes: Any) -> list[int]:
    """Which files were kept."""
    call = stub.PushArtifacts()
    await call.write(header(job_id, files, **changes))
    wanted = list((await call.read()).wanted.files)
    for place in wanted:
        data = list(files.values())[place][1]
        for at in range(0, len(data), CHUNK):
            await call.write(chunk(place, data[at : at + CHUNK]))
        assert (await call.read()).kept.file == place
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return wanted


async def refused(stub: Any, *requests: pb.PushArtifactsRequest) -> tuple[str, str | None, str]:
    async def all_at_once() -> AsyncIterator[pb.PushArtifactsRequest]:
        for each in requests:
            yield each

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        _ = [answer async for answer in stub.PushArtifacts(all_at_once())]
    return raised.value.code().name, error_field(raised.value), raised.value.details() or ""


async def test_a_push_is_listed_and_fetched_by_clients_and_the_command_line(
    client: AsyncClient, served: CoordinatorProcess, stub: Any, job_id: str, tmp_path: Path
) -> None:
    left_out = [pb.LeftOut(files=2, size_bytes=5_000_000, reason="more than 200 MB")]
    assert await push(stub, job_id, FILES, left_out=left_out) == [0, 1]
    assert await push(stub, job_id, FILES) == []
    page = await client.artifacts_page([job_id])
    assert [(a.attempt, a.name, a.kind, a.size_bytes) for a in page.artifacts] == [
        (1, "log.txt", ArtifactKind.LOG, len(LOG)),
        (1, "video/film.webm", ArtifactKind.VIDEO, len(FILM)),
    ]
    assert [(o.files, o.reason) for o in page.omissions] == [(2, "more than 200 MB")]
    assert b"".join([piece async for piece in client.fetch_artifact(job_id, 1, "video/film.webm")]) == FILM
    with pytest.raises(NotFoundError, match="has no file 'none'"):
        await anext(client.fetch_artifact(job_id, 1, "none"))

    def blocking() -> None:
        with Client(served.target) as opened:
            assert len(list(opened.list_artifacts([job_id]))) == 3
            assert opened.artifacts_page([job_id]).artifacts == page.artifacts
            assert b"".join(opened.fetch_artifact(job_id, 1, "log.txt")) == LOG

    await asyncio.to_thread(blocking)

    where = f"--coordinator={served.target}"
    run = (f"--org-id={job_id.partition('~')[0]}", "--run-id=run-1")
    code, out, err = await command_line.qgjob(tmp_path, "artifacts", "ls", *run, "-o", "json", where)
    listed = json.loads(out)
    assert (code, err, listed["count"], listed["omissions"][0]["files"]) == (0, "", 2, 2)
    assert listed["artifacts"][0] == page.artifacts[0].to_dict()
    code, out, err = await command_line.qgjob(tmp_path, "artifacts", "ls", job_id, "--kind=video", where)
    assert code == 0
    assert "film.webm" in out
    assert "log.txt" not in out
    assert "attempt 1: 2 files (5.0 MB) were left out: more than 200 MB" in err
    for count in (2, 0):  # the second time all is there
        code, out, err = await command_line.qgjob(tmp_path, "artifacts", "get", *run, f"--to={tmp_path}", where)
        assert (code, f"{count} of 2 files were fetched" in err) == (0, True)
    assert (tmp_path / job_id / "1" / "video" / "film.webm").read_bytes() == FILM
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["film.webm", "log.txt"]
    for command in (["ls"], ["get", f"--to={tmp_path / 'none'}"]):
        code, _, err = await command_line.qgjob(tmp_path, "artifacts", *command, job_id, "--kind=screenshot", where)
        assert (code, err.splitlines()[-1]) == (0, "no files: none of the 2 is what --kind and --name ask for")
    code, _, err = await command_line.qgjob(tmp_path, "artifacts", "ls", job_id, "--run-id=run-1", where)
    assert (code, "name jobs, or a run with --run-id; not both" in err) == (2, True)


async def test_a_push_that_is_wrong_names_the_field(stub: Any, job_id: str) -> None:
    one = {"log.txt": FILES["log.txt"]}
    for requests, code, field, words in (
        ((), "INVALID_ARGUMENT", "header", "is missing"),
        ((chunk(0, LOG),), "INVALID_ARGUMENT", "header", "is missing"),
        ((header(job_id, one), header(job_id, one)), "INVALID_ARGUMENT", "chunk", "only bytes may come"),
        ((header(job_id, one), chunk(1, LOG)), "INVALID_ARGUMENT", "chunk.file", "of file 0 are still to come"),
        ((header(job_id, one), chunk(0, LOG[1:])), "INVALID_ARGUMENT", "size_bytes", "was announced"),
        ((header(job_id, one), chunk(0, b"x" * 1_000_001)), "INVALID_ARGUMENT", "chunk", "at most 1000000"),
        ((header("acme~x", one),), "INVALID_ARGUMENT", "job_id", "is not a job id"),
        ((header(job_id, {"a": (0, LOG)}),), "INVALID_ARGUMENT", "files[0].kind", "is unknown"),
        ((header(job_id, {"a": (1, FILM), "b": (1, FILM)}),), "RESOURCE_EXHAUSTED", "files", "ARTIFACTS_MAX_MB"),
    ):
        found, named, message = await refused(stub, *requests)
        assert (found, named) == (code, field)
        assert words in message
    assert (await stub.ListArtifacts(pb.ListArtifactsRequest(job_ids=[job_id]))).count == 0


async def test_small_files_of_several_attempts_come_in_one_call(client: AsyncClient, stub: Any, job_id: str) -> None:
    log = {"log.txt": (pb.ARTIFACT_KIND_LOG, LOG)}
    large = header(job_id, {"film": (pb.ARTIFACT_KIND_VIDEO, FILM * 2)}, attempt=3).header
    attempts = [
        pb.SmallArtifacts(header=header(job_id, log).header, contents=[LOG]),
        pb.SmallArtifacts(header=header(job_id, log, attempt=2).header, contents=[b"other"]),
        pb.SmallArtifacts(header=large, contents=[b"film"]),
    ]
    answer = await stub.PushSmallArtifacts(pb.PushSmallArtifactsRequest(attempts=attempts))
    assert [each.verdict for each in answer.attempts] == [
        pb.PUSH_VERDICT_KEPT, pb.PUSH_VERDICT_REFUSED, pb.PUSH_VERDICT_TOO_LARGE
    ]  # fmt: skip
    assert [each.files for each in answer.attempts] == [1, 0, 0]
    assert "contents[0]" in answer.attempts[1].message
    assert [(a.attempt, a.name) for a in (await client.artifacts_page([job_id])).artifacts] == [(1, "log.txt")]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.PushSmallArtifacts(pb.PushSmallArtifactsRequest())
    assert (raised.value.code().name, error_field(raised.value)) == ("INVALID_ARGUMENT", "attempts")


async def test_a_fetch_that_broke_goes_on_where_it_ended(client: AsyncClient, stub: Any, job_id: str) -> None:
    await push(stub, job_id, FILES)
    found = client.fetch_artifact(job_id, 1, "video/film.webm")
    data = await anext(found)
    source = client._source
    stream = source.stream
    offsets = []

    async def broken(method: str, request: Any, left: Any) -> AsyncIterator[Any]:
        offsets.append(request.offset)
        if len(offsets) == 1:
            async for piece in stream(method, request, left):
                yield piece
                break
            raise grpc.aio.UsageError("unreachable") if not data else _away()
        async for piece in stream(method, request, left):
            yield piece

    await found.aclose()
    source.stream = broken  # type: ignore[assignment,method-assign]
    whole = b"".join([piece async for piece in client.fetch_artifact(job_id, 1, "video/film.webm")])
    assert (whole, offsets[0], offsets[1] > 0) == (FILM, 0, True)


def _away() -> QgjobError:
    return UnavailableError("the coordinator went")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a//b", "C:\\x", "", "a/."])
def test_a_name_that_leads_elsewhere_is_not_written(name: str, tmp_path: Path) -> None:
    artifact = Artifact("acme~1", 1, name, ArtifactKind.LOG, "0", 1, None)  # type: ignore[arg-type]
    with pytest.raises(QgjobError, match="is no safe name"):
        place_of(tmp_path, artifact)

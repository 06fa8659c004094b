"""Builds as callers see them: over gRPC, by the client and the command line, from a coordinator that is a process."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest

from qgjob import AsyncClient, Client, ConflictError, InvalidError, JobSpec, PushOutcome, TooLargeError
from qgjob_proto.v1 import agent_pb2, builds_pb2_grpc
from qgjob_proto.v1 import builds_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes import command_line, packages
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.error_details import error_field
from tests.fakes.plain_http import NO_TLS
from tests.fakes.raw_agent import RawAgent
from tests.fakes.reply_eater import ReplyEater
from tests.fakes.s3_server import BUCKET, S3Server
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

SMALL, APK, OTHER = packages.apk(), packages.apk(packages.noise(3_000_000)), packages.apk(packages.noise(3_000_000, 2))
CHUNK = 200_000


@pytest.fixture(scope="module")
def its_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path_factory.mktemp("store"))
    store.start()
    yield store
    store.stop()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, its_store: StoreProcess) -> Iterator[CoordinatorProcess]:
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator"), its_store.url, BUILD_MAX_MB=5)
    try:
        process.start()
        yield process
    finally:
        process.stop()


@pytest.fixture
async def client(served: CoordinatorProcess) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(served.target) as opened:
        yield opened


@pytest.fixture
async def stub(served: CoordinatorProcess) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(served.target) as channel:
        yield builds_pb2_grpc.BuildServiceStub(channel)


@pytest.fixture
def org(request: pytest.FixtureRequest) -> str:
    """An org of the test's own."""
    return "org-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def header(org: str, data: bytes, **changes: Any) -> pb.PushBuildRequest:
    values = {
        "org_id": org,
        "app_version_id": "v1",
        "digest": digest(data),
        "size_bytes": len(data),
        "file_name": "app.apk",
    }
    return pb.PushBuildRequest(header=pb.PushBuildHeader(**values | changes))


async def send(stub: Any, *messages: pb.PushBuildRequest | bytes) -> pb.PushBuildResponse:
    """All at once, as a caller does who waits for nothing."""

    async def requests() -> AsyncIterator[pb.PushBuildRequest]:
        for m in messages:
            yield m if isinstance(m, pb.PushBuildRequest) else pb.PushBuildRequest(chunk=m)

    answer: pb.PushBuildResponse = await stub.PushBuild(requests())
    return answer


def chunks(data: bytes) -> list[bytes]:
    return [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]


async def refused(call: Any) -> tuple[str, str | None, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code().name, error_field(raised.value), raised.value.details() or ""


async def fetch(stub: Any, org: str, wanted: str, offset: int = 0) -> bytes:
    data, size = b"", None
    async for piece in stub.FetchBuild(pb.FetchBuildRequest(org_id=org, digest=wanted, offset=offset)):
        assert piece.offset == offset + len(data)
        assert (piece.size_bytes > 0) == (size is None)
        size = size or piece.size_bytes
        data += piece.chunk
    return data


async def test_a_build_goes_to_the_coordinator_and_to_agents(
    client: AsyncClient, stub: Any, org: str, tmp_path: Path
) -> None:
    path = packages.write(tmp_path / "app.apk", APK)
    told: list[tuple[int, int]] = []
    pushed = await client.push_build(org, "v1", path, on_progress=lambda *at: told.append(at))
    assert (pushed.outcome, pushed.uploaded) == (PushOutcome.NEW, True)
    assert told[-1] == (len(APK), len(APK))
    build = pushed.build
    assert (build.digest, build.size_bytes, build.file_name) == (digest(APK), len(APK), "app.apk")
    assert (build.format, build.platform, build.kind) == ("apk", "android", "device")
    assert (build.package, build.version_name, build.version_code) == ("com.example.app", "1.4.2", "42")
    assert [b async for b in client.list_builds(org)] == [build]
    assert await fetch(stub, org, digest(APK)) == APK
    assert await fetch(stub, org, digest(APK), 2_000_000) == APK[2_000_000:]


async def test_the_blocking_client_does_the_same(served: CoordinatorProcess, org: str, tmp_path: Path) -> None:
    path = packages.write(tmp_path / "app.apk", SMALL)

    def work() -> None:
        with Client(served.target) as client:
            pushed = client.push_build(org, "v1", path)
            assert list(client.list_builds(org, app_version_id="v1")) == [pushed.build]
            assert client.builds_page(org).builds == (pushed.build,)
            assert not client.push_build(org, "v1", path).uploaded

    await asyncio.to_thread(work)


async def test_nothing_is_sent_that_nobody_wants(client: AsyncClient, org: str, tmp_path: Path) -> None:
    path = packages.write(tmp_path / "app.apk", APK)
    await client.push_build(org, "v1", path)
    told: list[int] = []
    again = await client.push_build(org, "v2", path, on_progress=lambda sent, _: told.append(sent))
    assert (again.outcome, again.uploaded) == (PushOutcome.NEW, False)
    other = packages.write(tmp_path / "other.apk", OTHER)
    with pytest.raises(ConflictError, match=digest(OTHER)):
        await client.push_build(org, "v1", other, on_progress=lambda sent, _: told.append(sent))
    assert told == []
    replaced = await client.push_build(org, "v1", other, replace=True)
    assert (replaced.outcome, replaced.build.digest) == (PushOutcome.REPLACED, digest(OTHER))


async def test_of_a_broken_file_nobody_is_told_to_replace_the_good_one(
    client: AsyncClient, org: str, tmp_path: Path
) -> None:
    await client.push_build(org, "v1", packages.write(tmp_path / "app.apk", SMALL))
    for name, data in (("cut.apk", APK[:-30]), ("CUT.APK", b"<html>not found</html>")):
        with pytest.raises(InvalidError, match="is no zip archive, or is cut off: its directory") as told:
            await client.push_build(org, "v1", packages.write(tmp_path / name, data))
        assert told.value.field == "path"
    damaged = packages.write(tmp_path / "damaged.apk", APK.replace(b"AndroidManifest.xml", b"AndroidManifest.xmX"))
    with pytest.raises(ConflictError, match="nothing of it was sent or read yet; if it is a sound build, push it"):
        await client.push_build(org, "v1", damaged)


async def test_a_caller_who_sends_all_at_once_gets_the_answer_too(stub: Any, org: str) -> None:
    first = await send(stub, header(org, APK), *chunks(APK))
    assert (first.outcome, first.uploaded) == (pb.PUSH_OUTCOME_NEW, True)
    again = await send(stub, header(org, APK), *chunks(APK))
    assert (again.outcome, again.uploaded) == (pb.PUSH_OUTCOME_SAME, False)
    code, field, _ = await refused(send(stub, header(org, OTHER), *chunks(OTHER)))
    assert (code, field) == ("FAILED_PRECONDITION", "app_version_id")


async def test_a_push_that_is_wrong_is_invalid_and_names_the_field(stub: Any, org: str) -> None:
    for call, field, words in (
        (send(stub), "header", "is missing"),
        (send(stub, SMALL), "header", "is missing"),
        (send(stub, header(org, SMALL), header(org, SMALL)), "chunk", "after the header only bytes may come"),
        (send(stub, header(org, APK), APK[:1_000_001]), "chunk", "send at most 1000000 at once"),
        (send(stub, header(org, SMALL), SMALL[1:]), "size_bytes", "was announced"),
        (send(stub, header(org, b"x"), b"x"), "file_name", "is no zip archive"),
        (send(stub, header(org, SMALL, org_id="")), "org_id", "is empty"),
    ):
        code, found, message = await refused(call)
        assert (code, found) == ("INVALID_ARGUMENT", field)
        assert words in message
    code, field, message = await refused(send(stub, header(org, SMALL, size_bytes=5_000_001)))
    assert (code, field) == ("RESOURCE_EXHAUSTED", "size_bytes")
    assert "at most 5000000 are taken" in message


async def test_a_field_that_nobody_knows_is_refused(served: CoordinatorProcess, org: str) -> None:
    async with grpc.aio.insecure_channel(served.target) as channel:
        push = channel.stream_unary("/qgjob.v1.BuildService/PushBuild")
        unknown = header(org, SMALL).SerializeToString() + b"\x98\x06\x01"  # field 99
        code, field, _ = await refused(push(_one(unknown)))
        assert (code, field) == ("INVALID_ARGUMENT", "99")
        assert (await refused(push(_one(b"\xff"))))[:2] == ("INVALID_ARGUMENT", "body")
        late = push(_one(header(org, SMALL).SerializeToString(), b"\xff"))
        assert (await refused(late))[:2] == ("INVALID_ARGUMENT", "body")


async def _one(*messages: bytes) -> AsyncIterator[bytes]:
    for message in messages:
        yield message


async def test_a_file_that_is_no_build_is_told_before_any_call(client: AsyncClient, org: str, tmp_path: Path) -> None:
    (tmp_path / "Example.app").mkdir()
    packages.write(tmp_path / "empty.apk", b"")
    for name, words in (
        ("none.apk", "can't be read: No such file or directory"),
        ("Example.app", "is a folder; push a zip of it"),
        ("empty.apk", "is empty"),
    ):
        with pytest.raises(InvalidError) as raised:
            await client.push_build(org, "v1", tmp_path / name)
        assert raised.value.field == "path"
        assert words in raised.value.message


async def test_a_push_whose_answer_was_lost_is_repeated(served: CoordinatorProcess, org: str, tmp_path: Path) -> None:
    path = packages.write(tmp_path / "app.apk", APK)
    sent = asyncio.Event()
    async with ReplyEater(served.grpc_port) as proxy, AsyncClient(f"127.0.0.1:{proxy.port}") as client:

        def progress(at: int, size: int) -> None:
            if at == size and not sent.is_set():
                proxy.eat()
                sent.set()

        pushing = asyncio.create_task(client.push_build(org, "v1", path, on_progress=progress))
        await sent.wait()
        async with AsyncClient(served.target) as other:
            await until(lambda: _count(other, org), "the push had no effect")
        proxy.cut()
        pushed = await pushing
    assert (pushed.outcome, pushed.uploaded) == (PushOutcome.SAME, False)


async def _count(client: AsyncClient, org: str) -> int:
    return len([b async for b in client.list_builds(org)])


async def test_devices_are_told_which_build_fits_them(
    served: CoordinatorProcess, client: AsyncClient, org: str, tmp_path: Path
) -> None:
    simulator = packages.write(tmp_path / "app.zip", packages.app())
    await client.push_build(org, "v1", packages.write(tmp_path / "app.apk", APK))
    await client.push_build(org, "v1", simulator)

    def device(name: str, platform: str | None) -> agent_pb2.DeviceInfo:
        return agent_pb2.DeviceInfo(
            device_id=f"{org}-{name}", udid=name, target=types.TARGET_EMULATOR, platform=platform
        )

    async with RawAgent(served.target, f"{org}-raw", target=types.TARGET_EMULATOR) as agent:
        await agent.hello(devices=[device("a", "android"), device("i", "ios"), device("n", None)])

        numbers = itertools.count(1)

        async def told(name: str, version: str, test: str) -> agent_pb2.Assignment:
            wanted = JobSpec(
                org_id=org,
                app_version_id=version,
                test_path=test,
                target="emulator",
                requirements={"device_id": f"{org}-{name}"},  # type: ignore[arg-type]
            )
            job = await client.submit(wanted)
            a = (await agent.assigned(next(numbers)))[-1]
            assert a.job_id == job.job_id
            await agent.verdict(await agent.start(a))
            assert await agent.verdict(await agent.finish(a)) == "APPLIED"
            return a

        a = await told("a", "v1", "1.js")
        assert (a.build_digest, a.build_format, a.build_package) == (digest(APK), "apk", "com.example.app")
        assert a.build_size_bytes == len(APK)
        a = await told("i", "v1", "2.js")
        assert (a.build_digest, a.build_format) == (digest(simulator.read_bytes()), "app")
        for name, version in (("n", "v1"), ("a", "v2")):
            a = await told(name, version, f"{name}.js")
            assert not a.HasField("build_digest")
            assert (a.build_format, a.build_package, a.build_size_bytes) == ("", "", 0)
        await client.push_build(org, "v1", packages.write(tmp_path / "app.apk", OTHER), replace=True)
        assert (await told("a", "v1", "3.js")).build_digest == digest(OTHER)


async def test_an_assignment_keeps_its_build_from_being_forgotten(
    served: CoordinatorProcess, its_store: StoreProcess, client: AsyncClient, org: str, tmp_path: Path
) -> None:
    await client.push_build(org, "v1", packages.write(tmp_path / "app.apk", SMALL))
    builds, field = f"qg:o:{{{org}}}:bd", "v1 android device"
    with its_store.client() as raw:
        found = raw.hget(builds, field).partition(" ")[2]
        raw.hset(builds, field, f"1 {found}")  # it was used long ago
        async with RawAgent(served.target, f"{org}-raw", target=types.TARGET_EMULATOR) as agent:
            await agent.hello()
            await client.submit(JobSpec(org_id=org, app_version_id="v1", test_path="1.js", target="emulator"))
            (a,) = await agent.assigned(1)
            assert a.build_digest == digest(SMALL)
            await until(lambda: not raw.hget(builds, field).startswith("1 "), "its use was not noted")
            used, _, rest = raw.hget(builds, field).partition(" ")
            assert abs(int(used) - a_moment_ago()) < 60_000
            assert rest == found
            await agent.verdict(await agent.start(a))
            await agent.verdict(await agent.finish(a))


def a_moment_ago() -> int:
    return time.time_ns() // 1_000_000


async def qgjob(served: CoordinatorProcess, folder: Path, *arguments: str) -> command_line.Done:
    return await command_line.qgjob(folder, "builds", *arguments, QGJOB_COORDINATOR=served.target)


async def test_the_command_line_pushes_and_lists(served: CoordinatorProcess, org: str, tmp_path: Path) -> None:
    packages.write(tmp_path / "app.apk", SMALL)
    packages.write(tmp_path / "other.apk", APK)
    packages.write(tmp_path / "broken.ipa", b"no zip")
    of = ("--org-id", org, "--app-version-id", "v1")
    code, out, err = await qgjob(served, tmp_path, "push", "app.apk", *of, "-o", "json")
    assert code == 0, err
    assert json.loads(out)["build"]["digest"] == digest(SMALL)
    assert (json.loads(out)["outcome"], json.loads(out)["uploaded"]) == ("new", True)
    assert f"app.apk: {len(SMALL)} B of {len(SMALL)} B sent" in err
    code, out, err = await qgjob(served, tmp_path, "push", "app.apk", *of)
    assert (code, "same" in out, "nothing was sent" in err) == (0, True, True)
    code, out, err = await qgjob(served, tmp_path, "push", "other.apk", *of)
    assert (code, out) == (1, "")
    assert digest(SMALL) in err
    assert digest(APK) in err
    code, out, err = await qgjob(served, tmp_path, "push", "other.apk", *of, "--replace")
    assert (code, "replaced" in out) == (0, True)
    code, out, err = await qgjob(served, tmp_path, "push", "broken.ipa", *of)
    assert (code, err.splitlines()[-1]) == (
        2,
        "error: FILE: 'broken.ipa' is no zip archive, or is cut off: its directory is missing",
    )
    packages.write(tmp_path / "android.ipa", SMALL)
    code, out, err = await qgjob(served, tmp_path, "push", "android.ipa", *of)
    assert (code, err.splitlines()[-1][:33]) == (2, "error: FILE: 'android.ipa' has no")
    code, _, err = await qgjob(served, tmp_path, "push", "none.apk", *of)
    assert (code, err) == (2, "error: FILE: 'none.apk' can't be read: No such file or directory\n")
    code, out, err = await qgjob(served, tmp_path, "ls", "--org-id", org, "-o", "json")
    listed = json.loads(out)
    assert (code, listed["count"], listed["next_page_token"]) == (0, 1, None)
    assert listed["builds"][0]["digest"] == digest(APK)
    code, out, err = await qgjob(served, tmp_path, "ls", "--org-id", f"{org}-none")
    assert (code, "no builds" in err) == (0, True)


async def test_calls_are_counted_and_named(
    served: CoordinatorProcess, client: AsyncClient, stub: Any, org: str
) -> None:
    await send(stub, header(org, SMALL), SMALL)
    await fetch(stub, org, digest(SMALL))
    async with httpx2.AsyncClient(verify=NO_TLS) as http:
        text = (await http.get(f"{served.url}/metrics")).text
    for kind, method in (("client_stream", "PushBuild"), ("server_stream", "FetchBuild")):
        line = f'grpc_code="OK",grpc_method="{method}",grpc_service="qgjob.v1.BuildService",grpc_type="{kind}"'
        labels = set(line.split(","))
        assert any(labels <= set(x.partition("{")[2].partition("}")[0].split(",")) for x in text.splitlines()), method
    assert f"org_id={org}" in served.log.read_text()


async def test_a_coordinator_that_ends_in_the_middle_is_followed_by_the_next(tmp_path: Path) -> None:
    store = StoreProcess(tmp_path / "store")
    store.start()
    process = CoordinatorProcess(tmp_path / "coordinator", store.url)
    try:
        process.start()
        path = packages.write(tmp_path / "app.apk", packages.apk(packages.noise(12_000_000)))
        begun = asyncio.Event()
        sent: list[int] = []

        def progress(at: int, _size: int) -> None:
            sent.append(at)
            if at > 1_000_000:
                begun.set()

        async with AsyncClient(process.target) as client:
            pushing = asyncio.create_task(client.push_build("acme", "v1", path, on_progress=progress))
            await begun.wait()
            process.kill()
            await asyncio.to_thread(process.start)
            pushed = await pushing
            assert pushed.build.size_bytes == path.stat().st_size
            assert sum(a > b for a, b in itertools.pairwise(sent)) <= 1  # begun anew at most once
        assert list((tmp_path / "coordinator" / ".qgjob" / "spool").iterdir()) == []
    finally:
        process.stop()
        store.stop()


async def test_builds_are_kept_in_s3(tmp_path: Path) -> None:
    s3, store = S3Server(tmp_path), StoreProcess(tmp_path / "store")
    s3.start()
    store.start()
    process = CoordinatorProcess(tmp_path / "coordinator", store.url, BLOB_URL=f"s3://{BUCKET}/qgjob", **s3.environ)
    try:
        process.start()
        data = packages.apk(packages.noise(11_000_000))
        path = packages.write(tmp_path / "app.apk", data)
        async with AsyncClient(process.target) as client, grpc.aio.insecure_channel(process.target) as channel:
            stub = builds_pb2_grpc.BuildServiceStub(channel)  # type: ignore[no-untyped-call]
            assert (await client.push_build("acme", "v1", path)).uploaded
            assert not (await client.push_build("acme", "v2", path)).uploaded
            assert await fetch(stub, "acme", digest(data), 6_000_000) == data[6_000_000:]
            s3.stop()
            code, _, message = await refused(fetch(stub, "acme", digest(data)))
            assert (code, message) == ("UNAVAILABLE", "the blob store is away (no connection); repeat the call later")
        assert not (tmp_path / "coordinator" / ".qgjob" / "blobs").exists()
    finally:
        process.stop()
        store.stop()
        s3.stop()


async def test_a_build_that_is_too_large_is_told(client: AsyncClient, org: str, tmp_path: Path) -> None:
    path = packages.write(tmp_path / "app.apk", packages.apk(packages.noise(5_000_001)))
    with pytest.raises(TooLargeError, match="BUILD_MAX_MB"):
        await client.push_build(org, "v1", path)


async def test_a_caller_who_goes_in_the_middle_is_no_fault(
    served: CoordinatorProcess, client: AsyncClient, stub: Any, org: str, tmp_path: Path
) -> None:
    for wanted in (header(org, APK), header(org, APK, file_name="app.exe")):
        call = stub.PushBuild()
        await call.write(wanted)
        await call.initial_metadata()
        call.cancel()
    await client.push_build(org, "v1", packages.write(tmp_path / "app.apk", APK))
    fetching = stub.FetchBuild(pb.FetchBuildRequest(org_id=org, digest=digest(APK)))
    assert (await fetching.read()).size_bytes == len(APK)
    fetching.cancel()
    assert await fetch(stub, org, digest(APK)) == APK
    assert "Traceback" not in served.log.read_text()

"""A large build goes through a coordinator without lying in its memory. 300 MB with HYPOTHESIS_PROFILE=nightly."""

from __future__ import annotations

import asyncio
import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import grpc
import psutil

from qgjob import AsyncClient
from qgjob_proto.v1 import builds_pb2 as pb
from qgjob_proto.v1 import builds_pb2_grpc
from tests.fakes import packages
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.store_process import StoreProcess

MB = 1_000_000
SIZE_MB = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 40
FETCHERS = 4
MAY_GROW_MB = 30


def large(path: Path, megabytes: int) -> Path:
    """An .apk of that size, which is written piece by piece."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("AndroidManifest.xml", packages.binary_manifest())
        with archive.open("classes.dex", "w") as member:
            for n in range(megabytes):
                member.write(packages.noise(MB, n))
    return path


class Memory:
    """The most that a process has while the block runs."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.begun = self.most = self.now()

    def now(self) -> float:
        return self._process.memory_info().rss / MB

    async def __aenter__(self) -> Memory:
        self._watch = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        self.most = max(self.most, self.now())

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, self.now())
            await asyncio.sleep(0.02)


async def fetched(target: str, digest: str) -> str:
    """The digest of what came, to an agent with a connection of its own."""
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = builds_pb2_grpc.BuildServiceStub(channel)  # type: ignore[no-untyped-call]
        found = hashlib.sha256()
        async for piece in stub.FetchBuild(pb.FetchBuildRequest(org_id="acme", digest=digest)):
            found.update(piece.chunk)
        return found.hexdigest()


async def through(target: str, path: Path, version: str) -> None:
    """A build is pushed, and fetched by several agents at once."""
    async with AsyncClient(target) as client:
        digest = (await client.push_build("acme", version, path)).build.digest
    assert await asyncio.gather(*(fetched(target, digest) for _ in range(FETCHERS))) == [digest] * FETCHERS


async def test_a_large_build_does_not_lie_in_memory(tmp_path: Path, record_property: Any) -> None:
    store = StoreProcess(tmp_path / "store")
    store.start()
    process = CoordinatorProcess(tmp_path / "coordinator", store.url)
    try:
        process.start()
        assert process.process is not None
        path = large(tmp_path / "app.apk", SIZE_MB)
        async with Memory(process.process.pid) as memory:
            await through(process.target, path, "v1")
        grown = memory.most - memory.begun
        record_property("grown_mb", round(grown, 1))
        print(f"{SIZE_MB} MB to {FETCHERS} agents: {memory.begun:.1f} MB, at most {grown:.1f} MB more")
        assert grown <= MAY_GROW_MB
    finally:
        process.stop()
        store.stop()

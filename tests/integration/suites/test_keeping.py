"""Suites in a coordinator: what is no suite keeps nothing, what is there is not sent again, what nobody uses goes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from redis import Redis

from qgjob_coordinator.blobs.paths import blob_path
from qgjob_coordinator.blobs.spool import Spool
from qgjob_coordinator.blobs.store import BlobStore
from qgjob_coordinator.errors import InvalidError, NotFoundError, QgjobError, TooLargeError
from qgjob_coordinator.loops.old_contents import UNNAMED_MS, OldContents
from qgjob_coordinator.service.calls.builds import BuildService, PushHeader
from qgjob_coordinator.service.calls.contents import Contents
from qgjob_coordinator.service.calls.named_suites import USE_NOTED_MS, NamedSuites
from qgjob_coordinator.service.calls.suites import PushedSuite, SuiteHeader, SuiteService
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal, Role
from qgjob_coordinator.store.registry import IDLE_MS
from qgjob_coordinator.store.store import Store
from tests.fakes import packages
from tests.fakes.jobs import NOW, spec
from tests.fakes.store_audit import audit
from tests.fakes.suites import GOOD, archive, digest, with_member

MOST = 1_000_000
SUITE, OTHER = archive(GOOD), archive({"b.spec.js": b"other"})
DAY_MS = 24 * 3600 * 1000
GLOBEX = Principal("globex", Role.MEMBER, "globex")


class Bench:
    """Services over a store of its own and folders. `taken` is how many bytes were asked for."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.blobs = BlobStore(str(folder / "blobs"))
        contents = Contents(self.blobs, Spool(folder / "spool"))
        self.suites = SuiteService(store, contents, MOST)
        self.builds = BuildService(store, Hub(), contents, MOST)
        self.taken = 0

    async def bytes(self, data: bytes) -> AsyncGenerator[bytes]:
        for at in range(0, len(data), 4000):
            self.taken += len(data[at : at + 4000])
            yield data[at : at + 4000]

    async def push(self, data: bytes = SUITE, org: str = "acme", **changes: object) -> PushedSuite:
        values: dict[str, object] = {"digest": digest(data), "size_bytes": len(data), "name": "e2e", **changes}
        return await self.suites.push(LOCAL_ADMIN, SuiteHeader(org, **values), self.bytes(data))

    async def fetched(self, data: bytes, org: str = "acme", caller: Principal = LOCAL_ADMIN, at: int = 0) -> bytes:
        return b"".join([piece.data async for piece in self.suites.fetch(caller, org, digest(data), at)])

    def files(self) -> list[str]:
        """What lies in the two folders."""
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(store, tmp_path)
    yield made
    await made.blobs.close()


async def listed(bench: Bench, org: str = "acme") -> list[str]:
    return [each.digest for each in (await bench.suites.suites(LOCAL_ADMIN, org, None, None))[0]]


async def test_a_suite_is_kept_once_by_its_content(bench: Bench, raw: Redis) -> None:
    pushed = await bench.push()
    assert pushed.uploaded
    assert (pushed.suite.file_count, pushed.suite.name, pushed.suite.size_bytes) == (2, "e2e", len(SUITE))
    taken = bench.taken
    again = await bench.push(name="renamed")
    assert (again.uploaded, again.suite, bench.taken) == (False, pushed.suite, taken)
    await bench.push(OTHER)
    page, token = await bench.suites.suites(LOCAL_ADMIN, "acme", 1, None)
    rest, _ = await bench.suites.suites(LOCAL_ADMIN, "acme", 1, token)
    assert {each.digest for each in (*page, *rest)} == {digest(SUITE), digest(OTHER)}
    for at in (0, 1000, len(SUITE)):
        assert await bench.fetched(SUITE, at=at) == SUITE[at:]
    assert audit(raw) == []


async def test_an_org_that_left_the_registry_while_it_sent_its_first_suite_is_in_it_again(bench: Bench) -> None:
    async def slow() -> AsyncGenerator[bytes]:
        async for piece in bench.bytes(SUITE):
            yield piece
        await bench.store.registry.leave(["acme"], NOW)
        assert await bench.store.registry.leave(["acme"], NOW + IDLE_MS + 1) == ["acme"]

    await bench.suites.push(LOCAL_ADMIN, SuiteHeader("acme", digest(SUITE), len(SUITE), "e2e"), slow())
    assert await bench.store.all_orgs() == {"acme"}


async def test_an_org_has_its_own(bench: Bench) -> None:
    await bench.push()
    for call in (bench.fetched(SUITE, org="globex"), bench.fetched(SUITE, caller=GLOBEX)):
        with pytest.raises(NotFoundError):
            await call
    assert await listed(bench, "globex") == []
    assert (await bench.push(org="globex")).uploaded


@pytest.mark.parametrize(
    ("data", "changes", "error", "words"),
    [
        (with_member(name="../up.js"), {}, InvalidError, "'e2e|e2e has a file '../up.js'"),
        (with_member(type=b"2", linkname="/etc"), {}, InvalidError, "a link which is no file"),
        (packages.apk(), {}, InvalidError, "is no tar archive"),
        (SUITE, {"digest": digest(OTHER)}, InvalidError, "the file changed while it was read"),
        (SUITE, {"size_bytes": len(SUITE) - 1}, InvalidError, "was announced, and more came"),
        (SUITE, {"size_bytes": MOST + 1}, TooLargeError, "SUITE_MAX_MB"),
        (SUITE, {"name": ""}, InvalidError, "name: is empty"),
        (SUITE, {"name": "a\nb"}, InvalidError, "name: .* control character"),
        (SUITE, {"digest": "x"}, InvalidError, "digest: .* is not a SHA-256"),
    ],
)
async def test_what_is_no_suite_keeps_nothing(
    bench: Bench, data: bytes, changes: dict[str, object], error: type[QgjobError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await bench.push(data, **changes)
    assert bench.files() == []
    assert await listed(bench) == []
    assert await bench.store.suites.contents("acme") == []


async def test_a_suite_that_nobody_uses_is_forgotten_and_its_bytes_go(bench: Bench, raw: Redis) -> None:
    await bench.push()
    await bench.push(OTHER)
    old, now = OldContents(bench.store, bench.blobs, 30 * DAY_MS, faults=OrgFaults()), wall_ms()
    used = await bench.store.suites.get("acme", digest(OTHER))
    assert used is not None
    assert await bench.store.suites.used(used, now + 20 * DAY_MS)
    assert await old.look(now + 29 * DAY_MS) == (0, 0)
    assert await old.look(now + 31 * DAY_MS) == (1, 0)
    assert await listed(bench) == [digest(OTHER)]
    assert await old.look(now + 31 * DAY_MS + UNNAMED_MS + 1000) == (0, 1)
    assert bench.files() == [f"blobs/{blob_path('acme', digest(OTHER))}"]
    assert (await bench.push()).uploaded
    assert audit(raw) == []


async def test_builds_and_suites_lie_beside_each_other(bench: Bench) -> None:
    apk = packages.apk()
    header = PushHeader("acme", "suite", digest(apk), len(apk), "app.apk")
    await bench.builds.push(LOCAL_ADMIN, header, bench.bytes(apk))
    await bench.push()
    builds, _ = await bench.builds.builds(LOCAL_ADMIN, "acme", None, None, None)
    assert [each.digest for each in builds] == [digest(apk)]
    assert await listed(bench) == [digest(SUITE)]
    assert await OldContents(bench.store, bench.blobs, None, faults=OrgFaults()).look(wall_ms() + 100 * DAY_MS) == (
        0,
        0,
    )


async def test_lost_bytes_come_again(bench: Bench) -> None:
    await bench.push()
    (bench.folder / "blobs" / blob_path("acme", digest(SUITE))).unlink()
    assert (await bench.push()).uploaded
    assert await bench.fetched(SUITE) == SUITE


async def test_jobs_that_name_a_suite_keep_it_in_use(bench: Bench) -> None:
    await bench.push()
    there = await bench.store.suites.get("acme", digest(SUITE))
    assert there is not None
    await bench.store.suites.used(there, wall_ms() - 2 * USE_NOTED_MS)
    jobs = [spec(n, suite_digest=digest(SUITE)) for n in range(3)]
    named = NamedSuites(bench.store)
    await named.find("acme", [spec(9), *jobs])
    assert {job.suite_size_bytes for job in jobs} == {len(SUITE)}
    there = await bench.store.suites.get("acme", digest(SUITE))
    assert there is not None
    assert there.used_at > wall_ms() - USE_NOTED_MS
    with pytest.raises(InvalidError, match=r"jobs\[1\].suite_digest: .*qgjob suites push DIR --org-id=acme"):
        await named.find("acme", [jobs[0], spec(4, suite_digest=digest(OTHER))], "jobs[{}].")
    await bench.push(OTHER)  # what was not there is looked for again
    await named.find("acme", [spec(4, suite_digest=digest(OTHER))])

"""Evidence in a coordinator: what was kept first stays, each attempt has its own, and what is old goes for good."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from qgjob_coordinator.blobs.spool import Spool
from qgjob_coordinator.blobs.store import BlobStore
from qgjob_coordinator.errors import (
    BlobsUnavailableError,
    ConflictError,
    InvalidError,
    NotFoundError,
    QgjobError,
    TooLargeError,
)
from qgjob_coordinator.loops.old_artifacts import LATE_MS, OldArtifacts
from qgjob_coordinator.model.artifacts import ArtifactKind, Bounds, OfferedFile
from qgjob_coordinator.service.calls import artifacts as calls
from qgjob_coordinator.service.calls.artifact_offers import Offer, Push, blob_path
from qgjob_coordinator.service.calls.artifacts import ArtifactService
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal, Role
from qgjob_coordinator.store.artifacts import Expected, Full, KeptFiles
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import spec
from tests.fakes.store_audit import audit

MOST = 5_000_000
BOUNDS = Bounds(MOST)
LEASE = "t1"
DAY_MS = 24 * 3600 * 1000
JOB = spec()
JOB_ID = f"{JOB.org_id}~{JOB.ulid}"
LOG, FILM = b"line\n" * 1000, bytes(range(256)) * 4000
FILES = {"log.txt": LOG, "shots/end of test.png": b"png", "video.webm": FILM}
GLOBEX = Principal("globex", Role.MEMBER, "globex")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def offer(data: dict[str, bytes], **changes: object) -> Offer:
    values: dict[str, object] = {
        "job_id": JOB_ID,
        "attempt": 1,
        "token": "t1",
        "files": [(name, ArtifactKind.OTHER, digest(content), len(content)) for name, content in data.items()],
    }
    return Offer(**values | changes)  # type: ignore[arg-type]


async def chunks(data: bytes, size: int = 100_000) -> AsyncGenerator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


class Bench:
    """A service over a store of its own and folders."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.blobs = BlobStore(str(folder / "blobs"))
        self.service = ArtifactService(store, self.blobs, Spool(folder / "spool", idle_seconds=0.5), BOUNDS)

    async def push(self, files: dict[str, bytes], attempt: int = 1, token: str = LEASE, **changes: object) -> Push:
        begun = await self.service.begin(LOCAL_ADMIN, offer(files, attempt=attempt, token=token, **changes))
        for place in begun.wanted:
            await self.service.keep(begun, place, chunks(list(files.values())[place]))
        await self.service.end(begun)
        return begun

    async def names(self, attempt: int | None = None, job_ids: Sequence[str] = (JOB_ID,)) -> list[tuple[int, str]]:
        page = await self.service.artifacts(LOCAL_ADMIN, job_ids, attempt, None, None)
        return [(a.attempt, a.file.name) for a in page.artifacts]

    async def fetched(self, name: str, attempt: int = 1, offset: int = 0) -> bytes:
        found = self.service.fetch(LOCAL_ADMIN, JOB_ID, attempt, name, offset)
        return b"".join([piece.data async for piece in found])

    def files(self) -> list[Path]:
        """What lies in the blob store, folders too."""
        return sorted((self.folder / "blobs").rglob("*"))

    def look(self, days: int | None = 14) -> OldArtifacts:
        return OldArtifacts(self.store, self.blobs, None if days is None else days * DAY_MS, faults=OrgFaults())


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> AsyncIterator[Bench]:
    await scenes.submit(store, JOB)
    made = Bench(store, tmp_path)
    yield made
    await made.blobs.close()


async def test_what_was_pushed_is_listed_and_fetched(bench: Bench, raw: Redis) -> None:
    pushed = await bench.push(FILES, left_out=[(3, 900, "of more than 100 files"), (0, 0, "no device log")])
    assert pushed.wanted == (0, 1, 2)
    page = await bench.service.artifacts(LOCAL_ADMIN, [JOB_ID], None, 2, None)
    assert [(a.job_id, a.attempt, a.file.name) for a in page.artifacts] == [
        (JOB_ID, 1, "log.txt"),
        (JOB_ID, 1, "shots/end of test.png"),
    ]
    told = [(o.attempt, o.left_out.files, o.left_out.reason) for o in page.omissions]
    assert told == [(1, 3, "of more than 100 files"), (1, 0, "no device log")]
    rest = await bench.service.artifacts(LOCAL_ADMIN, [JOB_ID], None, 2, page.next_page_token)
    assert ([a.file.name for a in rest.artifacts], rest.omissions, rest.next_page_token) == (["video.webm"], [], "")
    for name, data in FILES.items():
        assert await bench.fetched(name) == data
    assert await bench.fetched("video.webm", offset=1_000_000) == FILM[1_000_000:]
    assert await bench.fetched("log.txt", offset=len(LOG)) == b""
    assert audit(raw) == []


async def test_a_push_that_broke_is_repeated_and_brings_what_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "NOTED_BYTES", len(LOG) - 1)
    begun = await bench.service.begin(LOCAL_ADMIN, offer(FILES))
    await bench.service.keep(begun, 0, chunks(LOG))
    with pytest.raises(InvalidError, match=f"{len(FILM)} was announced, and 100 came"):
        await bench.service.keep(begun, 2, chunks(FILM[:100]))
    for wrong, words in ((b"pn", "3 was announced, and 2 came"), (b"pngs", "and more came"), (b"jpg", "what came has")):
        with pytest.raises(InvalidError, match=words):
            await bench.service.keep(begun, 1, chunks(wrong))
    assert await bench.names() == [(1, "log.txt")]
    assert (await bench.service.artifacts(LOCAL_ADMIN, [JOB_ID], None, None, None)).complete == []
    assert (await bench.push(FILES)).wanted == (1, 2)
    assert (await bench.service.artifacts(LOCAL_ADMIN, [JOB_ID], None, None, None)).complete == [(JOB_ID, 1)]
    assert (await bench.push(FILES)).wanted == ()
    assert await bench.fetched("video.webm") == FILM


async def test_attempts_have_their_own_and_nothing_is_ever_overwritten(bench: Bench) -> None:
    await bench.push({"log.txt": b"first"})
    await bench.push({"log.txt": b"second"}, attempt=2, token="t2")  # noqa: S106 - a lease's
    with pytest.raises(ConflictError, match="what is kept never changes") as raised:
        await bench.push({"log.txt": b"other"})
    assert raised.value.field == "files[0].name"
    late = "late-" + hashlib.sha256(b"lost").hexdigest()[:8]
    assert (await bench.push({"log.txt": b"late"}, token="lost")).wanted == (0,)  # noqa: S106 - a lease's
    assert await bench.names() == [(1, f"{late}/log.txt"), (1, "log.txt"), (2, "log.txt")]
    assert await bench.names(attempt=2) == [(2, "log.txt")]
    assert [await bench.fetched("log.txt"), await bench.fetched(f"{late}/log.txt")] == [b"first", b"late"]
    assert await bench.fetched("log.txt", attempt=2) == b"second"


async def test_two_that_push_the_same_at_once_keep_it_once(bench: Bench, raw: Redis) -> None:
    first, second = await asyncio.gather(bench.push(FILES), bench.push(FILES))
    assert first.files == second.files
    assert len(await bench.names()) == len(FILES)
    mine, yours = await asyncio.gather(
        bench.push({"a": b"1"}, attempt=3, token="x"),  # noqa: S106 - a lease's
        bench.push({"a": b"2"}, attempt=3, token="y"),  # noqa: S106 - a lease's
    )
    assert sorted(name.startswith("late-") for push in (mine, yours) for name in [push.files[0].name]) == [False, True]
    assert audit(raw) == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"job_id": "x"}, InvalidError, "job_id: x is not a job id"),
        ({"job_id": f"acme~{spec(77).ulid}"}, NotFoundError, "not found"),
        ({"attempt": 0}, InvalidError, "attempt: 0 is out of range"),
        ({"token": ""}, InvalidError, "token: is empty"),
        ({"files": [("../x", ArtifactKind.LOG, "0" * 64, 1)]}, InvalidError, "files[0].name: ../x contains .."),
        ({"files": [("/x", ArtifactKind.LOG, "0" * 64, 1)]}, InvalidError, "is absolute"),
        ({"files": [("a/", ArtifactKind.LOG, "0" * 64, 1)]}, InvalidError, "is a folder"),
        ({"files": [("a\n", ArtifactKind.LOG, "0" * 64, 1)]}, InvalidError, "control character"),
        ({"files": [("a", None, "0" * 64, 1)]}, InvalidError, "files[0].kind: is unknown"),
        ({"files": [("a", ArtifactKind.LOG, "0", 1)]}, InvalidError, "files[0].digest: 0 is not a SHA-256"),
        ({"files": [("a", ArtifactKind.LOG, "0" * 64, 0)]}, InvalidError, "files[0].size_bytes: 0 is out of range"),
        ({"files": [("a", ArtifactKind.LOG, "0" * 64, 1)] * 2}, InvalidError, "files[1].name: a is there twice"),
        (
            {"files": [(f"a{n}", ArtifactKind.LOG, "0" * 64, 1) for n in range(1001)]},
            TooLargeError,
            "attempt 1 would have 1001 files; at most 1000 of an attempt",
        ),
        ({"files": [("a", ArtifactKind.LOG, "0" * 64, MOST + 1)]}, TooLargeError, f"at most {MOST} of an attempt"),
        ({"left_out": [(1, 1, "")]}, InvalidError, "left_out[0].reason: is empty"),
        ({"left_out": [(1, 1, "x")] * 21}, InvalidError, "left_out: has 21 entries; at most 20"),
    ],
)
async def test_a_push_that_is_wrong_is_told_and_changes_nothing(
    bench: Bench, raw: Redis, changes: dict[str, object], error: type[QgjobError], words: str
) -> None:
    with pytest.raises(error) as raised:
        await bench.service.begin(LOCAL_ADMIN, offer({"log.txt": LOG}, **changes))
    assert words in raised.value.message.replace("'", "")
    assert [key for key in raw.keys("qg:o:*") if "}:a" in key and "}:al" not in key] == []


async def test_what_an_attempt_may_have_holds_for_all_its_pushes_together(bench: Bench, raw: Redis) -> None:
    await bench.push({"one.bin": b"1" * 3_000_000})
    with pytest.raises(TooLargeError, match=f"would have 6000000 bytes, with 1 files of 3000000 .* at most {MOST} of"):
        await bench.push({"two.bin": b"2" * 3_000_000})
    await bench.push({"one.bin": b"1" * 3_000_000, "two.bin": b"2" * 2_000_000})
    with pytest.raises(TooLargeError):
        await bench.push({"late.txt": b"x"}, token="lost")  # noqa: S106 - a lease's
    assert (await bench.push({"log.txt": LOG}, attempt=2, token="t2")).wanted == (0,)  # noqa: S106 - a lease's
    assert await bench.names() == [(1, "one.bin"), (1, "two.bin"), (2, "log.txt")]
    assert audit(raw) == []


async def test_of_two_that_push_at_once_the_attempt_keeps_no_more_than_it_may(bench: Bench) -> None:
    """Both were told that there is room; what counts is what is there when the store names the files."""
    contents = {"one.bin": b"1" * 3_000_000}, {"two.bin": b"2" * 3_000_000}
    first, second = [await bench.service.begin(LOCAL_ADMIN, offer(each)) for each in contents]
    for push, content in zip((first, second), contents, strict=True):
        await bench.service.keep(push, 0, chunks(next(iter(content.values()))))
        if push is first:
            await bench.service.end(push)
    with pytest.raises(TooLargeError, match="with 1 files of 3000000 bytes that it has"):
        await bench.service.end(second)
    assert await bench.names() == [(1, "one.bin")]


async def test_files_that_nobody_counted_when_they_came_count(bench: Bench, raw: Redis) -> None:
    """As those that an earlier version kept."""
    await bench.push({"one.bin": b"1" * 3_000_000, "film/two.bin": b"2" * 1_000_000}, left_out=[(1, 1, "x")])
    await bench.push({"late.bin": b"3" * 500_000}, token="lost", left_out=[(1, 1, "x")])  # noqa: S106 - a lease's
    await bench.push({"log.txt": LOG}, attempt=2, token="t2")  # noqa: S106 - a lease's
    assert raw.hdel(f"qg:o:{{acme}}:ar:{JOB.ulid}", "#1") == 1
    with pytest.raises(TooLargeError, match="would have 5000001 bytes, with 3 files of 4500000"):
        await bench.push({"more.bin": b"4" * 500_001})
    file = OfferedFile("more.bin", ArtifactKind.LOG, digest(b"4"), 500_001)
    (found,) = await bench.store.artifacts.keep("acme", [KeptFiles(JOB.ulid, 1, [file])], wall_ms(), BOUNDS)
    assert found == Full(3, 4_500_000)
    few = Bounds(MOST, 3)
    (found,) = await bench.store.artifacts.keep("acme", [KeptFiles(JOB.ulid, 1, [replace(file, size_bytes=1)])], 1, few)
    assert found == Full(3, 4_500_000)
    await bench.push({"more.bin": b"4" * 500_000})
    assert raw.hget(f"qg:o:{{acme}}:ar:{JOB.ulid}", "#1") == "4 5000000"


async def test_another_org_sees_nothing(bench: Bench) -> None:
    await bench.push(FILES)
    with pytest.raises(NotFoundError):
        await bench.service.begin(GLOBEX, offer(FILES))
    with pytest.raises(NotFoundError):
        await bench.service.artifacts(GLOBEX, [JOB_ID], None, None, None)
    with pytest.raises(NotFoundError):
        await anext(bench.service.fetch(GLOBEX, JOB_ID, 1, "log.txt", 0))


async def test_a_list_or_fetch_that_is_wrong_is_told(bench: Bench) -> None:
    await bench.push({"log.txt": LOG})
    for ids, words in (([], "has 0 jobs"), ([JOB_ID, f"globex~{JOB.ulid}"], "is of another org"), (["x"], "not a job")):
        with pytest.raises(InvalidError, match=words):
            await bench.names(job_ids=ids)
    for name, attempt in (("none.txt", 1), ("log.txt", 2)):
        with pytest.raises(NotFoundError, match=f"attempt {attempt} of job {JOB_ID} has no file '{name}'"):
            await bench.fetched(name, attempt)
    with pytest.raises(InvalidError, match="is beyond the end"):
        await bench.fetched("log.txt", offset=len(LOG) + 1)
    (bench.folder / "blobs" / blob_path("acme", JOB.ulid, 1, digest(LOG))).unlink()
    with pytest.raises(NotFoundError):
        await bench.fetched("log.txt")


async def test_a_blob_store_that_is_away_is_told_and_a_later_push_is_whole(bench: Bench) -> None:
    (bench.folder / "blobs").write_text("")  # no folder can be there
    with pytest.raises(BlobsUnavailableError, match="the blob store is away"):
        await bench.push(FILES)
    assert await bench.names() == []
    (bench.folder / "blobs").unlink()
    assert (await bench.push(FILES)).wanted == (0, 1, 2)


# What is removed.


async def test_what_is_old_goes_whole_and_nobody_adds_to_it(bench: Bench, raw: Redis) -> None:
    await bench.push(FILES)
    now = wall_ms()
    assert await bench.look().look(now + 13 * DAY_MS) == 0
    assert await bench.look(None).look(now + 9999 * DAY_MS) == 0
    late = await bench.service.begin(LOCAL_ADMIN, offer({"late.txt": b"late"}))
    gone_at = now + 15 * DAY_MS
    assert await bench.look().look(gone_at) == 1
    assert (bench.files(), await bench.names()) == ([], [])
    with pytest.raises(NotFoundError, match="has been removed by its age"):
        await bench.service.begin(LOCAL_ADMIN, offer(FILES))
    await bench.service.keep(late, 0, chunks(b"late"))
    assert bench.files() != []
    with pytest.raises(NotFoundError, match="has been removed by its age"):
        await bench.service.end(late)
    assert bench.files() == []
    await bench.blobs.put(blob_path("acme", JOB.ulid, 1, "f" * 64), chunks(b"of one who died"))
    assert await bench.look().look(gone_at + LATE_MS - 1) == 0
    assert len(raw.keys("qg:o:*}:a[rg]*")) == 2
    assert await bench.look().look(gone_at + LATE_MS + 1) == 0
    assert (bench.files(), raw.keys("qg:o:*}:a[krg]*")) == ([], [])


async def test_what_was_added_after_the_look_stays(bench: Bench) -> None:
    now = wall_ms()
    await bench.store.artifacts.expect("acme", [Expected(JOB.ulid, 1, "owner")], now)
    assert await bench.store.artifacts.old("acme", now + 1, 10) == [(JOB.ulid, now)]
    file = OfferedFile("log.txt", ArtifactKind.LOG, digest(LOG), len(LOG))
    await bench.store.artifacts.keep("acme", [KeptFiles(JOB.ulid, 1, [file])], now + 5, BOUNDS)
    assert not await bench.store.artifacts.leave("acme", JOB.ulid, now, now + 9)
    assert await bench.names() == [(1, "log.txt")]


async def test_a_removal_that_was_broken_off_is_ended_later(bench: Bench) -> None:
    await bench.push(FILES)
    due = wall_ms() + 15 * DAY_MS

    class Away(BlobStore):
        async def delete(self, paths: object) -> None:
            raise BlobsUnavailableError(f"away: {paths}")

    with pytest.raises(BlobsUnavailableError):
        await OldArtifacts(bench.store, Away(str(bench.folder / "blobs")), 14 * DAY_MS, faults=OrgFaults()).look(due)
    assert bench.files() != []
    assert await bench.names() == []
    await bench.look().look(due + LATE_MS + 1)
    assert bench.files() == []

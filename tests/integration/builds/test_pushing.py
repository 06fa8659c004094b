"""Pushes and fetches of builds: what is refused keeps nothing, and what is there is not sent again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from redis import Redis

from qgjob_coordinator.blobs.paths import blob_path
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
from qgjob_coordinator.loops.old_contents import REMOVER_MS, UNNAMED_MS, OldContents
from qgjob_coordinator.service.calls.builds import BuildService, Pushed, PushHeader
from qgjob_coordinator.service.calls.contents import Contents
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal, Role
from qgjob_coordinator.store.registry import IDLE_MS
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import Content, NameWord
from tests.fakes import packages
from tests.fakes.jobs import NOW
from tests.fakes.store_audit import audit
from tests.fakes.waiting import until

MOST = 20_000_000
APK, OTHER = packages.apk(packages.noise(1_500_000)), packages.apk(packages.noise(1_000_000, seed=2))
DAY_MS = 24 * 3600 * 1000
GLOBEX = Principal("globex", Role.MEMBER, "globex")


class Bytes:
    """What a caller sends, in chunks; `taken` is how much of it was asked for."""

    def __init__(self, data: bytes, size: int = 100_000) -> None:
        self.taken = 0
        self._data = data
        self._size = size

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for at in range(0, len(self._data), self._size):
            piece = self._data[at : at + self._size]
            self.taken += len(piece)
            yield piece


class Bench:
    """A service over a store of its own and folders."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.blobs = BlobStore(str(folder / "blobs"))
        contents = Contents(self.blobs, Spool(folder / "spool", idle_seconds=0.5))
        self.heard: list[str] = []
        hub = Hub()
        hub.on_work(lambda org_id, _: self.heard.append(org_id))
        self.service = BuildService(store, hub, contents, MOST)

    async def push(
        self,
        data: bytes = APK,
        name: str = "app.apk",
        version: str = "v1",
        sent: Bytes | None = None,
        **changes: object,
    ) -> Pushed:
        values: dict[str, object] = {
            "org_id": "acme",
            "app_version_id": version,
            "digest": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
            "file_name": name,
        }
        header = PushHeader(**values | changes)  # type: ignore[arg-type]
        return await self.service.push(LOCAL_ADMIN, header, aiter(sent or Bytes(data)))

    async def fetched(
        self, digest: str, offset: int = 0, org_id: str = "acme", caller: Principal = LOCAL_ADMIN
    ) -> bytes:
        pieces = [piece async for piece in self.service.fetch(caller, org_id, digest, offset)]
        places = [offset + sum(len(p.data) for p in pieces[:n]) for n in range(len(pieces))]
        assert [piece.offset for piece in pieces] == places
        return b"".join(piece.data for piece in pieces)

    def files(self) -> list[str]:
        """What lies in the two folders."""
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file())


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(store, tmp_path)
    yield made
    await made.blobs.close()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_what_was_pushed_is_listed_and_fetched(bench: Bench, raw: Redis) -> None:
    pushed = await bench.push()
    assert (pushed.word, pushed.uploaded) == (NameWord.NEW, True)
    assert pushed.build.facts.package == "com.example.app"
    assert await bench.service.builds(LOCAL_ADMIN, "acme", None, None, None) == ([pushed.build], "")
    for offset in (0, 700_000, len(APK) - 1, len(APK)):
        assert await bench.fetched(digest(APK), offset) == APK[offset:]
    assert bench.files() == [f"blobs/{blob_path('acme', digest(APK))}"]
    assert await bench.store.all_orgs() == {"acme"}
    assert audit(raw) == []


async def test_an_org_that_left_the_registry_while_it_sent_its_first_build_is_in_it_again(
    bench: Bench, raw: Redis
) -> None:
    class Slow(Bytes):
        async def __aiter__(self) -> AsyncGenerator[bytes]:
            async for piece in super().__aiter__():
                assert await bench.store.registry.leave(["acme"], NOW) == []
                await bench.store.registry.leave(["acme"], NOW + IDLE_MS + 1)
                yield piece
            assert await bench.store.all_orgs() == set()

    await bench.push(sent=Slow(APK, len(APK)))
    assert await bench.store.all_orgs() == {"acme"}
    assert audit(raw) == []


async def test_one_app_version_has_a_build_for_each_kind_of_device(bench: Bench) -> None:
    for data, name in (
        (APK, "app.apk"),
        (packages.ipa(), "app.ipa"),
        (packages.app(), "app.zip"),
    ):
        assert (await bench.push(data, name)).word is NameWord.NEW
    with pytest.raises(ConflictError, match=r"another build for android device: app\.apk"):
        await bench.push(packages.aab(), "app.aab")
    with pytest.raises(ConflictError, match=r"another build for ios device: app\.ipa"):
        await bench.push(packages.ipa(CFBundleVersion="43"), "device.ipa")
    with pytest.raises(InvalidError, match=r"'device\.zip' is a zip of an \.app folder for iPhones.*push an \.ipa"):
        await bench.push(packages.app("iphoneos"), "device.zip", version="v2")
    found, _ = await bench.service.builds(LOCAL_ADMIN, "acme", "v1", None, None)
    assert [(b.slot, b.facts.format) for b in found] == [
        ("android device", "apk"),
        ("ios device", "ipa"),
        ("ios simulator", "app"),
    ]


async def test_content_that_is_there_is_not_read_again(bench: Bench) -> None:
    await bench.push()
    sent = Bytes(APK)
    again = await bench.push(sent=sent)
    elsewhere = await bench.push(version="v2", sent=sent)
    assert (again.word, again.uploaded, elsewhere.word, elsewhere.uploaded) == (
        NameWord.SAME,
        False,
        NameWord.NEW,
        False,
    )
    assert sent.taken == 0


async def test_content_of_another_org_is_sent_and_is_its_own(bench: Bench) -> None:
    await bench.push()
    with pytest.raises(NotFoundError, match="org globex has no build with the digest"):
        await bench.fetched(digest(APK), org_id="globex")
    assert (await bench.push(org_id="globex")).uploaded
    assert await bench.fetched(digest(APK), org_id="globex") == APK
    with pytest.raises(NotFoundError, match="org acme not found"):
        await bench.fetched(digest(APK), caller=GLOBEX)
    with pytest.raises(NotFoundError, match="org acme not found"):
        await bench.service.builds(GLOBEX, "acme", None, None, None)


async def test_another_build_is_refused_before_its_bytes_are_read(bench: Bench) -> None:
    await bench.push()
    sent = Bytes(OTHER)
    with pytest.raises(ConflictError) as raised:
        await bench.push(OTHER, "new.apk", sent=sent)
    assert sent.taken == 0
    assert raised.value.field == "app_version_id"
    for words in (digest(APK), digest(OTHER), "app.apk", "new.apk", "--replace"):
        assert words in raised.value.message
    assert len(bench.files()) == 1


async def test_another_build_takes_the_place_when_asked(bench: Bench, raw: Redis) -> None:
    await bench.push()
    replaced = await bench.push(OTHER, replace=True)
    assert (replaced.word, replaced.build.digest) == (NameWord.REPLACED, digest(OTHER))
    assert await bench.fetched(digest(APK)) == APK  # by agents that were told of it before
    assert audit(raw) == []


async def test_two_pushes_at_once_leave_one_build(bench: Bench, raw: Redis) -> None:
    done = await asyncio.gather(bench.push(), bench.push(), bench.push(OTHER), return_exceptions=True)
    words = sorted(d.word.value if isinstance(d, Pushed) else type(d).__name__ for d in done)
    # Two that say the same in the same millisecond are one, which is answered again.
    of_two = (["NEW", "SAME"], ["NEW", "NEW"], ["ConflictError", "NEW"])
    assert words in [["ConflictError", *each] for each in of_two]
    assert audit(raw) == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"org_id": ""}, InvalidError, "org_id: is empty"),
        ({"org_id": "a b"}, InvalidError, "org_id: a b is not an id"),
        ({"version": "x/y"}, InvalidError, "app_version_id: x/y is not an id"),
        ({"digest": ""}, InvalidError, "digest: is required"),
        ({"digest": "A" * 64}, InvalidError, "write 64 hexadecimal digits in lower case"),
        ({"digest": "0" * 64}, InvalidError, "the file changed while it was read"),
        ({"size_bytes": 0}, InvalidError, "size_bytes: 0 is out of range"),
        ({"size_bytes": -1}, InvalidError, "size_bytes: -1 is out of range"),
        ({"size_bytes": MOST + 1}, TooLargeError, f"at most {MOST} are taken (BUILD_MAX_MB of the coordinator)"),
        ({"size_bytes": len(APK) - 1}, InvalidError, "and more came"),
        ({"size_bytes": len(APK) + 1}, InvalidError, f"and {len(APK)} came"),
        ({"name": ""}, InvalidError, "file_name: is empty"),
        ({"name": "app.exe"}, InvalidError, "its name has to end in .apk, .aab, .ipa, .zip"),
        ({"name": "folder/app.apk"}, InvalidError, "has folders in it"),
        ({"name": "a\n.apk"}, InvalidError, "contains a control character"),
        ({"name": "x" * 256 + ".apk"}, InvalidError, "at most 255 are kept"),
        ({"name": "app.ipa"}, InvalidError, "file_name: app.ipa has no Payload/NAME.app/Info.plist, so it is no .ipa"),
    ],
)
async def test_a_push_that_is_wrong_is_told_and_keeps_nothing(
    bench: Bench, raw: Redis, changes: dict[str, object], error: type[QgjobError], words: str
) -> None:
    with pytest.raises(error) as raised:
        await bench.push(**changes)  # type: ignore[arg-type]
    assert words in raised.value.message.replace("'", "")
    assert bench.files() == []
    assert [key for key in raw.keys("*") if key.startswith("qg:o:")] == []


async def test_bytes_that_do_not_come_are_not_waited_for(bench: Bench) -> None:
    async def stuck() -> AsyncGenerator[bytes]:
        yield APK[:1000]
        await asyncio.Event().wait()

    header = PushHeader("acme", "v1", digest(APK), len(APK), "app.apk")
    with pytest.raises(InvalidError, match=r"chunk: none came for 0\.5 s"):
        await bench.service.push(LOCAL_ADMIN, header, stuck())
    assert bench.files() == []


async def test_a_caller_who_goes_leaves_nothing(bench: Bench) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes]:
        yield APK[:600_000]
        begun.set()
        await asyncio.Event().wait()

    header = PushHeader("acme", "v1", digest(APK), len(APK), "app.apk")
    pushing = asyncio.create_task(bench.service.push(LOCAL_ADMIN, header, endless()))
    await begun.wait()
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    assert bench.files() == []
    assert (await bench.push()).word is NameWord.NEW


async def test_a_disk_that_takes_no_upload_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")  # no folder can be there
    bench = Bench(store, tmp_path)
    with pytest.raises(
        BlobsUnavailableError, match=r"disk does not take the upload \(.*\); make room in BLOB_SPOOL_DIR"
    ):
        await bench.push()
    await bench.blobs.close()


async def test_a_blob_store_that_is_away_names_nothing_and_a_later_push_does(bench: Bench, raw: Redis) -> None:
    blobs = bench.folder / "blobs"
    blobs.write_text("")  # no folder can be there
    with pytest.raises(BlobsUnavailableError, match="the blob store is away"):
        await bench.push()
    assert (await bench.service.builds(LOCAL_ADMIN, "acme", None, None, None))[0] == []
    blobs.unlink()
    assert (await bench.push()).word is NameWord.NEW
    assert audit(raw) == []


async def test_bytes_that_were_lost_are_sent_again(bench: Bench) -> None:
    await bench.push()
    (bench.folder / "blobs" / blob_path("acme", digest(APK))).unlink()
    with pytest.raises(NotFoundError, match="has no build with the digest"):
        await bench.fetched(digest(APK))
    again = await bench.push()
    assert (again.word, again.uploaded) == (NameWord.SAME, True)
    assert await bench.fetched(digest(APK)) == APK


@pytest.mark.parametrize(
    ("wanted", "offset", "words"),
    [
        ("", 0, "digest: is required"),
        ("../../etc/passwd", 0, "is not a SHA-256"),
        (digest(APK), -1, "offset: -1 is out of range"),
        (digest(APK), len(APK) + 1, f"is beyond the end: the build has {len(APK)} bytes"),
    ],
)
async def test_a_fetch_that_is_wrong_is_told(bench: Bench, wanted: str, offset: int, words: str) -> None:
    await bench.push()
    with pytest.raises(InvalidError) as raised:
        await bench.fetched(wanted, offset)
    assert words in raised.value.message


async def test_a_list_has_pages(bench: Bench) -> None:
    for version in ("v3", "v1", "v2"):
        await bench.push(version=version)
    first, token = await bench.service.builds(LOCAL_ADMIN, "acme", None, 2, None)
    second, end = await bench.service.builds(LOCAL_ADMIN, "acme", None, 2, token)
    assert ([b.app_version_id for b in first], [b.app_version_id for b in second], end) == (["v1", "v2"], ["v3"], "")
    one, _ = await bench.service.builds(LOCAL_ADMIN, "acme", "v2", None, None)
    assert [b.app_version_id for b in one] == ["v2"]
    with pytest.raises(InvalidError, match="page_token: is of another list"):
        await bench.service.builds(LOCAL_ADMIN, "acme", "v2", 2, token)


# What is removed.


async def test_content_that_was_replaced_stays_for_a_day(bench: Bench, raw: Redis) -> None:
    await bench.push()
    await bench.push(OTHER, replace=True)
    old = OldContents(bench.store, bench.blobs, None, faults=OrgFaults())
    now = wall_ms()
    assert await old.look(now + UNNAMED_MS - 60_000) == (0, 0)
    assert await bench.fetched(digest(APK)) == APK
    assert await old.look(now + UNNAMED_MS + 60_000) == (0, 1)
    assert bench.files() == [f"blobs/{blob_path('acme', digest(OTHER))}"]
    assert audit(raw) == []
    assert (await bench.push(replace=True)).uploaded


async def test_a_build_that_nobody_used_for_so_long_is_forgotten_then_its_bytes(bench: Bench, raw: Redis) -> None:
    await bench.push()
    await bench.push(version="v2")
    old = OldContents(bench.store, bench.blobs, 30 * DAY_MS, faults=OrgFaults())
    now = wall_ms()
    used = await bench.store.builds.get("acme", "v2", "android device")
    assert used is not None
    await bench.store.builds.used(used, now + 20 * DAY_MS)
    assert await old.look(now + 31 * DAY_MS) == (1, 0)
    assert [b.app_version_id for b in (await bench.service.builds(LOCAL_ADMIN, "acme", None, None, None))[0]] == ["v2"]
    assert await old.look(now + 51 * DAY_MS) == (1, 0)
    assert await old.look(now + 53 * DAY_MS) == (0, 1)
    assert bench.files() == []
    assert raw.keys("qg:o:*") == []


async def test_without_a_limit_no_build_is_forgotten(bench: Bench) -> None:
    await bench.push()
    assert await OldContents(bench.store, bench.blobs, None, faults=OrgFaults()).look(wall_ms() + 10_000 * DAY_MS) == (
        0,
        0,
    )


async def test_a_push_that_was_broken_off_is_removed_after_a_day(bench: Bench) -> None:
    (bench.folder / "blobs").write_text("")
    with pytest.raises(BlobsUnavailableError):
        await bench.push()
    (bench.folder / "blobs").unlink()
    assert await OldContents(bench.store, bench.blobs, None, faults=OrgFaults()).look(
        wall_ms() + UNNAMED_MS + 1000
    ) == (0, 1)
    assert await bench.store.builds.contents("acme") == []


async def test_a_content_that_got_a_name_after_the_look_stays(
    bench: Bench, raw: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.push()
    await bench.push(OTHER, replace=True)
    seen = await bench.store.builds.contents("acme")
    assert not (await bench.push(version="v9")).uploaded

    async def as_seen(_org_id: str) -> list[Content]:
        return seen

    monkeypatch.setattr(bench.store.builds, "contents", as_seen)
    assert await OldContents(bench.store, bench.blobs, None, faults=OrgFaults()).look(
        wall_ms() + UNNAMED_MS + 60_000
    ) == (0, 0)
    assert await bench.fetched(digest(APK)) == APK
    assert audit(raw) == []


async def test_a_removal_that_was_broken_off_is_ended_by_the_next_look(bench: Bench, raw: Redis) -> None:
    await bench.push()
    await bench.push(OTHER, replace=True)
    due = wall_ms() + UNNAMED_MS + 60_000

    class Away(BlobStore):
        async def delete(self, paths: object) -> None:
            raise BlobsUnavailableError(f"away: {paths}")

    with pytest.raises(BlobsUnavailableError):
        await OldContents(bench.store, Away(str(bench.folder / "blobs")), None, faults=OrgFaults()).look(due)
    # Nobody counts on what may be gone the next moment: a push waits until it is gone, and then brings the bytes.
    sent = Bytes(APK)
    pushing = asyncio.create_task(bench.push(version="v9", sent=sent))
    await until(lambda: sent.taken == len(APK) or pushing.done(), "the push does not send its bytes")
    assert not pushing.done()
    old = OldContents(bench.store, bench.blobs, None, faults=OrgFaults())
    assert await old.look(due + REMOVER_MS - 1) == (0, 0)  # as far as anybody knows it is under way
    assert await old.look(due + REMOVER_MS + 1) == (0, 1)
    assert (await pushing).uploaded
    assert await bench.fetched(digest(APK)) == APK
    assert audit(raw) == []


async def test_a_push_wakes_the_planning_of_its_org_where_it_changed_something(bench: Bench) -> None:
    await bench.push()
    assert bench.heard == ["acme"]
    await bench.push()  # the same
    with pytest.raises(ConflictError):
        await bench.push(packages.apk(code=2))
    assert bench.heard == ["acme"]
    await bench.push(packages.apk(code=2), replace=True)
    assert bench.heard == ["acme", "acme"]

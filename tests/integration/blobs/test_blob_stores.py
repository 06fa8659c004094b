"""The same calls on a folder and on S3: what is kept comes back, and what goes wrong is told as away."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path

import pytest

from qgjob_coordinator.blobs import address
from qgjob_coordinator.blobs.store import CHUNK_BYTES, Blob, BlobMissingError, BlobStore
from qgjob_coordinator.errors import BlobsUnavailableError
from tests.fakes.jobs import NOW
from tests.fakes.s3_server import BUCKET, S3Server

CONTENT = random.Random(1).randbytes(12_345_678)  # noqa: S311 - more than two parts of S3


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["folder", "s3"])
async def blobs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[BlobStore]:
    if request.param == "folder":
        store = BlobStore(str(tmp_path / "not there" / "blobs"))
    else:
        for name, value in request.getfixturevalue("s3").environ.items():
            monkeypatch.setenv(name, value)
        store = BlobStore(f"s3://{BUCKET}/{tmp_path.name}")
    yield store
    await store.close()


async def pieces(data: bytes, size: int = 300_000) -> AsyncGenerator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def got(blobs: BlobStore, path: str, offset: int = 0) -> bytes:
    return b"".join([piece async for piece in blobs.get(path, offset)])


async def test_what_is_kept_comes_back_from_any_offset(blobs: BlobStore) -> None:
    await blobs.put("orgs/acme/a", pieces(CONTENT), len(CONTENT))
    assert await blobs.size("orgs/acme/a") == len(CONTENT)
    assert hashlib.sha256(await got(blobs, "orgs/acme/a")).digest() == hashlib.sha256(CONTENT).digest()
    for offset in (1, 9_999_999, len(CONTENT) - 1):
        assert await got(blobs, "orgs/acme/a", offset) == CONTENT[offset:]
    assert max([len(piece) async for piece in blobs.get("orgs/acme/a")]) <= CHUNK_BYTES


async def test_small_ones_are_kept_together(blobs: BlobStore) -> None:
    small = {f"orgs/acme/{n % 3}/{n}": str(n).encode() for n in range(20)}
    await blobs.put_small([*small.items(), ("orgs/acme/1/1", b"1")])
    assert {path: await got(blobs, path) for path in small} == small
    await blobs.put_small([])


async def test_a_blob_is_replaced_as_a_whole(blobs: BlobStore) -> None:
    for data in (b"one", b"another"):
        await blobs.put("orgs/acme/a", pieces(data))
    assert await got(blobs, "orgs/acme/a") == b"another"


async def test_what_is_not_there_is_missing(blobs: BlobStore) -> None:
    assert await blobs.size("orgs/acme/none") is None
    with pytest.raises(BlobMissingError):
        await got(blobs, "orgs/acme/none")
    await blobs.put("orgs/acme/a", pieces(b"x"))
    await blobs.delete(["orgs/acme/none", "orgs/acme/a", "orgs/acme/none too"])
    assert await blobs.size("orgs/acme/a") is None


async def test_blobs_are_listed_by_what_they_lie_below(blobs: BlobStore) -> None:
    for path in ("orgs/acme/a", "orgs/acme/b/c", "orgs/acmes/a", "orgs/globex/a"):
        await blobs.put(path, pieces(path.encode()))
    found = [blob async for blob in blobs.list("orgs/acme/")]
    assert sorted(blob.path for blob in found) == ["orgs/acme/a", "orgs/acme/b/c"]
    assert {blob.path: blob.size_bytes for blob in found} == {"orgs/acme/a": 11, "orgs/acme/b/c": 13}
    assert all(isinstance(blob, Blob) and blob.modified_at > 1_600_000_000_000 for blob in found)
    assert [blob async for blob in blobs.list("nothing/")] == []


async def test_a_blob_whose_bytes_end_with_an_error_is_not_there(blobs: BlobStore) -> None:
    async def broken() -> AsyncGenerator[bytes]:
        yield CONTENT[:7_000_000]
        raise KeyError("the source broke")

    with pytest.raises(KeyError, match="the source broke"):
        await blobs.put("orgs/acme/a", broken())
    assert await blobs.size("orgs/acme/a") is None


async def test_a_blob_whose_caller_goes_is_not_there(blobs: BlobStore) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes]:
        while True:
            yield CONTENT[:1_000_000]
            begun.set()
            await asyncio.sleep(0.01)

    putting = asyncio.create_task(blobs.put("orgs/acme/a", endless()))
    await begun.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await blobs.size("orgs/acme/a") is None


async def test_bytes_that_do_not_come_are_not_waited_for_without_end(tmp_path: Path) -> None:
    blobs = BlobStore(str(tmp_path), idle_seconds=0.2)

    async def stuck() -> AsyncGenerator[bytes]:
        for _ in range(6):
            yield b"x"
            await asyncio.sleep(0.05)  # slower in all than may pass without one
        await asyncio.Event().wait()

    with pytest.raises(
        BlobsUnavailableError, match=r"the blob store is away \(no answer in time\); repeat the call later"
    ):
        await blobs.put("a", stuck())
    assert await blobs.size("a") is None
    await blobs.close()


async def test_what_a_killed_process_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    blobs = BlobStore(str(tmp_path / "blobs"))
    assert await blobs.tidy(NOW) == 0
    await blobs.put("orgs/acme/a", pieces(b"whole"))
    code = (
        "import asyncio, os, sys; from qgjob_coordinator.blobs.store import BlobStore\n"
        "async def pieces():\n"
        "    for _ in range(9): yield bytes(500_000)\n"
        "    os.kill(os.getpid(), 9)\n"
        "asyncio.run(BlobStore(sys.argv[1]).put('orgs/acme/b', pieces()))"
    )
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", code, str(tmp_path / "blobs"))
    assert await killed.wait() == -signal.SIGKILL
    (left,) = (path for path in (tmp_path / "blobs").rglob("b*") if path.is_file())
    begun = left.stat().st_mtime * 1000
    assert await blobs.size("orgs/acme/b") is None
    assert await blobs.tidy(round(begun) - 1000) == 0
    assert await blobs.tidy(round(begun) + 1000) == 1
    assert not left.exists()
    assert await got(blobs, "orgs/acme/a") == b"whole"
    await blobs.close()


async def test_an_object_store_that_is_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = S3Server(tmp_path)  # which nobody started
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    blobs = BlobStore(f"s3://{BUCKET}")
    for call in (blobs.size("a"), blobs.put("a", pieces(b"x")), blobs.delete(["a"]), got(blobs, "a")):
        with pytest.raises(BlobsUnavailableError) as raised:
            await call
        assert raised.value.message == "the blob store is away (no connection); repeat the call later"
    await blobs.close()


async def test_a_folder_that_can_not_be_made_is_told_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    blobs = BlobStore(str(tmp_path / "file" / "blobs"))
    with pytest.raises(BlobsUnavailableError) as raised:
        await blobs.put("a", pieces(b"x"))
    assert str(tmp_path) not in raised.value.message
    assert "Not a directory" in raised.value.message
    await blobs.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("ftp://host/x", "has the scheme ftp"),
        ("http://host/bucket", "has the scheme http"),
        ("s3:///x", "names no bucket"),
        ("az://account", "names no container"),
        ("file://host/x", "write file:///PATH with three slashes"),
        ("s3://key:secret@bucket", "credentials in the variables of that service"),
        ("s3://bucket?endpoint=x", "has more than a place in it"),
    ],
)
def test_a_url_that_names_no_store_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"give|write") as raised:
        BlobStore(url)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("blobs", "blobs"),
        ("./a:b", "a:b"),
        ("/srv/blobs", "/srv/blobs"),
        ("file:///srv/my%20blobs", "/srv/my blobs"),
        ("file://localhost/srv", "/srv"),
        ("s3://bucket/prefix", None),
        ("gs://bucket", None),
        ("az://account/container/prefix", None),
    ],
)
def test_what_a_url_names(url: str, expected: str | None) -> None:
    found = address.folder(url)
    assert found == (None if expected is None else Path(expected))


def test_the_stores_of_other_clouds_are_made_without_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    BlobStore("gs://bucket/prefix")
    BlobStore("az://account/container/prefix")
    assert address.azure("az://account/container") == ("account", "container", None)
    assert address.azure("az://account/container/a/b/") == ("account", "container", "a/b")

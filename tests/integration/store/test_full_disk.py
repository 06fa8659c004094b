"""A disk without room: the store promises nothing, what it promised before is kept, and it goes on by itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.store import connection
from qgjob_coordinator.store.store import Store
from tests.fakes import scenes
from tests.fakes.jobs import spec
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

DISK_MB = 8
FAR = 100_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system of the test's own needs root, and leave to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def process(disk: Path, request: pytest.FixtureRequest) -> Iterator[StoreProcess]:
    store = StoreProcess(disk / "store", "--appendonly", "yes", "--appendfsync", request.param)
    store.start()
    yield store
    store.kill()


@pytest.fixture
async def store(process: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setattr(connection, "REPLY_TIMEOUT_SECONDS", 2.0)
    opened = Store(process.url, pool_size=2)
    await opened.check()
    yield opened
    await opened.close()


def fill(disk: Path) -> Path:
    """Leaves no room."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    with suppress(OSError), filler.open("ab", buffering=0) as out:
        while True:
            out.write(b"x")
    return filler


async def submitted(store: Store, first: int) -> tuple[list[int], int]:
    """Submits one job after the other until the store refuses; which were acknowledged, and which was refused."""
    done = []
    for n in range(first, FAR):
        try:
            await scenes.submit(store, spec(n))
        except StoreUnavailableError:
            return done, n
        done.append(n)
    raise AssertionError("the store never refuses")


async def fit(store: Store) -> bool:
    with suppress(StoreUnavailableError):
        await store.check()
        return True
    return False


async def all_known(store: Store, numbers: list[int]) -> bool:
    return None not in await store.reads.get("acme", [spec(n).ulid for n in numbers])


@pytest.mark.parametrize("process", ["everysec"], indirect=True)
async def test_everysec_refuses_until_there_is_room_and_keeps_what_it_acknowledged(
    store: Store, process: StoreProcess, disk: Path
) -> None:
    await scenes.submit(store, spec(0))
    filler = fill(disk)
    acknowledged, refused = await submitted(store, 1)
    with pytest.raises(StoreUnavailableError):
        await store.check()
    with pytest.raises(StoreUnavailableError):
        await scenes.submit(store, spec(FAR))
    assert await store.reads.get("acme", [spec(refused).ulid, spec(FAR).ulid]) == [None, None]
    assert await all_known(store, [0, *acknowledged]), "what it has can be read meanwhile"
    filler.unlink()
    await until(lambda: fit(store), "it does not recover by itself")
    await scenes.submit(store, spec(FAR))
    process.stop()
    process.start()
    await until(lambda: fit(store), "it does not come back")
    assert await all_known(store, [0, *acknowledged, FAR])
    assert await store.reads.get("acme", [spec(refused).ulid]) == [None]


@pytest.mark.parametrize("process", ["always"], indirect=True)
async def test_always_ends_rather_than_promise_and_comes_back_with_all_that_it_acknowledged(
    store: Store, process: StoreProcess, disk: Path
) -> None:
    await scenes.submit(store, spec(0))
    filler = fill(disk)
    acknowledged, refused = await submitted(store, 1)
    with pytest.raises(StoreUnavailableError):
        await store.check()
    process.kill()  # it has ended by itself
    filler.unlink()
    process.start()
    await until(lambda: fit(store), "it does not come back")
    assert await all_known(store, [0, *acknowledged])
    assert await store.reads.get("acme", [spec(refused).ulid]) == [None], "nobody was told that it is there"
    assert [s.word for s in await scenes.submit(store, spec(refused))] == ["NEW"]

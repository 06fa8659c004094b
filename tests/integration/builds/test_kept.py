"""What the doctor says of builds: whether the blob store answers, and has what the store names."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from qgjob_coordinator.blobs.paths import blob_path
from qgjob_coordinator.blobs.store import Blob, BlobStore
from qgjob_coordinator.model.findings import Level
from qgjob_coordinator.policy.diagnosis import blobs
from qgjob_coordinator.policy.diagnosis.facts import BlobFacts, MissingBuild
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.views import kept_builds
from qgjob_coordinator.service.views.kept_builds import KeptBuilds
from qgjob_coordinator.store.store import Store
from tests.fakes import packages
from tests.integration.builds.test_pushing import OTHER, Bench


@pytest.fixture
def bench(store: Store, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path)


async def seen(bench: Bench) -> BlobFacts:
    """What somebody finds who has not asked before."""
    return await KeptBuilds(bench.store, bench.blobs, faults=OrgFaults()).look()


async def test_a_build_whose_bytes_are_gone_is_named(bench: Bench) -> None:
    assert await seen(bench) == BlobFacts(None, 0, [])
    kept, lost = await bench.push(), await bench.push(OTHER, version="v2")
    await bench.push(packages.apk(), version="v3", org_id="globex")
    assert await seen(bench) == BlobFacts(None, 3, [], whole=True)
    path = bench.folder / "blobs" / blob_path("acme", lost.build.digest)
    path.unlink()
    assert await seen(bench) == BlobFacts(None, 3, [MissingBuild("acme", "v2", "android device")])
    path.write_bytes(b"half of it")
    assert (await seen(bench)).missing == [MissingBuild("acme", "v2", "android device")]
    shutil.rmtree(bench.folder / "blobs" / "orgs" / "acme")
    assert {each.app_version_id for each in (await seen(bench)).missing} == {"v1", "v2"}
    await bench.push()  # as the advice says
    assert {each.app_version_id for each in (await seen(bench)).missing} == {"v2"}
    assert kept.build.digest != lost.build.digest


async def test_a_blob_store_that_is_away_or_hangs_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.push()
    shutil.rmtree(bench.folder / "blobs")
    (bench.folder / "blobs").write_text("no folder")
    away = await KeptBuilds(bench.store, BlobStore(str(bench.folder / "blobs")), faults=OrgFaults()).look()
    assert away.away is not None
    assert away.away.startswith("the blob store is away")
    monkeypatch.setattr(kept_builds, "ANSWER_SECONDS", 0.05)

    class Hangs(BlobStore):
        async def size(self, path: str) -> int | None:
            await asyncio.Event().wait()
            raise AssertionError(path)

    hangs = await KeptBuilds(bench.store, Hangs(str(bench.folder / "other")), faults=OrgFaults()).look()
    assert hangs.away == "no answer within 0.05 s"


async def test_what_comes_and_goes_meanwhile_is_no_loss(bench: Bench) -> None:
    old, store = await bench.push(), bench.store

    class Changing(BlobStore):
        async def list(self, prefix: str) -> AsyncGenerator[Blob]:
            """As it is after one build was forgotten and another pushed, since the names were read."""
            (named,) = await store.builds.all("acme")
            await bench.push(OTHER, version="v2")
            assert await store.builds.forget(named, wall_ms())
            (bench.folder / "blobs" / blob_path("acme", old.build.digest)).unlink()
            async for blob in super().list(prefix):
                yield blob

    assert await KeptBuilds(store, Changing(str(bench.folder / "blobs")), faults=OrgFaults()).look() == BlobFacts(
        None, 1, []
    )


async def test_what_is_well_is_not_listed_again_for_each_who_asks(bench: Bench) -> None:
    class Counted(BlobStore):
        lists = 0

        def list(self, prefix: str):  # type: ignore[no-untyped-def]
            self.lists += 1
            return super().list(prefix)

    pushed = await bench.push()
    counted = Counted(str(bench.folder / "blobs"))
    kept = KeptBuilds(bench.store, counted, faults=OrgFaults())
    for _ in range(3):
        assert (await kept.look()).missing == []
    assert counted.lists == 1
    (bench.folder / "blobs" / blob_path("acme", pushed.build.digest)).unlink()
    assert (await seen(bench)).missing != []


@pytest.mark.parametrize(
    ("facts", "levels"),
    [
        (BlobFacts("the blob store is away (refused)"), [("blobs.usable", Level.PROBLEM, None)]),
        (BlobFacts(None), [("blobs.usable", Level.OK, None), ("blobs.builds", Level.OK, None)]),
        (
            BlobFacts(
                None, 7, [MissingBuild("b", "v1", "ios device"), MissingBuild("a", "v1", "ios device")], whole=False
            ),
            [
                ("blobs.usable", Level.OK, None),
                ("blobs.builds", Level.PROBLEM, "a"),
                ("blobs.builds", Level.PROBLEM, "b"),
                ("blobs.builds", Level.NOTE, None),
            ],
        ),
    ],
)
def test_how_that_is_judged(facts: BlobFacts, levels: list[tuple[str, Level, str | None]]) -> None:
    found = blobs.judge(facts, "s3://builds")
    assert [(each.check, each.level, each.subject) for each in found] == levels
    assert all(each.advice for each in found if each.level is Level.PROBLEM)

"""Small evidence of several attempts in one call: each is answered by itself, and all together cost few calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from structlog.testing import capture_logs

from qgjob_coordinator.errors import (
    BlobsUnavailableError,
    ConflictError,
    InvalidError,
    NotFoundError,
    OrgDamagedError,
    StoreUnavailableError,
    TooLargeError,
)
from qgjob_coordinator.model.artifacts import ArtifactKind
from qgjob_coordinator.rpc.artifacts import _pushed
from qgjob_coordinator.service.calls.artifact_offers import Offer
from qgjob_coordinator.service.calls.small_artifacts import MAX_ATTEMPTS, SmallArtifactService, SmallOffer
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN
from qgjob_coordinator.store.store import Store
from qgjob_proto.v1 import artifacts_pb2 as pb
from tests.fakes import scenes
from tests.fakes.damage import damaged
from tests.fakes.jobs import spec
from tests.fakes.store_audit import audit
from tests.integration.artifacts.test_keeping import GLOBEX, LEASE, LOG, MOST, Bench, digest

SPECS = [spec(n) for n in range(1, 5)]
FOREIGN = spec(9, org_id="globex")
IDS = [each.job_id for each in SPECS]
FILES = {"log.txt": LOG, "junit.xml": b"<testsuite/>"}


def small(job_id: str, files: dict[str, bytes] = FILES, attempt: int = 1, **changes: Any) -> SmallOffer:
    announced = [(name, ArtifactKind.OTHER, digest(data), len(data)) for name, data in files.items()]
    values: dict[str, Any] = {"offered": announced, "left_out": (), "contents": list(files.values())} | changes
    return SmallOffer(Offer(job_id, attempt, LEASE, values["offered"], values["left_out"]), values["contents"])


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> AsyncIterator[Bench]:
    for each in (*SPECS, FOREIGN):
        await scenes.submit(store, each)
    made = Bench(store, tmp_path)
    yield made
    await made.blobs.close()


@pytest.fixture
def service(bench: Bench) -> SmallArtifactService:
    return SmallArtifactService(bench.service, OrgFaults())


async def test_several_attempts_are_kept_by_three_calls_to_the_store(
    bench: Bench, service: SmallArtifactService, raw: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    run = bench.store.artifacts._runner.run

    async def counted(name: str, prefix: str, args: Any) -> Any:
        called.append(name)
        return await run(name, prefix, args)

    monkeypatch.setattr(bench.store.artifacts._runner, "run", counted)
    offers = [small(job_id, left_out=[(1, 5, "too many")]) for job_id in IDS] + [small(IDS[0], {"a": b"2"}, attempt=2)]
    assert await service.push(LOCAL_ADMIN, offers) == [2, 2, 2, 2, 1]
    assert called == ["resolve", "artifacts", "artifacts"]
    page = await bench.service.artifacts(LOCAL_ADMIN, IDS, None, None, None)
    assert [(a.job_id, a.attempt, a.file.name) for a in page.artifacts] == sorted(
        [(job_id, 1, name) for job_id in IDS for name in FILES] + [(IDS[0], 2, "a")]
    )
    assert len(page.omissions) == len(IDS)
    assert page.complete == [(IDS[0], 1), (IDS[0], 2), *((job_id, 1) for job_id in IDS[1:])]
    assert await bench.fetched("log.txt") == LOG
    assert audit(raw) == []


async def test_a_call_whose_answer_was_lost_keeps_nothing_twice(
    bench: Bench, service: SmallArtifactService, raw: Redis
) -> None:
    offers = [small(job_id) for job_id in IDS]
    first, second = await asyncio.gather(service.push(LOCAL_ADMIN, offers), service.push(LOCAL_ADMIN, offers))
    assert first == [2, 2, 2, 2]
    counted = raw.hget(f"qg:o:{{acme}}:ar:{SPECS[0].ulid}", "#1")
    assert await service.push(LOCAL_ADMIN, offers) == [0, 0, 0, 0]
    assert raw.hget(f"qg:o:{{acme}}:ar:{SPECS[0].ulid}", "#1") == counted == f"2 {sum(map(len, FILES.values()))}"
    assert len(await bench.names(job_ids=IDS)) == 2 * len(IDS)
    assert len(second) == len(offers)


async def test_what_is_wrong_with_one_says_nothing_of_the_others(bench: Bench, service: SmallArtifactService) -> None:
    await service.push(LOCAL_ADMIN, [small(IDS[1])])
    wrong: list[tuple[SmallOffer, type[Exception], str]] = [
        (small("x"), InvalidError, "not a job id"),
        (small(spec(77).job_id), NotFoundError, "not found"),
        (small(IDS[0], contents=[LOG, b"<other>"]), InvalidError, "contents[1]"),
        (small(IDS[0], contents=[LOG, b"<testsuite?>"]), InvalidError, "contents[1]"),
        (small(IDS[0], contents=[LOG]), InvalidError, "has 1 entries for 2 files"),
        (small(IDS[1], {"log.txt": b"another"}), ConflictError, "never changes"),
        (small(IDS[2], offered=[("a", ArtifactKind.LOG, "0" * 64, MOST + 1)]), TooLargeError, f"at most {MOST}"),
    ]
    results = await service.push(LOCAL_ADMIN, [small(IDS[0]), *(each for each, _, _ in wrong), small(FOREIGN.job_id)])
    assert (results[0], results[-1]) == (2, 2)
    for result, (_, kind, words) in zip(results[1:-1], wrong, strict=True):
        assert isinstance(result, kind)
        assert words in str(result)
    assert await bench.names(job_ids=[IDS[0]]) == [(1, "junit.xml"), (1, "log.txt")]
    (foreign,) = await service.push(GLOBEX, [small(IDS[3])])
    assert isinstance(foreign, NotFoundError)


async def test_the_bound_of_an_attempt_holds_here_too_and_of_several_in_one_call(
    bench: Bench, service: SmallArtifactService
) -> None:
    await bench.push({"one.bin": b"1" * (MOST - 10)})
    (full, fits) = await service.push(LOCAL_ADMIN, [small(IDS[0], {"a": b"x" * 11}), small(IDS[0], {"b": b"x" * 10})])
    assert isinstance(full, TooLargeError)
    assert fits == 1
    both = [small(IDS[1], {name: bytes(3_000_000)}) for name in ("a", "b")]
    first, second = await service.push(LOCAL_ADMIN, both)
    assert first == 1
    assert isinstance(second, TooLargeError)  # when the first was looked at, there was room for each
    assert await bench.names(job_ids=[IDS[1]]) == [(1, "a")]


async def test_what_is_away_is_told_of_the_whole_call(
    bench: Bench, service: SmallArtifactService, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in (0, MAX_ATTEMPTS + 1):
        with pytest.raises(InvalidError, match=f"has {count} attempts; send 1 to {MAX_ATTEMPTS}"):
            await service.push(LOCAL_ADMIN, [small(IDS[0])] * count)
    (bench.folder / "blobs").write_text("")  # no folder can be there
    with pytest.raises(BlobsUnavailableError):
        await service.push(LOCAL_ADMIN, [small(job_id) for job_id in IDS])
    assert await bench.names(job_ids=IDS) == []
    (bench.folder / "blobs").unlink()

    async def away(*_: object) -> None:
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.artifacts, "keep", away)
        with pytest.raises(StoreUnavailableError):
            await service.push(LOCAL_ADMIN, [small(IDS[0])])
    keep = bench.store.artifacts.keep

    async def one_away(org_id: str, *args: Any) -> Any:
        return await (keep(org_id, *args) if org_id == "globex" else away())

    with monkeypatch.context() as patch:
        patch.setattr(bench.store.artifacts, "keep", one_away)
        first, foreign = await service.push(LOCAL_ADMIN, [small(IDS[0]), small(FOREIGN.job_id)])
        assert isinstance(first, StoreUnavailableError)
        assert foreign == 2
    assert await service.push(LOCAL_ADMIN, [small(IDS[0])]) == [2]


async def test_a_damaged_record_costs_its_attempt_and_no_other_one_of_the_call(
    bench: Bench, service: SmallArtifactService, raw: Redis
) -> None:
    """It stays so until somebody mends it: the agents would send all of the others' again and again."""
    offers = [*(small(job_id) for job_id in IDS), small(FOREIGN.job_id)]
    with damaged(raw, f"ar:{SPECS[1].ulid}"), capture_logs() as lines:
        results = await service.push(LOCAL_ADMIN, offers)
        assert [each for each in results if isinstance(each, int)] == [2, 2, 2, 2]
        assert isinstance(results[1], OrgDamagedError)
        assert "WRONGTYPE" in str(results[1])
        assert _pushed(results[1]).verdict == pb.PUSH_VERDICT_AWAY, "it may be mended: it is not refused for good"
    assert [(each["org_id"], each["part"]) for each in lines if each["event"] == "org_damaged"] == [
        ("acme", "artifacts")
    ]
    assert await bench.names(job_ids=[IDS[0]]) == [(1, "junit.xml"), (1, "log.txt")]
    assert await service.push(LOCAL_ADMIN, offers) == [0, 2, 0, 0, 0]
    assert audit(raw) == []


async def test_where_all_that_can_be_kept_is_damaged_each_is_answered_too(
    service: SmallArtifactService, raw: Redis
) -> None:
    with damaged(raw, f"ar:{SPECS[0].ulid}"):
        (result,) = await service.push(LOCAL_ADMIN, [small(IDS[0])])
    assert isinstance(result, OrgDamagedError)


async def test_what_is_refused_is_told_where_the_rest_of_the_call_is_away(
    bench: Bench, service: SmallArtifactService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailableError("away")

    monkeypatch.setattr(bench.store.artifacts, "keep", away)
    refused, first, gone = await service.push(LOCAL_ADMIN, [small("x"), small(IDS[0]), small(spec(77).job_id)])
    assert isinstance(refused, InvalidError)
    assert isinstance(first, StoreUnavailableError)
    assert isinstance(gone, StoreUnavailableError)  # of the same org: nobody knows

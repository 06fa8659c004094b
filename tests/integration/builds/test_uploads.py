"""Which of all agents uploads a content, over gRPC, by the agents' own part for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from qgjob_agent.devices.browserstack.apps import Answer, SharingAwayError, Word
from qgjob_agent.stream.session import Coordinators
from qgjob_agent.stream.upload_sharing import SharedUploads
from qgjob_proto.v1 import builds_pb2 as pb
from qgjob_proto.v1 import builds_pb2_grpc
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.fakes.error_details import error_field
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

ACCOUNT, DIGEST = "a" * 64, "d" * 64
YOURS, TAKEN, STALE, KNOWN = Answer(Word.YOURS), Answer(Word.TAKEN), Answer(Word.STALE), Answer(Word.KNOWN, "bs://one")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CoordinatorProcess]:
    store = StoreProcess(tmp_path_factory.mktemp("store"))
    store.start()
    process = CoordinatorProcess(tmp_path_factory.mktemp("coordinator"), store.url)
    try:
        process.start()
        yield process
    finally:
        process.stop()
        store.stop()


def of(agent_id: str, *targets: str) -> SharedUploads:
    return SharedUploads(Coordinators(targets, agent_id))


async def test_each_word_may_be_said_twice(served: CoordinatorProcess) -> None:
    one, two = of("one", served.target), of("two", "127.0.0.1:1", served.target)
    mine, theirs = "m" * 32, "t" * 32
    for _ in range(2):
        assert await one.ask(ACCOUNT, DIGEST, mine, 60.0) == YOURS
        assert await two.ask(ACCOUNT, DIGEST, theirs, 60.0) == TAKEN
    for _ in range(2):
        assert await one.give_up(ACCOUNT, DIGEST, mine) == STALE
    assert await two.ask(ACCOUNT, DIGEST, theirs, 60.0) == YOURS
    assert await one.done(ACCOUNT, DIGEST, mine, "bs://late") == STALE
    for _ in range(2):
        assert await two.done(ACCOUNT, DIGEST, theirs, "bs://one") == KNOWN
    assert await one.ask(ACCOUNT, DIGEST, mine, 60.0) == KNOWN


async def test_of_many_who_ask_at_once_one_uploads_and_its_death_frees_it(served: CoordinatorProcess) -> None:
    agents, digest = [of(f"a{n}", served.target) for n in range(8)], "e" * 64
    told = await asyncio.gather(*(each.ask(ACCOUNT, digest, f"{n:032}", 1.0) for n, each in enumerate(agents)))
    assert sorted(each.word.value for each in told) == ["taken"] * 7 + ["yours"]

    async def is_next() -> bool:
        return await agents[0].ask(ACCOUNT, digest, "next" * 8, 60.0) == YOURS

    await until(is_next, "the end of the first one's time")


async def test_without_a_coordinator_nobody_knows(served: CoordinatorProcess) -> None:
    with pytest.raises(SharingAwayError, match=r"no coordinator says which agent uploads it: 127\.0\.0\.1:1: "):
        await of("one", "127.0.0.1:1").ask(ACCOUNT, DIGEST, "m" * 32, 60.0)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("account", {"account": "lab_user"}),
        ("digest", {"digest": "D" * 64}),
        ("token", {"token": "short"}),
        ("token", {"token": "m" * 31 + "\n"}),
        ("held_seconds", {"held_seconds": 0}),
        ("held_seconds", {"held_seconds": 601}),
        ("app_url", {"app_url": "bs://a b"}),
        ("app_url", {"app_url": "-"}),
        ("app_url", {"app_url": "b" * 201}),
        ("give_up", {"give_up": True, "app_url": "bs://one"}),
    ],
)
async def test_what_is_no_word_of_an_upload_is_refused_by_its_field(
    served: CoordinatorProcess, field: str, changed: dict[str, Any]
) -> None:
    right = {"account": ACCOUNT, "digest": "f" * 64, "token": "m" * 32, "held_seconds": 60}
    async with grpc.aio.insecure_channel(served.target) as channel:
        stub: Any = builds_pb2_grpc.BuildServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ShareUpload(pb.ShareUploadRequest(**right | changed))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_field(refused.value) == field

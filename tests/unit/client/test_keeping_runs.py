"""A client shows that it lives, whatever one sign of life is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qgjob import AsyncClient, Bond, ConflictError, ForbiddenError, ProtocolError, QuotaError, UnsupportedError
from qgjob._errors import QgjobError
from qgjob.testing import MockTransport
from qgjob_proto.v1 import jobs_pb2

BOND = Bond(0.03)
ODD = [
    QuotaError("too many calls"),
    ConflictError("odd"),
    ProtocolError("a proxy's page"),
    ProtocolError("a proxy's page"),
]


class Answers:
    """What the signs of life are answered: the errors, one after the other, then nothing special."""

    def __init__(self, *errors: QgjobError) -> None:
        self.errors = list(errors)
        self.signs = self.releases = 0
        self.good = asyncio.Event()
        self.client = AsyncClient(transports=[MockTransport(self._answer)])

    async def _answer(self, method: str, request: Any) -> Any:
        assert method == "KeepRun"
        if request.release:
            self.releases += 1
        else:
            self.signs += 1
            if self.errors:
                raise self.errors.pop(0)
            self.good.set()
        return jobs_pb2.KeepRunResponse()


async def test_a_sign_of_life_that_was_answered_oddly_is_followed_by_the_next_one() -> None:
    answers = Answers(*ODD)
    told: list[QgjobError] = []
    async with answers.client.kept("acme", "r1", BOND, on_trouble=told.append), asyncio.timeout(5):
        await answers.good.wait()
    assert [error.message for error in told] == ["too many calls", "odd", "a proxy's page"]
    assert (answers.signs, answers.releases) == (len(ODD) + 1, 1)


@pytest.mark.parametrize("error", [UnsupportedError("KeepRun is unknown"), ForbiddenError("not in this org")])
async def test_what_every_sign_of_life_would_be_answered_ends_the_block(error: QgjobError) -> None:
    answers = Answers(error)
    with pytest.raises(type(error)) as raised:
        async with answers.client.kept("acme", "r1", BOND), asyncio.timeout(5):
            await asyncio.Event().wait()
    assert raised.value is error
    assert (answers.signs, answers.releases) == (1, 0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_cancels_the_block_is_not_told_of_a_refusal_instead() -> None:
    answers = Answers(ForbiddenError("not in this org"))

    async def work() -> None:
        async with answers.client.kept("acme", "r1", BOND):
            waiting.set()
            await asyncio.Event().wait()

    waiting = asyncio.Event()
    task = asyncio.create_task(work())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_next_sign_of_life_comes_on_time_after_a_slow_answer() -> None:
    bond = Bond(0.6)
    at: list[float] = []
    third = asyncio.Event()

    async def answer(method: str, request: Any) -> Any:
        at.append(asyncio.get_running_loop().time())
        if len(at) == 3:
            third.set()
        await asyncio.sleep(0.15)
        return jobs_pb2.KeepRunResponse()

    async with AsyncClient(transports=[MockTransport(answer)]).kept("acme", "r1", bond), asyncio.timeout(5):
        await third.wait()
    assert at[2] - at[0] < 0.65  # two pauses of 0.2 s; with the answers between them 0.7 s

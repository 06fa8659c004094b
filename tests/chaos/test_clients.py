"""What clients write down of what they ask for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qgjob import JobSpec, QgjobError
from tests.chaos.clients import Clients, turned
from tests.chaos.histories import GLOBEX, plan
from tests.chaos.workload import Action, Verb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio


class _Lab:
    """Answers the first submission with an equal job, and no other one."""

    coordinators = (SimpleNamespace(name="coordinator-0"), SimpleNamespace(name="coordinator-1"))

    def __init__(self) -> None:
        self.submitted: list[str] = []

    @property
    def address(self) -> str:
        return f"{len(self.submitted) % 2}"

    def index_of(self, address: str) -> int:
        return int(address)

    @asynccontextmanager
    async def client(self, *order: int) -> AsyncIterator[_Lab]:
        yield self

    async def submit(self, spec: JobSpec) -> Any:
        self.submitted.append(spec.job_id or "")
        if len(self.submitted) > 1:
            raise QgjobError("no answer")
        return SimpleNamespace(job_id=GLOBEX)


async def test_the_ids_that_a_client_proposed_are_written_down_answered_or_not() -> None:
    """A repeat proposes the same id again, an equal one another that nothing else means."""
    lab, jobs = _Lab(), (plan(GLOBEX),)
    clients = Clients(lab)  # type: ignore[arg-type]
    for verb in (Verb.SUBMIT, Verb.EQUAL, Verb.REPEAT):
        await clients.carry_out([Action(0.0, verb, "globex", jobs, mean=jobs[0].number)], 0.0)
    first, equal, again = clients.asked
    assert [asked.proposed for asked in clients.asked] == [(job_id,) for job_id in lab.submitted]
    assert (first.job_ids, equal.job_ids, again.job_ids) == ((GLOBEX,), (), ())
    assert first.proposed == again.proposed != equal.proposed
    assert [asked.turned_to for asked in clients.asked] == [
        ("coordinator-0", "coordinator-1"),
        ("coordinator-1", "coordinator-0"),
        ("coordinator-0", "coordinator-1"),
    ]
    assert {asked.coordinators for asked in clients.asked} == {("coordinator-0", "coordinator-1")}


async def test_a_client_has_turned_to_all_that_lie_between_the_first_and_the_last() -> None:
    assert turned("abc", 1, 1) == ("b",)
    assert turned("abc", 0, 2) == ("a", "b", "c")
    assert turned("abc", 2, 1) == ("c", "a", "b")

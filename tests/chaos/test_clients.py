"""What clients write down of what they ask for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qgjob import JobSpec, QgjobError
from tests.chaos.clients import Clients
from tests.chaos.histories import GLOBEX, plan
from tests.chaos.workload import Action, Verb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.asyncio


class _Lab:
    """Answers the first submission with an equal job, and no other one."""

    def __init__(self) -> None:
        self.submitted: list[str] = []

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

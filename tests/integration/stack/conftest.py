"""One stack for all tests here that can share it. Each begins with a sound one and ends with its history checked.

It ends with the last of them: a stack that waits takes a part of what the tests of other folders run on.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from qgjob import AsyncClient
from tests.fakes import history
from tests.fakes.stack import Stack
from tests.fakes.store_audit import audit

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Two coordinators, two pairs of agents."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()


@pytest.fixture
def org() -> str:
    """An org of the test's own. A test that wants several appends to the name."""
    return f"org{next(_numbers)}"


@pytest.fixture
async def stack(shared_stack: Stack, org: str) -> AsyncIterator[Stack]:
    """The shared stack in a sound state. Afterwards every job of the test's orgs has kept the promises."""
    await shared_stack.settle()
    yield shared_stack
    await shared_stack.settle()
    await keeps_promises(shared_stack, org)


async def keeps_promises(stack: Stack, org: str) -> None:
    """Ends what the test left, then checks the history of its orgs and the soundness of the store."""
    with stack.store.client() as raw:
        orgs = sorted(o for o in raw.smembers("qg:f:{fleet}:orgs") if o == org or o.startswith(f"{org}-"))
        await stack.quiet(*orgs)
        async with stack.client() as client:
            await history.check(client, raw, orgs)
        assert audit(raw) == []


@pytest.fixture
async def first(stack: Stack) -> AsyncIterator[AsyncClient]:
    """A client of the first coordinator only."""
    async with stack.client(0) as client:
        yield client


@pytest.fixture
async def second(stack: Stack) -> AsyncIterator[AsyncClient]:
    """A client of the second coordinator only."""
    async with stack.client(1) as client:
        yield client

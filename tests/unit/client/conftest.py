from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from qgjob import AsyncClient
from tests.fakes.coordinator_services import FakeCoordinator, serving


@pytest.fixture
async def fake() -> AsyncIterator[FakeCoordinator]:
    """A coordinator in memory, behind real gRPC on a free port."""
    async with serving() as coordinator:
        yield coordinator


@pytest.fixture
async def client(fake: FakeCoordinator) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fake.address, token="", timeout_seconds=10) as opened:
        yield opened

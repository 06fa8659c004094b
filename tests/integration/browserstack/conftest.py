"""A stand-in for BrowserStack, ended with each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.browserstack.server import BrowserStack


@pytest.fixture
async def cloud() -> AsyncIterator[BrowserStack]:
    server = BrowserStack()
    await server.start()
    yield server
    await server.stop()

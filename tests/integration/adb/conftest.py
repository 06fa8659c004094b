"""A host with an emulator and a phone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.adb_provider import EMULATOR, Host, host, phone
from tests.fakes.adb_server import FakeDevice


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path, FakeDevice(EMULATOR), phone()) as opened:
        yield opened

"""A lab with two specs of the example, and one with test files of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.fakes.appwright_suite import make_sdk, make_suite
from tests.integration.appwright.lab import Lab

MakeLab = Callable[..., Awaitable[Lab]]


@pytest.fixture
async def make_lab(tmp_path: Path) -> AsyncIterator[MakeLab]:
    labs: list[Lab] = []

    async def make(files: dict[str, str] | None = None, *, plain: bool = False) -> Lab:
        lab = Lab(tmp_path, make_suite(tmp_path / "suite", files), make_sdk(tmp_path / "sdk"))
        labs.append(lab)
        lab.plain = plain
        await lab.begin()
        return lab

    yield make
    for lab in labs:
        await lab.end()

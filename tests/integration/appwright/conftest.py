"""A lab with two specs of the example, and one with test files of the test's own."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from qgjob_agent.devices.adb.server import AdbServer
from qgjob_agent.runners.appwright.fits import TRIED_PLAYWRIGHT, Part
from tests.fakes.appwright_packages import TRY_PARTS, TRY_PLAYWRIGHT
from tests.fakes.appwright_suite import make_sdk, make_suite, node_modules
from tests.integration.appwright.lab import OWN_APPIUM, Lab

CONFIG = """import { defineConfig } from "@playwright/test";
export default defineConfig({
  testDir: "./tests", fullyParallel: true, workers: 2, timeout: 0, projects: [{ name: "android" }],
});
"""
"""As AppWright's own defaults have it."""

MakeLab = Callable[..., Awaitable[Lab]]


@pytest.fixture(autouse=True, scope="session")
def packages() -> Path:
    """Skips everything here, before anything is begun, where there is no node."""
    found = node_modules()
    if version := os.environ.get(TRY_PLAYWRIGHT):  # a trial: the version counts as one that has these parts
        assert json.loads((found / "playwright" / "package.json").read_text())["version"] == version
        TRIED_PLAYWRIGHT[version] = frozenset(map(Part, os.environ[TRY_PARTS].split(",")))
    return found


@pytest.fixture
async def make_lab(tmp_path: Path) -> AsyncIterator[MakeLab]:
    labs: list[Lab] = []

    async def make(
        files: dict[str, str] | None = None,
        *,
        plain: bool = False,
        whole: bool = False,
        begin: bool = True,
        adb: AdbServer | None = None,
    ) -> Lab:
        """With `files`, which use no device: Playwright without AppWright and its loader of modules, both of which cost
        each start half a second, unless it is to be the `whole`. With `adb` the agent starts the fake Appium.
        """
        suite = make_suite(tmp_path / "suite", files)
        lab = Lab(tmp_path, suite, make_sdk(tmp_path / "sdk"))
        labs.append(lab)
        if files is not None and not whole:
            (suite / "appwright.config.ts").write_text(CONFIG)
            lab.environ["PW_DISABLE_TS_ESM"] = "1"
        lab.plain = plain
        if adb is not None:
            lab.adb, lab.appium_argv = adb, OWN_APPIUM
        if begin:
            await lab.begin()
        return lab

    yield make
    for lab in labs:
        await lab.end()

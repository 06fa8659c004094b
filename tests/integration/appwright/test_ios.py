"""The example's test files with the real AppWright, on a simulator that a fake Appium stands for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from qgjob_agent.core.values import DeviceFacts, Outcome, Target
from qgjob_agent.devices.app import App
from tests.fakes.appwright_suite import make_sdk, make_suite
from tests.integration.appwright.lab import Lab, counts

SIM = DeviceFacts("lab.sim", "1A5B64C2-98E3-4D6F-9E0A-7C3D2B1F5033", Target.EMULATOR, platform="ios")
CONFIG = """
import { defineConfig, Platform } from "appwright";

export default defineConfig({
  projects: [
    {
      name: "ios",
      use: {
        platform: Platform.IOS,
        device: { provider: "emulator", name: "iPhone 15", osVersion: "17.2" },
        buildPath: process.env.QGJOB_BUILD_PATH,
        expectTimeout: 2_000,
      },
    },
  ],
});
"""


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    suite = make_suite(tmp_path / "suite")
    (suite / "appwright.config.ts").write_text(CONFIG)
    made = Lab(tmp_path, suite, make_sdk(tmp_path / "sdk"))
    app = tmp_path / "unpacked" / "Example.app"
    app.mkdir(parents=True)
    made.project, made.app = "ios", App(app, "com.example.app")
    await made.begin()
    yield made
    await made.end()


async def test_files_share_a_process_and_sessions_use_the_installed_app(lab: Lab) -> None:
    assert lab.runner is not None
    lab.runner.start(SIM, [lab.job(f"{x}.spec.ts", device=SIM) for x in ("sign-in", "sign-out")])
    await lab.ended("sign-in", "sign-out")
    told = [lab.told.finished(x) for x in ("sign-in", "sign-out")]
    assert [(x.outcome, x.error) for x in told] == [(Outcome.PASSED, None)] * 2, lab.told.logs
    assert counts(lab) == {SIM.udid: (3, 0, 3, 0)}  # sessions, installs, resets, removals
    first, *others = lab.hub.hub.capabilities
    assert (first["appium:bundleId"], first["appium:automationName"]) == ("com.example.app", "xcuitest")
    assert first["appium:derivedDataPath"] == str(lab.folder / "webdriveragent" / SIM.device_id)
    assert "appium:app" not in first
    assert [each["appium:wdaLocalPort"] for each in others] == [first["appium:wdaLocalPort"]] * 2

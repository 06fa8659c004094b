"""Test files with the real AppWright on sessions of a plan, for which a stand-in of BrowserStack stands."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from qgjob_agent.core.values import DeathCause, DeviceFacts, Outcome
from tests.fakes.browserstack.account import KEY, USER
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.waiting import until
from tests.integration.appwright.conftest import MakeLab
from tests.integration.appwright.lab import Lab
from tests.integration.browserstack.lab import DIGEST, Told, provider_of

SIGN_IN = """import { test, expect } from "appwright";
test("signs in", async ({ device }) => {
  await device.getByText("Sign in", { exact: true }).tap();
  await expect(device.getByText("Welcome back", { exact: true })).toBeVisible();
});
test("is greeted", async ({ device }) => {
  await expect(device.getByText("Hello", { exact: true })).toBeVisible();
});
"""
FAILS = SIGN_IN.replace("Welcome back", "Nothing of the kind")
STAYS = """import { test } from "appwright";
test("stays on", async ({ device }) => {
  for (;;) {
    await device.getByText("Hello", { exact: true }).tap();
    await new Promise((done) => setTimeout(done, 100));
  }
});
"""
SPIES = """import { test } from "appwright";
import fs from "node:fs";
test("looks around", async ({ device }) => {
  const plan = process.env.QGJOB_APPWRIGHT_PLAN;
  const all = JSON.stringify(process.env) + JSON.stringify(process.argv) + fs.readFileSync(plan, "utf8");
  const folder = require("node:path").dirname(plan);
  const files = fs.readdirSync(folder, { recursive: true }).map((name) => `${folder}/${name}`);
  const texts = files.filter((name) => fs.lstatSync(name).isFile()).map((name) => fs.readFileSync(name, "latin1"));
  // Not in one piece: this file is there too.
  for (const secret of [["USER"], ["KEY"]].map((parts) => parts.join(""))) {
    if ((all + texts.join("")).includes(secret)) throw new Error("found it");
  }
});
""".replace('"USER"', f'"{USER[:4]}", "{USER[4:]}"').replace('"KEY"', f'"{KEY[:4]}", "{KEY[4:]}"')


class Cloud:
    """A lab whose devices are sessions of the stand-in."""

    def __init__(self, lab: Lab, server: BrowserStack, devices: list[DeviceFacts], provider: Any) -> None:
        self.lab = lab
        self.server = server
        self.account = server.account
        self.devices = devices
        self.provider = provider

    def start(self, index: int, *tests: str, **fields: Any) -> None:
        device = self.devices[index]
        what = {"build_digest": DIGEST, "build_format": "apk", "build_package": "com.example.app"} | fields
        assert self.lab.runner is not None
        self.lab.runner.start(device, [self.lab.job(test, device=device, **what) for test in tests])


@pytest.fixture
async def cloud(make_lab: MakeLab, tmp_path: Path) -> AsyncIterator[Cloud]:
    server, sink = BrowserStack(), Told()
    await server.start()
    files = {"good.spec.ts": SIGN_IN, "fails.spec.ts": FAILS, "a-stays.spec.ts": STAYS, "spies.spec.ts": SPIES}
    lab = await make_lab(files, whole=True)
    provider = provider_of(server, sink, tmp_path, evidence_seconds=5.0)
    await provider.start()
    await until(lambda: len(provider.devices()) == 2, "the plan's sessions")
    lab.project, lab.cloud = "cloud", provider.cloud
    await lab.begin()
    yield Cloud(lab, server, provider.devices(), provider)
    await lab.end()
    await provider.close()
    await server.stop()


async def test_the_test_files_run_on_sessions_of_the_plan_and_the_build_is_uploaded_once(cloud: Cloud) -> None:
    lab, account = cloud.lab, cloud.account
    cloud.start(0, "good.spec.ts", "spies.spec.ts", number="-1")
    cloud.start(1, "good.spec.ts", "fails.spec.ts", number="-2")
    await lab.ended("good-1", "spies-1", "good-2", "fails-2")
    told = {token: (lab.told.finished(token).outcome, lab.told.finished(token).error) for token in ("good-1", "good-2")}
    assert told == dict.fromkeys(("good-1", "good-2"), (Outcome.PASSED, None))
    assert lab.told.finished("spies-1").outcome is Outcome.PASSED, lab.told.finished("spies-1").error
    failed = lab.told.finished("fails-2")
    assert failed.outcome is Outcome.TEST_FAILED
    assert dict(account.uploads) == {DIGEST: 1}
    assert (account.violations, account.most_at_once, account.running) == (0, 2, 0)
    sessions = list(account.sessions.values())
    names = [each.capabilities["bstack:options"]["sessionName"] for each in sessions]
    assert len(set(names)) == len(names), "each is found by its name"
    first = sessions[0].capabilities
    assert (first["bstack:options"]["deviceName"], first["bstack:options"]["osVersion"]) == ("Google Pixel 8", "14.0")
    assert (first["appium:app"], first["platformName"]) == (account.apps[0]["app_url"], "android")
    await until(lambda: all(each.marked for each in sessions), "the marks of all sessions")
    statuses = {(name.rpartition(",")[0], each.status) for name, each in zip(names, sessions, strict=True)}
    of_fails = "tests/fails.spec.ts (acme~fails-2, attempt 1"
    assert (of_fails, "failed") in statuses
    assert ("tests/good.spec.ts (acme~good-2, attempt 1", "passed") in statuses
    assert {name for name, status in statuses if status == "failed"} == {of_fails}
    assert lab.runner is not None
    run, attempt = lab.runner._attempts["fails-2"]
    files = run.execution.files_of(attempt.index)
    kept = {path.name for path in files.iterdir()}
    names = [f"browserstack{x}{y}" for x in ("", "-2") for y in (".json", "-video.mp4", "-appium.log", "-device.log")]
    assert kept >= set(names)
    assert json.loads((files / "browserstack.json").read_text())["hashed_id"] in account.sessions
    logs = b"".join(lab.told.logs.values()).decode(errors="replace")
    assert USER not in logs
    assert KEY not in logs


async def test_sessions_wait_for_the_plan_and_the_end_of_one_leaves_the_others_alone(cloud: Cloud) -> None:
    lab, account = cloud.lab, cloud.account
    account.control.foreign = 2
    cloud.start(0, "a-stays.spec.ts", "good.spec.ts")
    cloud.start(1, "a-stays.spec.ts", number="-2")
    await until(lambda: lab.told.begun("a-stays") and lab.told.begun("a-stays-2"), "the tests' begin")
    looks = account.asked["plan.json"]
    await until(lambda: account.asked["plan.json"] > looks + 3, "some looks at the plan")
    assert not account.sessions
    account.control.foreign = 0
    hub = cloud.server.phones.hub
    await until(lambda: sum(x.clicks > 0 for x in hub.counts.values()) == 2, "both in their sessions")
    (gone,) = account.drop("acme~a-stays,")
    await lab.ended("a-stays", "good")
    dropped = lab.told.finished("a-stays")
    assert dropped.outcome is Outcome.PROVIDER_ERROR, "no fault of the test"
    assert "BrowserStack ended the session: the device was lost" in (dropped.error or "")
    assert lab.told.finished("good").outcome is Outcome.PASSED
    assert account.running == 1, "the other device's session goes on"
    assert lab.runner is not None
    lab.runner.kill("a-stays-2", DeathCause.REVOKED, 1.0)
    await lab.ended("a-stays-2")
    assert lab.told.killed("a-stays-2") == (DeathCause.REVOKED, True)
    await until(lambda: account.running == 0, "the end of its session")
    assert account.sessions[gone].marked == 0
    assert account.violations == 0

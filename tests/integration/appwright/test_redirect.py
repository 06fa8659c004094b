"""What turns AppWright by itself to the stand-in of BrowserStack: it speaks by node's https, and by fetch."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from examples.appwright_demo.cloud import ACCOUNT
from examples.appwright_demo.plain import REDIRECT
from tests.fakes.appwright_suite import make_suite
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.waiting import DEADLINE_SECONDS

SCRIPT = """
const { createDeviceProvider } = require(`${process.cwd()}/node_modules/appwright/dist/providers/index.js`);
(async () => {
  const device = { provider: "browserstack", name: "Google Pixel 8", osVersion: "14.0" };
  const use = { platform: "android", device, buildPath: "build/app.apk", expectTimeout: 2000 };
  const provider = createDeviceProvider({ name: "cloud", use });
  await provider.globalSetup();
  const phone = await provider.getDevice();
  const driver = phone.webdriverClient; // its own words are steps of a test, and this is none
  const find = (text) => driver.findElements("xpath", `//*[@text="${text}"]`);
  await driver.elementClick(Object.values((await find("Sign in"))[0])[0]);
  const shown = (await find("Welcome back")).length;
  await provider.syncTestDetails({ name: "signs in" });
  await provider.syncTestDetails({ status: "passed", reason: "as it should" });
  await driver.deleteSession();
  const video = await (await fetch(provider.sessionDetails.video_url)).text(); // of a host that is not turned
  console.log(JSON.stringify({ shown, bundle: await provider.getAppBundleIdFromSession(), video }));
})();
"""


async def told_by_node(suite: Path, url: str) -> dict[str, Any]:
    """What the script printed last."""
    env = os.environ | ACCOUNT | {"NODE_OPTIONS": f"--require {REDIRECT}", "QGJOB_FAKE_BROWSERSTACK": url}
    process = await asyncio.create_subprocess_exec(
        *("node", "-e", SCRIPT), cwd=suite, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), DEADLINE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    told: dict[str, Any] = json.loads(said.decode().splitlines()[-1])
    return told


async def test_all_that_appwright_says_to_browserstack_reaches_the_stand_in(tmp_path: Path) -> None:
    cloud = BrowserStack()
    await cloud.start()
    try:
        told = await told_by_node(make_suite(tmp_path / "suite"), cloud.url)
    finally:
        await cloud.stop()
    account = cloud.account
    (session,) = account.sessions.values()
    assert told == {
        "shown": 1,
        "bundle": "app.apk",
        "video": f"the content of /files/{session.session_id}/video.mp4",
    }
    assert account.uploads.total() == 1
    assert (session.capabilities["appium:app"], session.capabilities["bstack:options"]["sessionName"]) == (
        account.apps[0]["app_url"],
        "signs in",
    )
    assert (session.status, session.reason, session.marked) == ("passed", "as it should", 1)
    assert not cloud.phones.hub.sessions, "it was ended"
    assert cloud.heads[0] == "POST /app-automate/upload"
    assert "POST /wd/hub/session" in cloud.heads

"""What a session on iOS is asked for: the device, its own ports and folder, and the app that is installed already."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qgjob_agent.core.values import DeviceFacts, Target
from qgjob_agent.devices.adb.server import AdbServer
from qgjob_agent.runners.appwright.capabilities import capabilities_of
from qgjob_agent.runners.appwright.plan import JS
from qgjob_agent.runners.appwright.ports import ports_of

UDID = "1A5B64C2-98E3-4D6F-9E0A-7C3D2B1F5033"
SIMULATOR = DeviceFacts(f"a1.{UDID}", UDID, Target.EMULATOR, "ios")
NODE = shutil.which("node")
ASK = """
const { Run } = require(process.argv[1]);
const run = new Run(process.argv[2]);
const asked = JSON.parse(process.argv[3]);
console.log(JSON.stringify([run.turned(asked), run.turned(asked)]));
"""


def turned(folder: Path, slot: int, package: str | None, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """What becomes of what AppWright asks, twice: the preload's own code, in node."""
    plan = {
        "attempts": [],
        "events": str(folder / "events"),
        "appium": {"protocol": "http", "hostname": "127.0.0.1", "port": 4800, "path": "/"},
        "udid": UDID,
        "app_package": package,
        "ports": ports_of(slot),
        "capabilities": capabilities_of(replace(SIMULATOR, device_id=f"a1.{slot}"), folder / "wda", AdbServer()),
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    words = ["-e", ASK, str(JS / "preload.cjs"), str(folder / "plan.json"), json.dumps(asked)]
    assert NODE is not None
    said = subprocess.run([NODE, *words], capture_output=True, check=True, text=True, timeout=60)
    found: list[dict[str, Any]] = json.loads(said.stdout)
    return found


@pytest.mark.skipif(NODE is None, reason="needs the program node")
def test_a_session_uses_the_installed_app_and_what_is_the_devices_own(tmp_path: Path) -> None:
    asked = {
        "port": 4723,
        "capabilities": {
            "platformName": "ios",
            "appium:app": "/builds/Shop.app",
            "appium:fullReset": True,
            "appium:udid": "another",
            "appium:deviceName": "iPhone 15",
        },
    }
    used: list[set[object]] = []
    for slot in (0, 1):
        first, second = turned(tmp_path, slot, "com.example.shop", asked)
        assert (first["hostname"], first["port"]) == ("127.0.0.1", 4800)
        got = first["capabilities"]
        assert "appium:app" not in got
        assert (got["appium:udid"], got["appium:bundleId"]) == (UDID, "com.example.shop")
        assert (got["appium:fullReset"], got["appium:noReset"]) == (False, False)
        assert got == second["capabilities"]  # on the same port WebDriverAgent is used again
        used.append({got["appium:wdaLocalPort"], got["appium:mjpegServerPort"], got["appium:derivedDataPath"]})
    assert [len(each) for each in used] == [3, 3]
    assert not used[0] & used[1]
    got = turned(tmp_path, 0, None, asked)[0]["capabilities"]
    assert (got["appium:app"], got["appium:enforceAppInstall"]) == ("/builds/Shop.app", False)
    events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [each["installs"] for each in events] == [False] * 4 + [True] * 2


def test_only_ios_has_a_folder_for_webdriveragent(tmp_path: Path) -> None:
    phone, server = DeviceFacts("a1.R5", "R5", Target.DEVICE, "android"), AdbServer()
    assert capabilities_of(phone, tmp_path, server) == {}
    assert capabilities_of(SIMULATOR, None, server) == {}
    assert capabilities_of(SIMULATOR, tmp_path, server) == {"appium:derivedDataPath": str(tmp_path / f"a1.{UDID}")}


@pytest.mark.parametrize(("package", "said"), [("com.example.shop", "com.example.shop"), (None, "id of app x")])
def test_the_id_of_the_app_is_that_of_the_installed_build(tmp_path: Path, package: str | None, said: str) -> None:
    """macOS is asked only where the agent does not know it."""
    real = tmp_path / "osascript"
    real.write_text('#!/bin/sh\necho "$2"\n')
    real.chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "QGJOB_APPWRIGHT_PATH": f"{tmp_path}:{os.environ['PATH']}"}
    if package is not None:
        environ["QGJOB_APP_PACKAGE"] = package
    words = [str(JS / "shims" / "osascript"), "-e", "id of app x"]
    assert subprocess.run(words, env=environ, capture_output=True, check=True, text=True).stdout == f"{said}\n"

"""AppWright by itself, on one of the same emulators: with the shims without which it does not run here, and no more."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.appwright_demo.fakes import Program, appium_words
from qgjob_agent.runners.appwright.appium import PLAIN_PORT
from qgjob_agent.runners.appwright.plan import JS

if TYPE_CHECKING:
    from pathlib import Path

    from examples.appwright_demo.fakes import AdbServer, Sizes
    from examples.appwright_demo.suite import Project


class PlainError(Exception):
    """AppWright by itself did not run."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What it did. `failed` are tests that did not pass."""

    tests: int
    failed: int
    installs: int
    wall_seconds: float


async def run_plain(folder: Path, sizes: Sizes, adb: AdbServer, project: Project, build: Path) -> Plain:
    """All files of the project on the first emulator. Raises PlainError."""
    report = folder / "plain.json"
    serial = "emulator-5554"
    env = os.environ | {
        "PATH": f"{JS / 'shims'}:{os.environ['PATH']}",
        "QGJOB_APPWRIGHT_PATH": os.environ["PATH"],
        "ANDROID_HOME": str(project.sdk),
        "QGJOB_UDID": serial,
        "QGJOB_BUILD_PATH": str(build),
        "PLAYWRIGHT_JSON_OUTPUT_NAME": str(report),
    }
    env.pop("CI", None)  # AppWright would try failed tests again
    cli = project.suite / "node_modules" / "playwright" / "cli.js"
    words = ["node", str(cli), "test", "--config", "appwright.config.ts", "--project", "android"]
    words += ["--workers", "1", "--reporter", "json"]
    before = adb.installs()
    async with Program(*appium_words(sizes, adb.control, str(PLAIN_PORT))) as appium:
        if not appium.said:
            raise PlainError(f"its Appium needs port {PLAIN_PORT}, the one that AppWright knows: end what uses it")
        begun = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *words, cwd=project.suite, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        wall_seconds = time.monotonic() - begun
    if not report.exists():
        raise PlainError(f"AppWright left no report; it said: {output.decode(errors='replace')[-2000:]}")
    stats = json.loads(report.read_text("utf-8"))["stats"]
    failed = stats["unexpected"] + stats["flaky"] + stats["skipped"]
    return Plain(stats["expected"] + failed, failed, (adb.installs() - before).total(), wall_seconds)

"""AppWright by itself, on the same stand-ins: with what it needs to run here at all, and no more."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from examples.appwright_demo.cloud import ACCOUNT, RUNS, SESSIONS
from examples.appwright_demo.fakes import ROOT, Program, appium_words
from qgjob_agent.runners.appwright.appium import PLAIN_PORT
from qgjob_agent.runners.appwright.plan import JS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from examples.appwright_demo.cloud import Cloud
    from examples.appwright_demo.fakes import AdbServer, Sizes
    from examples.appwright_demo.suite import Project

REDIRECT = ROOT / "tests" / "fakes" / "browserstack" / "redirect.cjs"


class PlainError(Exception):
    """AppWright by itself did not run."""


@dataclass(frozen=True, slots=True)
class Plain:
    """What it did. `failed` are tests that did not pass; to a cloud the app is uploaded instead of installed."""

    tests: int
    failed: int
    installs: int
    wall_seconds: float


async def plain_on_emulator(folder: Path, sizes: Sizes, adb: AdbServer, project: Project, build: Path) -> Plain:
    """All files of the project on the first emulator. Raises PlainError."""
    env = {
        "PATH": f"{JS / 'shims'}:{os.environ['PATH']}",
        "QGJOB_APPWRIGHT_PATH": os.environ["PATH"],
        "ANDROID_HOME": str(project.sdk),
        "QGJOB_UDID": "emulator-5554",
        "QGJOB_BUILD_PATH": str(build),
    }
    before = adb.installs()
    async with Program(*appium_words(sizes, adb.control, str(PLAIN_PORT))) as appium:
        if not appium.said:
            raise PlainError(f"its Appium needs port {PLAIN_PORT}, the one that AppWright knows: end what uses it")
        tests, failed, seconds = await _playwright(folder / "plain", project, "android", env)
    return Plain(tests, failed, (adb.installs() - before).total(), seconds)


async def plain_in_cloud(folder: Path, cloud: Cloud, project: Project, build: Path, test_paths: Sequence[str]) -> Plain:
    """Some files of the project on all sessions of the plan, once for each of the runs. Raises PlainError."""
    env = ACCOUNT | {
        "NODE_OPTIONS": f"--require {REDIRECT}",
        "QGJOB_FAKE_BROWSERSTACK": cloud.url,
        "QGJOB_BUILD_PATH": str(build),
    }
    runs = [
        await _playwright(folder / f"plain-cloud-{run}", project, "cloud", env, test_paths, workers=SESSIONS)
        for run in range(RUNS)
    ]
    tests, failed, seconds = (sum(each) for each in zip(*runs, strict=True))
    return Plain(int(tests), int(failed), cloud.account.uploads.total(), seconds)


async def _playwright(
    output: Path, project: Project, name: str, environ: dict[str, str], test_paths: Sequence[str] = (), workers: int = 1
) -> tuple[int, int, float]:
    """How many tests there were, how many of them did not pass, and how many seconds all took."""
    report = output / "report.json"
    env = os.environ | environ | {"PLAYWRIGHT_JSON_OUTPUT_NAME": str(report)}
    env.pop("CI", None)  # AppWright would try failed tests again
    cli = project.suite / "node_modules" / "playwright" / "cli.js"
    words = ["node", str(cli), "test", *(f"{re.escape(path)}$" for path in test_paths)]
    words += ["--config", "appwright.config.ts", "--project", name, "--output", str(output / "results")]
    words += ["--workers", str(workers), "--reporter", "json"]
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *words, cwd=project.suite, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    seconds = time.monotonic() - begun
    if not report.exists():
        raise PlainError(f"AppWright left no report; it said: {said.decode(errors='replace')[-2000:]}")
    stats: dict[str, Any] = json.loads(report.read_text("utf-8"))["stats"]
    failed = stats["unexpected"] + stats["flaky"] + stats["skipped"]
    return stats["expected"] + failed, failed, seconds

"""Which project of its suite and which Appium the AppWright runner gives a run, with a program that stands for node."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from qgjob_agent.core.events import AttemptStarted
from qgjob_agent.core.values import DeviceFacts, Outcome, Target
from qgjob_agent.devices.adb.server import AdbServer
from qgjob_agent.executions import names
from qgjob_agent.runners.appwright.projects import Projects
from qgjob_agent.runners.appwright.run import PLAN_FILE
from tests.fakes.waiting import until
from tests.unit.agent.test_appwright_runner import DEVICE, Bench, idle
from tests.unit.agent.test_appwright_versions import suite as packages

ROOT = Path(__file__).parents[3]
OTHER = DeviceFacts("d2", "emulator-5556", Target.EMULATOR, platform="android")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "suite").mkdir()
    return Bench(tmp_path)


async def test_devices_of_one_host_run_the_projects_of_their_kinds(bench: Bench) -> None:
    runner = bench.runner(projects=Projects("others", {"android": "phones", "simulator": "sims"}))
    devices = {
        "a": DEVICE,
        "b": DeviceFacts("d2", "4B1D", Target.EMULATOR, platform="ios"),
        "c": DeviceFacts("d3", "0000-1", Target.DEVICE, platform="ios"),
    }
    for token, device in devices.items():
        runner.start(device, [replace(bench.job(token), device_id=device.device_id, target=device.target)])
    assert {outcome for outcome, _ in await bench.outcomes(*devices)} == {Outcome.PASSED}
    told = {}
    for path in (bench.folder / "runs").iterdir():
        plan, argv = json.loads((path / PLAN_FILE).read_text()), json.loads((path / names.SPEC).read_text())["argv"]
        told[plan["udid"]] = (plan["project"], argv[argv.index("--project") + 1])
    await idle(runner)
    assert told == {"emulator-5554": ("phones", "phones"), "4B1D": ("sims", "sims"), "0000-1": ("others", "others")}


async def test_a_device_that_no_project_is_named_for_has_a_verdict_that_says_so(bench: Bench) -> None:
    runner = bench.runner(projects=Projects("", {"ios": "sims"}))
    runner.start(DEVICE, [bench.job("a")])
    (verdict,) = await bench.outcomes("a")
    assert verdict == (
        Outcome.PROVIDER_ERROR,
        "no project of the suite is named for d1 (android); see [appwright.projects] in agent.toml",
    )
    await idle(runner)


async def test_an_appium_of_other_settings_goes_on_for_as_long_as_a_test_has_it(bench: Bench) -> None:
    """The agent was started again with other settings, and a test outlived it."""
    bench.suite = packages(bench.folder / "other")
    words = ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.fakes.appium", "--port", "{port}")
    bench.appium_argv = words
    over = bench.folder / "over"
    runner = bench.runner()
    runner.start(DEVICE, [bench.job("a", json.dumps({"until": str(over)}))])
    await until(lambda: any(isinstance(x, AttemptStarted) for x in bench.events), "the test")
    children = [bench.appium._process, *(run.execution.process for line in runner._lines.values() for run in line)]
    await runner.close()
    bench.appium_argv = (*words, "--install-seconds=0")
    runner = bench.runner()
    try:
        assert [each.assignment.token for each in (await runner.recover(set())).attempts] == ["a"]
        runner.start(OTHER, [bench.job("b")])
        assert await bench.outcomes("b") == [(Outcome.PASSED, "")]
        assert bench.appium.starts == 0
        over.touch()
        await bench.outcomes("a")
        await until(lambda: not any(runner._lines.values()), "the end of all runs")
        runner.start(OTHER, [bench.job("c")])
        assert await bench.outcomes("c") == [(Outcome.PASSED, "")]
        assert bench.appium.starts == 1
        await idle(runner)
    finally:
        over.touch()
        await bench.appium._stop()
        for child in children:  # of the daemon that has died
            assert child is not None
            await asyncio.to_thread(child.wait, 20)


@pytest.mark.parametrize("written", ["{}", "[]", '{"attempts": 7}', "[" * 100_000], ids=lambda text: text[:20])
async def test_a_plan_that_a_test_has_overwritten_ends_no_agent(bench: Bench, written: str) -> None:
    runner, over = bench.runner(), bench.folder / "over"
    runner.start(DEVICE, [bench.job("a", json.dumps({"until": str(over)}))])
    await until(lambda: any(isinstance(x, AttemptStarted) for x in bench.events), "the test")
    (path,) = (bench.folder / "runs").iterdir()
    (path / PLAN_FILE).write_text(written)
    runner.start(DEVICE, [bench.job("b")])
    over.touch()
    assert await bench.outcomes("a", "b") == [(Outcome.PASSED, "")] * 2
    await idle(runner)


@pytest.mark.parametrize(("port", "told"), [(5037, []), (6000, [{"appium:adbPort": 6000}])])
async def test_plain_mode_with_an_appium_of_others_tells_once_what_that_has_to_know(
    bench: Bench, port: int, told: list[dict[str, Any]]
) -> None:
    bench.suite = packages(bench.folder / "other")
    bench.appium_url = "http://127.0.0.1:1"
    with structlog.testing.capture_logs() as log:
        runner = bench.runner(plain=True, adb=AdbServer(port=port))
        runner.start(DEVICE, [bench.job("a"), bench.job("b")])
        await bench.outcomes("a", "b")
        await idle(runner)
    assert [each["wanted"] for each in log if each["event"] == "appwright_plain_adb"] == told

"""The whole product with the real AppWright: a coordinator, an agent with two emulators, its own Appium (a fake)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil

from qgjob import FINAL_STATUSES, JobSpec
from tests.fakes.appwright_suite import EXAMPLE, make_sdk, make_suite
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import reach

ROOT = Path(__file__).parents[3]
FILES = 10


def counts(port: int) -> dict[str, Any]:
    with urlopen(f"http://127.0.0.1:{port}/_fake/counts") as answer:
        told: dict[str, Any] = json.load(answer)
    return told


def end_appium(memory: Path) -> None:
    """The agent has kept it for its next life, which does not come."""
    if memory.exists():
        appium = psutil.Process(json.loads(memory.read_text())["pid"])
        appium.kill()
        appium.wait()


async def test_files_of_a_group_run_on_two_emulators_and_an_agents_death_costs_none_of_them(
    tmp_path: Path,
) -> None:
    text = (EXAMPLE / "tests" / "sign-in.spec.ts").read_text()
    suite = make_suite(tmp_path / "suite", {f"f{number}.spec.ts": text for number in range(FILES)})
    settings = {
        "APPWRIGHT_SUITE_DIR": suite,
        "APPWRIGHT_PROJECT": "android",
        "APPWRIGHT_ATTEMPTS_PER_RUN": 4,
        "APPWRIGHT_APPIUM": json.dumps([sys.executable, "-m", "tests.fakes.appium", "--port", "{port}"]),
        "APPWRIGHT_ENV_ALLOW": "PATH,HOME,PYTHONPATH,ANDROID_HOME",
        "PYTHONPATH": ":".join(str(ROOT / part) for part in ("", "agent", "proto/generated")),
        "ANDROID_HOME": make_sdk(tmp_path / "sdk"),
    }
    plan = AgentPlan("aw-1", 2, "emulator", runner="appwright", settings=settings)
    stack = Stack(tmp_path / "stack", coordinators=1, agents=[plan], times=PATIENT)
    memory = tmp_path / "stack" / "aw-1" / "state" / "appium.json"
    try:
        await stack.start()
        async with stack.client() as client:
            specs = [JobSpec("acme", "1.0", f"tests/f{number}.spec.ts", target="emulator") for number in range(FILES)]
            jobs = [job.job_id for job in await client.submit_many(specs)]
            await until(memory.exists, "the agent's Appium")
            await stack.agents["aw-1"].says("appium_started")
            port = json.loads(memory.read_text())["port"]
            await until(lambda: sum(x["sessions"] for x in counts(port)["devices"].values()) >= 3, "some tests")
            stack.agents["aw-1"].kill()
            stack.agents["aw-1"].start()
            ended = [await reach(client, job, *FINAL_STATUSES, seconds=120.0) for job in jobs]
        assert [(job.status, len(job.attempts)) for job in ended] == [("completed", 1)] * FILES
        told = counts(json.loads(memory.read_text())["port"])
        assert json.loads(memory.read_text())["port"] == port  # the next daemon found the same Appium
        assert {udid: x["installs"] for udid, x in told["devices"].items()} == {"aw-1-1": 0, "aw-1-2": 0}
        assert sum(x["sessions"] for x in told["devices"].values()) == 2 * FILES
        assert told["most_at_once"] == 2
    finally:
        await stack.stop()
        end_appium(memory)

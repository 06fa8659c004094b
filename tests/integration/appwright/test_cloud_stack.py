"""The whole product on a plan that others use too: a coordinator, two agents, the real AppWright, a stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path
from typing import Any

from qgjob import FINAL_STATUSES, JobSpec
from tests.fakes import packages
from tests.fakes.appwright_suite import make_suite
from tests.fakes.browserstack.account import KEY, USER, Account, CloudSession
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import reach

RUNS, FILES = 5, 2
CLICK_SECONDS = 0.5
"""So that a session is to be seen in use."""
AGENTS = ("cloud-1", "cloud-2")
SIGNS_IN = """import { test, expect } from "appwright";
test("signs in", async ({ device }) => {
  await device.getByText("Sign in", { exact: true }).tap();
  await expect(device.getByText("Welcome back", { exact: true })).toBeVisible();
});
"""


async def come_and_go(cloud: BrowserStack) -> None:
    """Somebody else has none, one, or both of the plan's sessions, another number with each few looks at it."""
    account = cloud.account
    for number in itertools.cycle((0, 1, 2, 1)):
        account.control.foreign = number
        looks = account.asked["plan.json"]
        await until(lambda: account.asked["plan.json"] >= looks + 2, "looks at the plan")  # noqa: B023


def session_in_use(account: Account) -> CloudSession | None:
    """One that a test has joined. Where its agent died before that, nobody would know of it and it would stay."""
    sessions = account.sessions.values()
    return next((each for each in sessions if each.status == "running" and each.commands), None)


async def test_five_runs_on_two_agents_are_one_upload_and_no_session_begins_against_a_full_plan(tmp_path: Path) -> None:
    cloud = BrowserStack()
    await cloud.start()
    settings: dict[str, Any] = {
        "APPWRIGHT_SUITE_DIR": make_suite(tmp_path / "suite", {f"f{n}.spec.ts": SIGNS_IN for n in range(RUNS * FILES)}),
        "APPWRIGHT_PROJECT": "cloud",
        "BROWSERSTACK_ENABLED": "true",
        "BROWSERSTACK_USERNAME": USER,
        "BROWSERSTACK_ACCESS_KEY": KEY,
        "BROWSERSTACK_MODEL": "Google Pixel 8",
        "BROWSERSTACK_OS_VERSION": "14.0",
        "BROWSERSTACK_SESSIONS": 1,
        "BROWSERSTACK_API_URL": cloud.url,
        "BROWSERSTACK_HUB_URL": cloud.hub,
        "BROWSERSTACK_LOOK_SECONDS": 0.5,
    }
    plans = [AgentPlan(name, 1, "browserstack", runner="appwright", settings=settings) for name in AGENTS]
    stack = Stack(tmp_path / "stack", coordinators=1, agents=plans, times=PATIENT)
    build = tmp_path / "app.apk"
    build.write_bytes(packages.apk())
    others = asyncio.create_task(come_and_go(cloud))
    account = cloud.account
    try:
        await stack.start()
        async with stack.client() as client:
            await client.push_build("acme", "1.0", build)
            ended = []
            for run in range(RUNS):
                specs = [
                    JobSpec("acme", "1.0", f"tests/f{n}.spec.ts", target="browserstack", run_id=f"run-{run}")
                    for n in range(run * FILES, (run + 1) * FILES)
                ]
                cloud.phones.hub.control.click_seconds = CLICK_SECONDS if run == 2 else 0.0
                jobs = [job.job_id for job in await client.submit_many(specs)]
                if run == 2:
                    used = await until(lambda: session_in_use(account), "a test in its session")
                    (victim,) = (agent for name, agent in stack.agents.items() if name in used.who)
                    victim.kill()
                    victim.start()
                ended += [await reach(client, job, *FINAL_STATUSES, seconds=120.0) for job in jobs]
        assert [(job.status, job.outcome) for job in ended] == [("completed", "passed")] * RUNS * FILES
        assert {job.device_id for job in ended} <= {f"{name}.browserstack-1" for name in AGENTS}
        assert list(account.uploads.values()) == [1]
        assert account.violations == 0
        assert {each.status for each in account.sessions.values()} <= {"passed", "done"}
        written = [path.read_bytes() for path in (tmp_path / "stack").rglob("*") if path.is_file()]
        assert not any(KEY.encode() in text for text in written), "the key lies in no file, logs included"
    finally:
        others.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await others
        await stack.stop()
        await cloud.stop()

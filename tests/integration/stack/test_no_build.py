"""A version that has builds, and none for any device that its jobs may have: `run` ends, and says what to push."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

from qgjob import AsyncClient, Outcome
from tests.fakes import command_line, packages
from tests.fakes.apple_provider import SIM
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.waiting import DEADLINE_SECONDS, until
from tests.fakes.xcrun import SimulatorState, Xcode
from tests.integration.stack.specs import command


async def qgjob(stack: Stack, folder: Path, *arguments: str) -> tuple[int, Any, str]:
    """What a command exits with, prints as JSON, and says beside that."""
    where = ("--org-id=acme", "-o", "json")
    done = await command_line.qgjob(folder, *arguments, *where, QGJOB_COORDINATOR=stack.address(0))
    return done.code, json.loads(done.out), done.err


async def test_a_run_whose_version_has_no_build_for_any_device_ends_and_says_what_to_push(tmp_path: Path) -> None:
    xcode = Xcode(tmp_path / "xcode", SimulatorState(SIM))
    settings = {
        "APPLE_ENABLED": "true",
        "APPLE_PROGRAM": xcode.program,
        "APPLE_MIN_FREE_MB": 0,
        "SIMULATED_GENERATE_COUNT": 0,
    }
    plan = AgentPlan("mac-1", 1, "emulator", runner="command", settings=settings)
    stack = Stack(tmp_path / "stack", coordinators=1, agents=[plan], times=PATIENT, BLOB_URL=str(tmp_path / "blobs"))
    client: AsyncClient

    async def idle() -> bool:
        return [str(d.state) async for d in client.devices()] == ["idle"]

    try:
        await stack.start()
        async with stack.client(0) as client:
            await until(idle, "the simulator is not idle")
            await client.push_build("acme", "v1", packages.write(tmp_path / "shop.apk", packages.apk()))
            tests = [f"--test=tests/{n}.spec.js" for n in range(3)]
            timeout = f"--timeout={DEADLINE_SECONDS:g}s"
            what = ("--app-version-id=v1", "--env=TEST=true")
            code, printed, said = await qgjob(stack, tmp_path, "submit", *what, "--test=alone.spec.js")
            assert code == 0
            assert said.startswith("warning: 1 job waits, and no device can run it (no_resource): app version v1 has")
            code, printed, said = await qgjob(stack, tmp_path, "run", *what, *tests, timeout, "--junit=junit.xml")
            assert code == 20, said
            ends = [(job["status"], job["outcome"], job["error"]["class"], job["attempts"]) for job in printed["jobs"]]
            assert ends == [("failed", "provider_error", "build", [])] * 3
            (message,) = {job["error"]["message"] for job in printed["jobs"]}
            assert message == (
                "no build of v1 was pushed for ios simulator (.app in a .zip), which each device of target emulator "
                "that could serve the job needs; there is one for android (.apk or .aab): push it with "
                "`qgjob builds push FILE.zip --org-id=acme --app-version-id=v1`"
            )
            assert "no_resource: app version v1 has builds, but none for the devices that could serve it" in said
            assert (tmp_path / "junit.xml").read_text(encoding="utf-8").count(html.escape(message)) >= 3

            await client.push_build("acme", "v1", packages.write(tmp_path / "shop.zip", packages.app()))
            again = [(await client.retry(job["job_id"])).job_id for job in printed["jobs"]]
            jobs = await client.wait(again, timeout_seconds=DEADLINE_SECONDS)
            assert [(job.outcome, len(job.attempts)) for job in jobs] == [(Outcome.PASSED, 1)] * 3

            # Nothing was pushed of this one: whether its agent has a build is seen there.
            (job,) = await client.wait(
                [(await client.submit(command("acme", "true", app_version_id="v2", target="emulator"))).job_id],
                timeout_seconds=DEADLINE_SECONDS,
            )
            assert (job.outcome, len(job.attempts)) == (Outcome.PROVIDER_ERROR, 1)
    finally:
        await stack.stop()

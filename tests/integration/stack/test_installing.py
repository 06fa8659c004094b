"""P7 from end to end: builds that are pushed, agents that fetch them, Android devices on which installs are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from qgjob import Artifact, Job, Outcome
from tests.fakes import packages
from tests.fakes.adb_provider import NEEDS_ADB, NO_ADB
from tests.fakes.adb_server import FakeAdbServer, FakeDevice
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, pinned

pytestmark = pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
EMULATORS = ("emulator-5554", "emulator-5556")
SHOP = "com.example.shop"


class Lab:
    """A coordinator, and an agent that has found two emulators."""

    def __init__(self, folder: Path, stack: Stack, adb: FakeAdbServer) -> None:
        self.folder = folder
        self.stack = stack
        self.adb = adb
        self.client = stack.client(0)

    def apk(self, name: str, code: int) -> Path:
        return packages.write(self.folder / f"{name}.apk", packages.apk(package=SHOP, code=code))

    async def push(self, version: str, code: int, *, replace: bool = False) -> str:
        pushed = await self.client.push_build("acme", version, self.apk(f"{version}-{code}", code), replace=replace)
        return pushed.build.digest

    def installs(self) -> Counter[str]:
        """By serial, of all builds."""
        return Counter(
            {serial: sum(n for (s, _, _), n in self.adb.installs.items() if s == serial) for serial in EMULATORS}
        )

    async def run(self, version: str, count: int, script: str = "sleep 0.1") -> list[Job]:
        jobs = [
            await self.client.submit(command("acme", script, app_version_id=version, target="emulator"))
            for _ in range(count)
        ]
        return list(await self.client.wait([job.job_id for job in jobs], timeout_seconds=60))

    async def online(self) -> None:
        """Waits until both emulators are idle."""

        async def idle() -> bool:
            states = [str(d.state) async for d in self.client.devices(agent_id="lab-1")]
            return states == ["idle", "idle"]

        await until(idle, "the emulators are not idle")


@pytest_asyncio.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with FakeAdbServer(*map(FakeDevice, EMULATORS)) as adb:
        settings = {
            "ADB_ENABLED": "true",
            "ADB_PORT": adb.port,
            "SIMULATED_GENERATE_COUNT": 0,
        }
        plan = AgentPlan("lab-1", 2, "emulator", runner="command", settings=settings)
        stack = Stack(
            tmp_path / "stack",
            coordinators=1,
            agents=[plan],
            times=PATIENT,
            BLOB_URL=str(tmp_path / "blobs"),
            GROUP_MAX_DEVICES=2,
        )
        try:
            await stack.start()
            made = Lab(tmp_path, stack, adb)
            async with made.client:
                await made.online()
                yield made
        finally:
            await stack.stop()


def passed(jobs: list[Job]) -> bool:
    return {job.outcome for job in jobs} == {Outcome.PASSED}


async def both_run(lab: Lab, version: str) -> None:
    """A job on each emulator, so that both have the version."""
    jobs = [
        await lab.client.submit(
            command("acme", "true", app_version_id=version, target="emulator", requirements=pinned(f"lab-1.{serial}"))
        )
        for serial in EMULATORS
    ]
    assert passed(list(await lab.client.wait([job.job_id for job in jobs], timeout_seconds=60)))


async def test_p7_a_build_is_installed_once_on_each_device_while_it_stays_there(lab: Lab) -> None:
    await lab.push("v1", 1)
    await both_run(lab, "v1")
    assert passed(await lab.run("v1", 10))
    assert lab.installs() == dict.fromkeys(EMULATORS, 1)
    # Another version: once more each.
    await lab.push("v2", 2)
    await both_run(lab, "v2")
    assert passed(await lab.run("v2", 4))
    assert lab.installs() == dict.fromkeys(EMULATORS, 2)
    # An agent that is started again asks the devices what they have.
    agent = lab.stack.agents["lab-1"]
    await agent.end()
    agent.start()
    await lab.stack.online("lab-1")
    await lab.online()
    assert passed(await lab.run("v2", 4))
    assert lab.installs() == dict.fromkeys(EMULATORS, 2)
    # The same version with other content.
    first, second = await lab.push("v2", 3, replace=True), await lab.push("v2", 3, replace=True)
    assert first == second
    await both_run(lab, "v2")
    assert passed(await lab.run("v2", 4))
    assert lab.installs() == dict.fromkeys(EMULATORS, 3)
    run = [d async for d in lab.client.devices(agent_id="lab-1")]
    assert [d.app_version_id for d in run] == ["v2", "v2"]


async def test_a_version_that_nobody_pushed_fails_at_once_and_says_what_to_push(lab: Lab) -> None:
    (job,) = await lab.run("v9", 1)
    assert (job.status, job.outcome, len(job.attempts)) == ("failed", Outcome.PROVIDER_ERROR, 1)
    assert job.error is not None
    assert job.error.error_class == "build"
    assert "qgjob builds push FILE.apk --org-id=acme --app-version-id=v9" in job.error.message
    assert [str(d.health) async for d in lab.client.devices(agent_id="lab-1")] == ["unknown", "unknown"]  # not bad


async def test_what_hangs_leaves_a_picture_of_its_device(lab: Lab) -> None:
    await lab.push("v1", 1)
    job = await lab.client.submit(
        command("acme", "sleep 60", app_version_id="v1", target="emulator", timeout_seconds=1, max_retries=0)
    )
    (ended,) = await lab.client.wait([job.job_id], timeout_seconds=60)
    assert ended.outcome is Outcome.TIMED_OUT

    async def sent() -> list[bytes]:
        found = lab.client.list_artifacts([job.job_id])
        names = [each.name async for each in found if isinstance(each, Artifact)]
        if "hung.png" not in names:
            return []
        return [b"".join([piece async for piece in lab.client.fetch_artifact(job.job_id, 1, "hung.png")])]

    (picture,) = await until(sent, "no picture came")
    assert picture == lab.adb.devices[EMULATORS[0]].picture

"""Android emulators beside simulators of a Mac: a version of which only an .apk was pushed is not for simulators."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob import AsyncClient, Outcome
from tests.fakes import packages
from tests.fakes.adb_provider import NEEDS_ADB, NO_ADB
from tests.fakes.adb_server import FakeAdbServer, FakeDevice
from tests.fakes.apple_provider import SHOP, SIM
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.waiting import until
from tests.fakes.xcrun import SimulatorState, Xcode
from tests.integration.stack.specs import command, pinned

EMULATOR = "emulator-5554"


@pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
async def test_each_job_goes_where_its_version_has_a_build_and_fails_where_it_has_none(
    tmp_path: Path,
) -> None:
    xcode = Xcode(tmp_path / "xcode", SimulatorState(SIM))
    mac = {"APPLE_ENABLED": "true", "APPLE_PROGRAM": xcode.program, "APPLE_MIN_FREE_MB": 0}
    async with FakeAdbServer(FakeDevice(EMULATOR)) as adb:
        lab = {"ADB_ENABLED": "true", "ADB_PORT": adb.port}
        plans = [
            AgentPlan(name, 1, "emulator", runner="command", settings={**found, "SIMULATED_GENERATE_COUNT": 0})
            for name, found in (("lab-1", lab), ("mac-1", mac))
        ]
        stack = Stack(tmp_path / "stack", coordinators=1, agents=plans, times=PATIENT, BLOB_URL=str(tmp_path / "blobs"))
        try:
            await stack.start()
            async with stack.client(0) as client:
                await _scene(client, xcode, tmp_path)
        finally:
            await stack.stop()


async def _scene(client: AsyncClient, xcode: Xcode, folder: Path) -> None:
    async def idle() -> bool:
        return {d.device_id: str(d.state) async for d in client.devices()} == dict.fromkeys(devices, "idle")

    devices = (f"lab-1.{EMULATOR}", f"mac-1.{SIM}")
    await until(idle, "the devices are not idle")
    await client.push_build("acme", "v1", packages.write(folder / "shop.apk", packages.apk(package=SHOP)))
    specs = [command("acme", "true", app_version_id="v1", target="emulator") for _ in range(6)]
    ids = [job.job_id for job in await client.submit_many(specs)]
    jobs = await client.wait(ids, timeout_seconds=60)
    assert [(job.outcome, job.device_id, len(job.attempts)) for job in jobs] == [(Outcome.PASSED, devices[0], 1)] * 6
    assert not xcode.installs()

    # Only the simulator would do: the job fails, says what to push, and passes when that is there.
    spec = command("acme", "true", app_version_id="v1", target="emulator", requirements=pinned(devices[1]))
    pinned_to_it = await client.submit(spec)
    (job,) = await client.wait([pinned_to_it.job_id], timeout_seconds=60)
    assert (job.outcome, len(job.attempts)) == (Outcome.PROVIDER_ERROR, 0)
    assert job.error is not None
    assert job.error.error_class == "build"
    assert job.error.message.startswith("no build of v1 was pushed for ios simulator (.app in a .zip), ")
    explained = await client.explain(job.job_id)
    (simulator,) = [d for d in explained.devices if d.device_id == devices[1]]
    assert (simulator.unmet, simulator.message) == (
        ("build",),
        "there is no build for ios simulator (.app in a .zip): push one",
    )
    await client.push_build("acme", "v1", packages.write(folder / "shop.zip", packages.app()))
    await client.retry(job.job_id)
    (job,) = await client.wait([job.job_id], timeout_seconds=60)
    assert (job.outcome, job.device_id, len(job.attempts)) == (Outcome.PASSED, devices[1], 1)

    # Of a version of which nothing was pushed each device is asked, as an agent may have builds of its own.
    failed = await client.submit(command("acme", "true", app_version_id="v2", target="emulator"))
    (job,) = await client.wait([failed.job_id], timeout_seconds=60)
    assert (job.outcome, len(job.attempts)) == (Outcome.PROVIDER_ERROR, 1)

"""A Mac in the fleet, on a stand-in of Xcode's programs: simulators and an iPhone, each with the build that fits it."""

from __future__ import annotations

from pathlib import Path

from qgjob import AsyncClient, Job, Outcome, Requirements
from tests.fakes import packages
from tests.fakes.apple_provider import OTHER, PHONE, SHOP, SIM
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.waiting import until
from tests.fakes.xcrun import PhoneState, SimulatorState, Xcode
from tests.integration.stack.specs import command

DEVICES = {f"mac-1.{udid}" for udid in (SIM, OTHER, PHONE)}


async def test_each_device_gets_the_build_that_is_for_it_once_also_across_a_restart(tmp_path: Path) -> None:
    booted, down = SimulatorState(SIM), SimulatorState(OTHER, "iPhone 15 (2)", "Shutdown")
    xcode = Xcode(tmp_path / "xcode", booted, down, PhoneState(PHONE))
    settings = {
        "APPLE_ENABLED": "true",
        "APPLE_PHYSICAL": "true",
        "APPLE_UDIDS": f"{SIM},{OTHER},{PHONE}",
        "APPLE_PROGRAM": xcode.program,
        "APPLE_MIN_FREE_MB": 0,
        "SIMULATED_GENERATE_COUNT": 0,
    }
    plan = AgentPlan("mac-1", 3, "emulator", runner="command", settings=settings)
    blobs = str(tmp_path / "blobs")
    stack = Stack(tmp_path / "stack", coordinators=1, agents=[plan], times=PATIENT, BLOB_URL=blobs, GROUP_MAX_DEVICES=2)
    client: AsyncClient

    async def push(version: str, name: str, data: bytes) -> None:
        await client.push_build("acme", version, packages.write(tmp_path / name, data))

    async def run(version: str, *devices: str) -> list[Job]:
        specs = [
            command(
                "acme",
                "true",
                app_version_id=version,
                target="device" if device == PHONE else "emulator",
                requirements=Requirements(device_id=f"mac-1.{device}", platform="ios"),
            )
            for device in devices
        ]
        ids = [job.job_id for job in await client.submit_many(specs)]
        return list(await client.wait(ids, timeout_seconds=60))

    async def idle() -> bool:
        found = {d.device_id: str(d.state) async for d in client.devices(agent_id="mac-1")}
        return found == dict.fromkeys(DEVICES, "idle")

    try:
        await stack.start()
        async with stack.client(0) as client:
            await until(idle, "the Mac's devices are not idle")
            await push("v1", "shop.zip", packages.app())
            await push("v1", "shop.ipa", packages.ipa())
            jobs = await run("v1", SIM, OTHER, PHONE, SIM, OTHER, PHONE)
            assert {job.outcome for job in jobs} == {Outcome.PASSED}, [job.error for job in jobs]
            once = {(SIM, SHOP): 1, (OTHER, SHOP): 1, (PHONE, SHOP): 1}
            assert xcode.installs() == once
            agent = stack.agents["mac-1"]
            await agent.end()
            agent.start()
            await stack.online("mac-1")
            await until(idle, "the Mac's devices are not idle again")
            assert {job.outcome for job in await run("v1", SIM, OTHER, PHONE)} == {Outcome.PASSED}
            assert xcode.installs() == once
            (job,) = await run("v2", SIM)  # nothing was pushed: whether the agent has a build is seen there
            assert (job.outcome, len(job.attempts)) == (Outcome.PROVIDER_ERROR, 1)
            assert job.error is not None
            assert job.error.error_class == "build"
            assert "no build of v2 was pushed for ios simulator (.app in a .zip)" in job.error.message
            assert xcode.installs() == once
    finally:
        await stack.stop()

"""An agent whose disk is full, seen by people: its devices say why they get nothing, and what waited runs elsewhere."""

from __future__ import annotations

from pathlib import Path

from qgjob import AsyncClient, DeviceHealth, Outcome, PendingCode
from tests.fakes.small_disk import MB, small_disk
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.waiting import until
from tests.integration.stack.conftest import keeps_promises
from tests.integration.stack.specs import command, holding, pids, pinned, reach, running

WHY = "the agent's disk is full: 1 MB are free, and it takes work again from 6 MB"


async def device_says(client: AsyncClient, device_id: str, health: DeviceHealth) -> str | None:
    """The device's reason when it is of this health."""

    async def look() -> tuple[str | None] | None:
        async for device in client.devices():
            if device.device_id == device_id and device.health is health:
                return (device.reason,)
        return None

    (reason,) = await until(look, f"{device_id} is not {health}")
    return reason


async def test_p1_a_full_disk_holds_its_devices_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small") as disk:
        full = AgentPlan("full", 1, "device", runner="command", settings={"STATE_DIR": disk.path, "MIN_FREE_MB": 4})
        roomy = AgentPlan("roomy", 1, "device", runner="command")
        stack = Stack(tmp_path / "stack", coordinators=1, agents=(full, roomy), times=PATIENT)
        await stack.start()
        try:
            async with stack.client() as client:
                hold = tmp_path / "hold"
                hold.mkdir()
                await client.drain(agent_id="roomy")
                # The second one may be given to the same device ahead of time.
                first = await client.submit(command("acme", holding(hold), requirements=pinned("full-1")))
                await pids(hold)
                await running(client, first.job_id)
                ahead = await client.submit(command("acme", "exit 0"))

                disk.fill(leave=3 * MB // 2)
                assert await device_says(client, "full-1", DeviceHealth.BAD) == WHY
                waits = await client.submit(command("acme", "exit 0", requirements=pinned("full-1")))

                async def reason() -> bool:
                    pending = (await client.get(waits.job_id)).pending_reason
                    return pending is not None and pending.code is PendingCode.QUARANTINED

                await until(reason, "the waiting job is not told")
                (device,) = [d for d in (await client.explain(waits.job_id)).devices if d.device_id == "full-1"]
                assert device.message == f"is in bad health: {WHY}"

                await client.resume(agent_id="roomy")
                (done,) = await client.wait(ahead.job_id, timeout_seconds=20)
                assert (done.device_id, done.outcome, done.retry_count) == ("roomy-1", Outcome.PASSED, 0)
                (hold / "go").touch()
                (done,) = await client.wait(first.job_id, timeout_seconds=20)
                assert (done.outcome, len(done.attempts)) == (Outcome.PASSED, 1)
                assert not (await reach(client, waits.job_id, "queued")).attempts

                disk.clear()
                await device_says(client, "full-1", DeviceHealth.GOOD)
                (done,) = await client.wait(waits.job_id, timeout_seconds=20)
                assert (done.device_id, done.outcome, len(done.attempts)) == ("full-1", Outcome.PASSED, 1)
            await keeps_promises(stack, "acme")
        finally:
            await stack.stop()

"""What operators say holds: when the call returns, when its hint is lost, and when a host is replaced."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from qgjob import AsyncClient, ConflictError, Device, DeviceHealth, DeviceState, InvalidError, JobStatus, PendingCode
from qgjob_coordinator.model.enums import HoldKind
from qgjob_coordinator.model.fleet import Hold
from qgjob_coordinator.store.store import Store
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import fleet_pb2, fleet_pb2_grpc
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.raw_agent import RawAgent, now_ms
from tests.fakes.stack import Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import command, pinned, simulated


async def drain(stack: Stack, device_id: str) -> None:
    """One call, whatever it answers."""
    async with grpc.aio.insecure_channel(stack.address(0)) as channel:
        await fleet_pb2_grpc.FleetServiceStub(channel).Drain(fleet_pb2.DrainRequest(device_id=device_id), timeout=10)


async def test_a_drain_that_the_agent_does_not_confirm_says_so(stack: Stack, org: str, first: AsyncClient) -> None:
    """The unstarted attempts of a batch may begin while the agent hangs: only its answer to the recall settles it."""
    async with RawAgent(stack.address(0), f"{org}-raw") as agent:
        await agent.hello()
        device = agent.device_ids[0]
        jobs = await first.submit_many(simulated(org, 8, target="browserstack", requirements=pinned(device)))
        await agent.assigned(1)
        with pytest.raises(grpc.aio.AioRpcError, match="did not confirm") as failed:
            await drain(stack, device)
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        states = {d.device_id: d.state async for d in first.devices()}
        assert states[device] is DeviceState.DRAINING

        asked = agent.all("recall")[-1]
        again = asyncio.create_task(drain(stack, device))
        await until(lambda: len(agent.all("recall")) > 1, "no second recall")
        for recall in (asked, agent.all("recall")[-1]):
            await agent.send(recall_answer=pb.RecallAnswer(recall_id=recall.recall_id, released=recall.tokens))
        for token in asked.tokens:
            agent.held.pop(token, None)
        await again
        found = [await first.get(job.job_id) for job in jobs]
        assert {job.status for job in found} == {JobStatus.QUEUED}
        assert all(job.attempts == () for job in found)
        await first.cancel_many(org, statuses=["queued"])


async def test_a_hold_whose_hint_was_lost_is_found_by_the_next_heartbeat(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    """As when the coordinator that stored it died before it told anybody."""
    store = Store(stack.store.url)
    try:
        hold = Hold(HoldKind.DRAINING, "the cable is loose")
        await store.fleet.set_holds("dv", "sim-1-1", {hold.slot: hold}, 0, "untold")
        number = await store.fleet.hold_number()

        async def confirmed() -> bool:
            (row,) = await store.fleet.read(["sim-1"])
            return row.holds_seen >= number

        await until(confirmed, "the session does not follow the hold")
    finally:
        await store.close()
    (job,) = await first.submit_many(simulated(org, 1, requirements=pinned("sim-1-1")))

    async def told() -> bool:
        reason = (await first.get(job.job_id)).pending_reason
        return reason is not None and reason.code is PendingCode.DRAINING

    await until(told, "the job is not told that its device drains")
    await first.resume(device_id="sim-1-1")
    await first.wait(job.job_id, timeout_seconds=20)


async def test_a_device_that_was_away_for_a_moment_is_still_held(stack: Stack, org: str, first: AsyncClient) -> None:
    async with RawAgent(stack.address(0), f"{org}-raw", devices=2) as agent:
        await agent.hello()
        away, other = agent.device_ids
        await drain(stack, away)
        await agent.send(inventory=pb.Inventory(gone=[away]))
        await agent.send(inventory=pb.Inventory(changed=[agent.device(away)]))

        async def back() -> bool:
            return await device(first, away) is DeviceState.DRAINING

        await until(back, "the device does not come back")
        pinned_there, anywhere = await first.submit_many(
            simulated(org, 1, target="browserstack", requirements=pinned(away))
            + simulated(org, 1, target="browserstack", requirements=pinned(other))
        )
        (assigned,) = await agent.assigned(1)
        assert assigned.job_id == anywhere.job_id
        await agent.passes(assigned)
        await first.wait(anywhere.job_id, timeout_seconds=20)
        assert (await first.get(pinned_there.job_id)).status is JobStatus.QUEUED
        await first.cancel(pinned_there.job_id)
        await first.resume(device_id=away)


async def test_a_moment_in_a_persons_hands_does_not_mend_a_device(
    org: str, first: AsyncClient, second: AsyncClient
) -> None:
    held = "cmd-2-1"
    await first.set_device_health(held, "bad", reason="screen is broken")
    await second.reserve(held, until=datetime.now(UTC) + timedelta(seconds=1), reason="a look")
    seen = await found(second, held)
    assert (seen.state, seen.health, seen.reason, seen.until) == (
        DeviceState.RESERVED, DeviceHealth.BAD, "screen is broken", None,
    )  # fmt: skip
    job = await first.submit(command(org, "exit 0", requirements=pinned(held)))

    async def given_back() -> bool:
        return await device(first, held) is DeviceState.IDLE

    await until(given_back, "the reservation does not end")
    other = await first.submit(command(org, "exit 0", requirements=pinned("cmd-2-2")))
    await first.wait(other.job_id, timeout_seconds=20)  # there was a round, and the broken one got nothing
    still = await first.get(job.job_id)
    assert still.pending_reason is not None
    assert still.pending_reason.code is PendingCode.QUARANTINED
    assert (await found(first, held)).health is DeviceHealth.BAD
    await first.resume(device_id=held)
    await first.wait(job.job_id, timeout_seconds=20)


async def test_a_hold_that_is_too_long_names_its_end_and_the_limit(first: AsyncClient) -> None:
    at = datetime.now(UTC) + timedelta(days=400)
    told = f"until: {at:%Y-%m-%d %H:%M} UTC is out of range; give a time to come, at most 366 days ahead"
    with pytest.raises(InvalidError, match=f"^{told}$"):
        await first.reserve("cmd-2-1", until=at)
    with pytest.raises(InvalidError, match="is out of range; give a time to come"):
        await first.drain(device_id="cmd-2-1", until=datetime.now(UTC))
    device_ = await first.reserve("cmd-2-1", until=datetime.now(UTC) + timedelta(days=365))
    assert (device_.state, device_.reason) == (DeviceState.RESERVED, None)
    await first.release("cmd-2-1")


async def test_of_two_people_who_reserve_at_two_coordinators_one_gets_the_device(
    first: AsyncClient, second: AsyncClient
) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    for _ in range(5):
        answers = await asyncio.gather(
            first.reserve("cmd-2-1", until=end, reason="ada debugs"),
            second.reserve("cmd-2-1", until=end, reason="bob shows it"),
            return_exceptions=True,
        )
        (got,) = [a for a in answers if isinstance(a, Device)]
        (refused,) = [a for a in answers if isinstance(a, ConflictError)]
        assert got.reason in ("ada debugs", "bob shows it")
        clock = f"{end:%H:%M} UTC"
        assert (
            f"cmd-2-1 is reserved until {clock}: {got.reason}; if it is yours, extend or release it" in refused.message
        )
        ended = await asyncio.gather(*(client.release("cmd-2-1") for client in (first, second)), return_exceptions=True)
        assert {type(a) for a in ended} == {Device, ConflictError}
    with pytest.raises(ConflictError, match="cmd-2-1 is not reserved"):
        await second.release("cmd-2-1")


async def test_a_reservation_is_extended_at_another_coordinator_without_being_released(
    first: AsyncClient, second: AsyncClient
) -> None:
    soon, later = (datetime.now(UTC).replace(microsecond=0) + timedelta(hours=n) for n in (1, 3))
    await first.reserve("cmd-2-1", until=soon, reason="ada debugs")
    for end in (later, soon):
        device_ = await second.reserve("cmd-2-1", until=end, extend=True)
        assert (device_.state, device_.reason, device_.until) == (DeviceState.RESERVED, "ada debugs", end)
    await first.release("cmd-2-1")
    with pytest.raises(ConflictError, match="cmd-2-1 is not reserved any more; reserve it"):
        await second.reserve("cmd-2-1", until=later, extend=True)
    assert (await found(first, "cmd-2-1")).state is DeviceState.IDLE


async def test_a_reservation_is_not_resumed_and_a_drain_beside_it_is(first: AsyncClient, second: AsyncClient) -> None:
    held = "cmd-2-1"
    await first.reserve(held, until=datetime.now(UTC) + timedelta(hours=1), reason="ada debugs")
    await second.drain(device_id=held, reason="cable", until=datetime.now(UTC) + timedelta(hours=2))
    assert (await found(first, held)).reason == "cable"
    (device_,) = await first.resume(device_id=held)
    assert (device_.state, device_.reason) == (DeviceState.RESERVED, "ada debugs")
    with pytest.raises(ConflictError, match="ada debugs; it is all that keeps it; use release"):
        await second.resume(device_id=held)
    await second.set_device_health(held, "good")
    assert (await second.release(held)).state is DeviceState.IDLE


async def test_a_drain_of_the_agent_goes_on_beside_a_hold_of_a_device(first: AsyncClient) -> None:
    await first.drain(agent_id="cmd-2", reason="new rack")
    await first.set_device_health("cmd-2-1", "maintenance", reason="battery")
    await first.resume(device_id="cmd-2-1")
    device_ = await found(first, "cmd-2-1")
    assert (device_.state, device_.health, device_.reason) == (DeviceState.DRAINING, DeviceHealth.GOOD, "new rack")
    await first.resume(agent_id="cmd-2")
    assert await device(first, "cmd-2-1") is DeviceState.IDLE


async def test_wear_is_known_in_the_next_session(stack: Stack, org: str, first: AsyncClient) -> None:
    """Of two devices without a build the one goes first that was used less, whoever has counted it."""
    async with RawAgent(stack.address(0), f"{org}-raw", devices=2) as agent:
        one, two = agent.device_ids
        await agent.hello()
        await installs_on(agent, first, org, one)
        await agent.hello()
        await installs_on(agent, first, org, two)


async def installs_on(agent: RawAgent, client: AsyncClient, org: str, device_id: str) -> None:
    """Runs a job, which goes to this device, with an installation that the store counts."""
    (job,) = await client.submit_many(simulated(org, 1, target="browserstack"))
    (assigned,) = await agent.assigned(1)
    assert assigned.device_id == device_id
    done = pb.Installed(
        device_id=device_id, org_id=org, app_version_id="v1", install_ms=1, outcome=types.OUTCOME_PASSED
    )
    await agent.send(installed=done)
    await agent.passes(assigned)
    await client.wait(job.job_id, timeout_seconds=20)

    async def counted() -> bool:
        return {d.device_id: d.installs async for d in client.devices()}[device_id] == 1

    await until(counted, "the installation is not counted")


async def found(client: AsyncClient, device_id: str) -> Device:
    """A device that is there."""
    return {d.device_id: d async for d in client.devices()}[device_id]


async def device(client: AsyncClient, device_id: str) -> DeviceState | None:
    """The state of a device; None where it is not known."""
    return {d.device_id: d.state async for d in client.devices()}.get(device_id)


async def test_a_hold_that_an_inventory_brought_is_applied_and_what_it_takes_back_leaves_its_device(
    stack: Stack, org: str, first: AsyncClient
) -> None:
    """Its hint was lost: the inventory reads it with the new device, and unbegun work on the held one is taken back."""
    store = Store(stack.store.url)
    async with RawAgent(stack.address(0), f"{org}-raw", devices=1) as agent:
        await agent.hello()
        (held,) = agent.device_ids
        jobs = await first.submit_many(simulated(org, 1, target="browserstack", requirements=pinned(held)))
        await agent.assigned(1)
        hold = Hold(HoldKind.DRAINING, "a cable")
        await store.fleet.set_holds("dv", held, {hold.slot: hold}, now_ms(), f"{org}-op")
        await agent.send(inventory=pb.Inventory(changed=[agent.device(f"{org}-raw-9")]))
        await until(lambda: agent.all("recall"), "nothing is taken back")
        recall = agent.all("recall")[-1]
        for token in recall.tokens:
            agent.held.pop(token, None)
        await agent.send(recall_answer=pb.RecallAnswer(recall_id=recall.recall_id, released=recall.tokens))

        async def free() -> bool:
            return {d.device_id: d.current_job_id async for d in first.devices()}[held] is None

        await until(free, "the device keeps a job that was taken back")
        await first.cancel(jobs[0].job_id)
    await store.close()


async def test_another_host_waits_until_a_broken_session_has_timed_out(stack: Stack, org: str) -> None:
    name = f"{org}-raw"
    async with RawAgent(stack.address(0), name) as agent, RawAgent(stack.address(1), name) as other:
        agent.instance_id, other.instance_id = "home-a.1", "home-b.1"
        await agent.hello()
        await agent.leave()  # its stream broke; its trees may run for a while
        refused = await other.refused(epoch=10)
        assert refused.reason == pb.REFUSED_REASON_AGENT_ID_IN_USE

        async def welcome() -> bool:
            return (await other.say_hello()).HasField("welcome")

        await until(welcome, "the other host is never welcome")


async def test_the_same_home_is_taken_at_once(stack: Stack, org: str) -> None:
    """A restarted daemon: its home's lock says that the one before is gone, though nobody has noticed yet."""
    async with RawAgent(stack.address(0), f"{org}-raw") as agent, RawAgent(stack.address(1), f"{org}-raw") as restarted:
        agent.instance_id, restarted.instance_id = "home-a.1", "home-a.2"
        await agent.hello()
        await restarted.hello(epoch=2)

"""What an agent may not say: it is told the field, and nothing of it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qgjob import AsyncClient
from qgjob_agent.core.values import Finished, Outcome, SpooledReport, TestResult
from qgjob_agent.spool import Spool
from qgjob_agent.state_dir import StateDir
from qgjob_coordinator.service.validation import entry
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.agent_process import AgentProcess
from tests.fakes.raw_agent import RawAgent
from tests.fakes.stack import Stack
from tests.fakes.waiting import until
from tests.integration.stack.specs import pinned, simulated

LAST_EPOCH = 2**53 - 1
LONG = "x" * 100_000
TOKEN = "t"  # noqa: S105 - no secret


@pytest.fixture
def agent(stack: Stack, org: str) -> RawAgent:
    return RawAgent(stack.address(0), f"{org}-raw")


@pytest.mark.parametrize("epoch", [0, LAST_EPOCH + 1, 2**63, 2**64 - 1])
async def test_an_epoch_that_the_store_can_t_count_with_is_refused_and_not_kept(agent: RawAgent, epoch: int) -> None:
    async with agent:
        assert await agent.invalid(epoch=epoch) == "epoch"
        await agent.hello(epoch=1)


async def test_the_last_epoch_is_taken_and_the_one_before_it_is_stale(agent: RawAgent) -> None:
    async with agent:
        await agent.hello(epoch=LAST_EPOCH - 1)
        await agent.hello(epoch=LAST_EPOCH)
        refused = await agent.refused(epoch=LAST_EPOCH - 1)
        assert (refused.reason, refused.stored_epoch) == (pb.REFUSED_REASON_STALE_EPOCH, LAST_EPOCH)


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("qgjob-agent-id", "another"),),
        (("qgjob-agent-id", ""),),
        (("qgjob-agent-id", "another"), ("qgjob-agent-id", "a-third")),
    ],
)
async def test_the_metadata_name_the_agent(agent: RawAgent, metadata: tuple[tuple[str, str], ...]) -> None:
    async with agent:
        assert await agent.invalid(metadata=metadata) == "qgjob-agent-id"
        await agent.hello()


async def test_metadata_that_name_the_agent_and_another_are_refused(agent: RawAgent) -> None:
    async with agent:
        named = (("qgjob-agent-id", agent.agent_id), ("qgjob-agent-id", "another"))
        assert await agent.invalid(metadata=named) == "qgjob-agent-id"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"agent_id": "a/b", "metadata": [("qgjob-agent-id", "a/b")]}, "agent_id"),
        ({"host": LONG}, "host"),
        ({"host": "a\nb"}, "host"),
        ({"version": "1" * 256}, "version"),
        ({"instance_id": ""}, "instance_id"),
        ({"instance_id": "i" * 256}, "instance_id"),
        ({"credit": 0}, "credit"),
        ({"held": [pb.HeldAttempt(job_id="a}b~01JZZZZZZZZZZZZZZZZZZZZZZZ", token=TOKEN)]}, "held[0].job_id"),
        ({"devices": [pb.DeviceInfo(device_id=f"d{n}", udid="u", target=1) for n in range(1001)]}, "devices"),
    ],
)
async def test_a_hello_that_breaks_a_rule_names_the_field(
    agent: RawAgent, stack: Stack, changes: dict[str, Any], field: str
) -> None:
    async with agent:
        assert await agent.invalid(**changes) == field
        said = changes.get("agent_id", agent.agent_id)
        line = [e for e in stack.coordinators[0].events("session_refused") if e["agent_id"] == said][-1]
        assert len(str(line)) < 1_000


async def test_an_agent_id_of_any_length_is_logged_cut(agent: RawAgent, stack: Stack) -> None:
    async with agent:
        assert await agent.invalid(agent_id=LONG) == "qgjob-agent-id"
        (line,) = [e for e in stack.coordinators[0].events("session_refused") if e["agent_id"].startswith("xxx")]
        assert len(str(line)) < 1_000


DEVICES: list[tuple[dict[str, Any], str]] = [
    ({"device_id": "a b"}, "device_id"),
    ({"udid": ""}, "udid"),
    ({"udid": "a\x1b[2J"}, "udid"),
    ({"udid": "u" * 256}, "udid"),
    ({"target": 0}, "target"),
    ({"platform": "windows"}, "platform"),
    ({"platform": ""}, "platform"),
    ({"os_version": "??"}, "os_version"),
    ({"model": "a\nb"}, "model"),
    ({"model": "m" * 129}, "model"),
    ({"labels": {"a b": "c"}}, "labels.a b"),
    ({"labels": {"Platform": "ios"}}, "labels.Platform"),
    ({"labels": {"rack": ""}}, "labels.rack"),
    ({"labels": {"rack": "\u202e"}}, "labels.rack"),
    ({"labels": {f"l{n}": "x" for n in range(65)}}, "labels"),
    ({"org_id": "a b", "app_version_id": "v1"}, "org_id"),
    ({"org_id": "a", "app_version_id": "v/1"}, "app_version_id"),
]


@pytest.mark.parametrize(("changes", "field"), DEVICES)
async def test_a_device_that_no_door_takes_is_refused_in_hello_and_inventory(
    agent: RawAgent, first: AsyncClient, changes: dict[str, Any], field: str
) -> None:
    good, other = agent.device(agent.device_ids[0]), agent.device(f"{agent.agent_id}-2")
    named = dict(changes)
    wrong = agent.device(named.pop("device_id", f"{agent.agent_id}-3"), **named)
    async with agent:
        assert await agent.invalid(devices=[good, other, wrong]) == f"devices[2].{field}"
        await agent.hello()
        await agent.send(inventory=pb.Inventory(changed=[other, wrong]))
        refused = await agent.message("refused")
        assert refused.reason == pb.REFUSED_REASON_INVALID
        assert await agent.invalid_field() == f"changed[1].{field}"
    shown = [d.device_id async for d in first.devices(agent_id=agent.agent_id)]
    assert shown == agent.device_ids, "nothing of a refused inventory is kept"


async def test_a_device_s_reason_may_be_what_a_program_printed(agent: RawAgent, first: AsyncClient) -> None:
    printed, line = "adb: \x1b[31mnot\nfound\x1b[0m", "adb:  [31mnot found [0m"
    device_id = agent.device_ids[0]

    async def reason() -> str | None:
        (device,) = [d async for d in first.devices(agent_id=agent.agent_id)]
        return device.reason

    async with agent:
        await agent.hello(devices=[agent.device(device_id, health=types.DEVICE_HEALTH_BAD, reason=printed)])
        assert await reason() == line
        changed = agent.device(device_id, health=types.DEVICE_HEALTH_BAD, reason=LONG)
        await agent.send(inventory=pb.Inventory(changed=[changed]))

        async def cut() -> bool:
            return await reason() == LONG[:497] + "..."

        await until(cut, "the device's reason did not change")


async def test_two_devices_of_one_name_are_refused(agent: RawAgent) -> None:
    async with agent:
        twice = [agent.device(agent.device_ids[0])] * 2
        assert await agent.invalid(devices=twice) == "devices[1].device_id"


async def test_an_inventory_can_t_make_too_many_devices(agent: RawAgent) -> None:
    async with agent:
        await agent.hello(devices=[agent.device(f"{agent.agent_id}-d{n}") for n in range(1000)])
        swap = pb.Inventory(changed=[agent.device(f"{agent.agent_id}-e")], gone=[f"{agent.agent_id}-d0"])
        await agent.send(inventory=swap)
        await agent.send(inventory=pb.Inventory(changed=[agent.device(f"{agent.agent_id}-f")]))
        await agent.message("refused")
        assert await agent.invalid_field() == "changed"


TOO_MUCH = 2**53
JOB = "acme~01JZZZZZZZZZZZZZZZZZZZZZZZ"
MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"heartbeat": pb.Heartbeat(seq=2**64 - 1)}, "seq"),
    ({"heartbeat": pb.Heartbeat(seq=1, held=[pb.HeldAttempt(job_id="a b~c")])}, "held[0].job_id"),
    ({"inventory": pb.Inventory(gone=["a b"])}, "gone[0]"),
    ({"log": pb.LogChunk(job_id=JOB, token=TOKEN, offset=-1)}, "log.offset"),
    ({"log": pb.LogChunk(job_id=JOB, token=TOKEN, offset=TOO_MUCH)}, "log.offset"),
    ({"installed": pb.Installed(device_id="d", org_id="a b", app_version_id="v")}, "installed.org_id"),
    (
        {"installed": pb.Installed(device_id="d", org_id="a", app_version_id="v", install_ms=-1)},
        "installed.install_ms",
    ),
]
REPORTS: list[tuple[dict[str, Any], str]] = [
    ({"report_id": TOO_MUCH, "progress": pb.Progress(percent=1)}, "report_id"),
    ({"job_id": "a}b~c", "progress": pb.Progress(percent=1)}, "job_id"),
    ({"started": pb.Started(started_at_ms=-1)}, "started_at_ms"),
    ({"started": pb.Started(started_at_ms=253_402_300_800_000)}, "started_at_ms"),
    ({"finished": pb.Finished(outcome=types.OUTCOME_PASSED, duration_ms=TOO_MUCH)}, "duration_ms"),
    ({"finished": pb.Finished(outcome=types.OUTCOME_PASSED, install_ms=-5)}, "install_ms"),
    ({"finished": pb.Finished(outcome=types.OUTCOME_CANCELLED)}, "outcome"),
    ({"tree_dead": pb.TreeDead(ended_at_ms=2**62)}, "ended_at_ms"),
    *[
        ({"finished": pb.Finished(outcome=types.OUTCOME_PASSED, result=types.TestResult(**{count: wrong}))}, field)
        for count, wrong, field in [
            ("passed", -5, "result.passed"),
            ("failed", 1_000_001, "result.failed"),
            ("skipped", -1, "result.skipped"),
            ("duration_ms", -1, "result.duration_ms"),
        ]
    ],
]


@pytest.mark.parametrize(("body", "field"), MESSAGES)
async def test_a_message_with_a_number_or_id_out_of_its_range_ends_the_session(
    agent: RawAgent, body: dict[str, Any], field: str
) -> None:
    async with agent:
        await agent.hello()
        await agent.send(**body)
        assert (await agent.message("refused")).reason == pb.REFUSED_REASON_INVALID
        assert await agent.invalid_field() == field
        await agent.hello()


@pytest.mark.parametrize(("wrong", "field"), REPORTS)
async def test_a_report_that_breaks_a_rule_is_told_and_acknowledged_and_the_session_goes_on(
    agent: RawAgent, stack: Stack, org: str, first: AsyncClient, wrong: dict[str, Any], field: str
) -> None:
    async with agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        job_id = wrong.get("job_id", job.job_id)
        report = pb.Report(**({"report_id": 1_000, "job_id": job_id, "token": TOKEN} | wrong))
        await agent.send_reports([report])
        assert await agent.verdict(report.report_id) == "STALE"
        agent_id = agent.agent_id
        (line,) = [e for e in stack.coordinators[0].events("report_refused") if e["agent_id"] == agent_id]
        assert (line["level"], line["job_id"], line["field"]) == ("error", entry("", job_id), f"reports.{field}")
        await agent.passes(a)
        assert (await first.get(job.job_id)).outcome == "passed"
        assert agent.all("refused") == []


async def test_what_comes_with_a_report_that_breaks_a_rule_is_kept(
    agent: RawAgent, org: str, first: AsyncClient
) -> None:
    async with agent:
        await agent.hello()
        await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        good = pb.Report(report_id=1, job_id=a.job_id, token=a.token, progress=pb.Progress(percent=40))
        wrong = pb.Report(report_id=2, job_id=a.job_id, token=a.token, started=pb.Started(started_at_ms=-1))
        await agent.send_reports([wrong, good])
        assert [await agent.verdict(n) for n in (1, 2)] == ["APPLIED", "STALE"]
        await agent.leave()


async def test_an_attempt_whose_result_can_t_be_kept_is_run_again(
    agent: RawAgent, org: str, first: AsyncClient
) -> None:
    async with agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        await agent.start(a)
        assert await agent.verdict(await agent.finish(a, result=types.TestResult(passed=-5))) == "STALE"
        await agent.message("refused")
        await agent.hello()
        (again,) = await agent.assigned(1)
        assert (again.job_id, again.attempt) == (a.job_id, 2)
        await agent.passes(again)
        done = await first.get(job.job_id)
        assert (done.outcome, [x.outcome for x in done.attempts]) == ("passed", ["agent_lost", "passed"])


async def test_an_agent_with_a_result_in_its_spool_that_breaks_a_rule_drops_it_and_works(
    stack: Stack, org: str, first: AsyncClient, tmp_path: Path
) -> None:
    agent_id, device_id = f"{org}-spool", f"{org}-spool.sim-1"
    state = StateDir.open(tmp_path / "state")
    spool = Spool(state.spool)
    wrong = Finished(Outcome.PASSED, 1, 2, 1, TestResult(-5, 0, 0, 1, ""))
    spool.append([SpooledReport(7, JOB, TOKEN, 1, device_id, wrong)])
    spool.close()
    state.close()
    settings = {"AGENT_ID": agent_id, "SIMULATED_GENERATE_COUNT": 1}
    async with AgentProcess(tmp_path, QGJOB_COORDINATOR=stack.address(0), **settings) as agent:
        await agent.says("result_not_taken")
        await until(lambda: state.spool.stat().st_size == 0, "the result is still in the spool")
        (job,) = await first.submit_many(simulated(org, requirements=pinned(device_id)))
        (done,) = await first.wait(job.job_id, timeout_seconds=20)
        assert (done.outcome, done.agent_id) == ("passed", agent_id)
        assert agent.said().count("session_opened") == 1
        (line,) = [e for e in stack.coordinators[0].events("report_refused") if e["agent_id"] == agent_id]
        assert (line["job_id"], line["field"]) == (JOB, "reports.result.passed")


async def test_an_attempt_goes_on_after_a_session_that_was_refused(
    agent: RawAgent, org: str, first: AsyncClient
) -> None:
    async with agent:
        await agent.hello()
        (job,) = await first.submit_many(simulated(org, target="browserstack"))
        (a,) = await agent.assigned(1)
        await agent.send(inventory=pb.Inventory(changed=[agent.device("a b")]))
        await agent.message("refused")
        await agent.hello()
        await agent.passes(a)
        assert (await first.get(job.job_id)).outcome == "passed"

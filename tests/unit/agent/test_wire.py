"""Every word of the core has its word on the stream, and the other way round."""

from __future__ import annotations

import typing
from dataclasses import replace

import pytest

from qgjob_agent.clock import wall_ms
from qgjob_agent.core import events, instructions
from qgjob_agent.core.leases import Lease
from qgjob_agent.core.outbox import Report
from qgjob_agent.core.values import (
    AgentFacts,
    DeathCause,
    DeviceFacts,
    DeviceView,
    Finished,
    Health,
    HeldAttempt,
    Installation,
    Outcome,
    Phase,
    Progress,
    Started,
    Target,
    TestResult,
    TreeDead,
    Verdict,
)
from qgjob_agent.stream import wire, wire_down
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types
from tests.fakes.agent_core import assignment

VIEW = DeviceView(
    DeviceFacts("d1", "u1", Target.DEVICE, "ios", "17.4", "iPhone", {"rack": "a"}), ("acme", "v1"), Health.BAD, "why"
)


def test_every_message_up_has_a_writer() -> None:
    sends = {kind for kind in typing.get_args(instructions.Instruction) if kind.__name__.startswith("Send")}
    assert set(wire.UP) == sends


def test_every_message_down_is_read() -> None:
    bodies = {field.name for field in pb.ConnectResponse.DESCRIPTOR.oneofs_by_name["body"].fields}
    assert set(wire_down._DOWN) == bodies - {"refused"}  # the session itself reads refusals


@pytest.mark.parametrize(
    ("words", "table"),
    [(Target, "_TARGET_TO_PB"), (Health, "_HEALTH"), (Outcome, "_OUTCOME"), (Phase, "_PHASE"), (DeathCause, "_CAUSE")],
)
def test_every_word_has_a_number(words: type, table: str) -> None:
    numbers = getattr(wire, table)
    assert set(numbers) == set(words)
    assert 0 not in numbers.values()


def test_hello() -> None:
    held = [HeldAttempt("acme~1", "t1", 2, Phase.DYING, "d1")]
    told = instructions.SendHello(7, AgentFacts("a", "i", "1.2", "h"), [VIEW], held, 40)
    message = wire.hello(told)
    hello = message.hello
    assert (message.epoch, hello.protocol_version, hello.credit) == (7, wire.PROTOCOL_VERSION, 40)
    assert (hello.agent_id, hello.instance_id, hello.version, hello.host) == ("a", "i", "1.2", "h")
    device = hello.devices[0]
    assert (device.device_id, device.udid, device.target, device.platform) == ("d1", "u1", types.TARGET_DEVICE, "ios")
    assert (device.os_version, device.model, dict(device.labels)) == ("17.4", "iPhone", {"rack": "a"})
    assert (device.org_id, device.app_version_id) == ("acme", "v1")
    assert (device.health, device.reason) == (types.DEVICE_HEALTH_BAD, "why")
    shown = hello.held[0]
    assert (shown.job_id, shown.token, shown.attempt, shown.device_id) == ("acme~1", "t1", 2, "d1")
    assert shown.phase == pb.ATTEMPT_PHASE_RUNNING  # a dying tree may live


def test_a_heartbeat_tells_the_agents_clock() -> None:
    before = wall_ms()
    beat = wire.heartbeat(instructions.SendHeartbeat(7, 3, [])).heartbeat
    assert beat.seq == 3
    assert before <= beat.sent_at_ms <= wall_ms()


def test_reports() -> None:
    lease = Lease(assignment("t1"))
    result = TestResult(1, 2, 3, 4, "sum")
    finished = Finished(Outcome.TIMED_OUT, 10, 20, 9, result, "why", 5, unresolvable=True, begun=True, unfetched=True)
    finished.host_unfit = True
    bodies = [Started(10), Progress(50), finished, TreeDead(DeathCause.SHUTDOWN, 30, started=True)]
    told = instructions.SendReports(3, [Report(number, lease, body) for number, body in enumerate(bodies, 1)])
    reports = wire.reports(told).reports.reports
    assert [report.report_id for report in reports] == [1, 2, 3, 4]
    assert {(report.job_id, report.token) for report in reports} == {("acme~t1", "t1")}
    assert reports[0].started.started_at_ms == 10
    assert reports[1].progress.percent == 50
    sent = reports[2].finished
    assert (sent.outcome, sent.error, sent.install_ms, sent.unresolvable) == (types.OUTCOME_TIMED_OUT, "why", 5, True)
    assert sent.unfetched
    assert sent.host_unfit
    assert sent.begun
    assert (sent.started_at_ms, sent.ended_at_ms, sent.duration_ms) == (10, 20, 9)
    assert (sent.result.passed, sent.result.failed, sent.result.skipped) == (1, 2, 3)
    assert (sent.result.duration_ms, sent.result.summary) == (4, "sum")
    assert (reports[3].tree_dead.cause, reports[3].tree_dead.started) == (pb.DEATH_CAUSE_SHUTDOWN, True)


def _failures(count: int, error: str) -> instructions.SendReports:
    bodies = [Finished(Outcome.TEST_FAILED, 1, 2, 1, TestResult(0, 1, 0, 1, "sum"), error) for _ in range(count)]
    return instructions.SendReports(3, [Report(n, Lease(assignment(f"t{n}")), body) for n, body in enumerate(bodies)])


@pytest.mark.parametrize(
    ("count", "error", "messages"),
    [(3, "why", 1), (1_001, "", 3), (1_600, "e" * 450, 6), (100, "ä" * 4_000, 4), (10, "x" * 1_000_000, 1)],
)
def test_many_reports_are_several_messages_in_order(count: int, error: str, messages: int) -> None:
    out = list(wire.up(_failures(count, error)))
    assert [report.report_id for message in out for report in message.reports.reports] == list(range(count))
    assert {message.epoch for message in out} == {3}
    assert len(out) == messages
    assert max(message.ByteSize() for message in out) <= wire.REPORTS_BYTES
    assert max(len(message.reports.reports) for message in out) <= wire.REPORTS_MOST


def _installation(number: int, outcome: Outcome = Outcome.PASSED) -> Installation:
    return Installation(f"d{number}", "acme", "v1", outcome, number, f"acme~{number}", f"t{number}")


def test_installations_go_before_the_reports_of_a_flush() -> None:
    report = Report(1, Lease(assignment("t1")), Started(10))
    told = instructions.SendReports(3, [report], [_installation(n) for n in range(wire.REPORTS_MOST + 2)])
    first, second = wire.up(told)
    assert [len(m.reports.installed) for m in (first, second)] == [wire.REPORTS_MOST, 2]
    assert [len(m.reports.reports) for m in (first, second)] == [0, 1]
    assert [i.install_ms for m in (first, second) for i in m.reports.installed] == list(range(wire.REPORTS_MOST + 2))


@pytest.mark.parametrize("joined", [True, False])
def test_an_installation(joined: bool) -> None:
    told = _installation(4, Outcome.DEVICE_ERROR)
    if joined:
        (message,) = wire.up(instructions.SendReports(3, [], [told]))
        (sent,) = message.reports.installed
    else:
        (message,) = wire.up(instructions.SendInstalled(3, told))
        sent = message.installed
    assert message.epoch == 3
    assert (sent.device_id, sent.org_id, sent.app_version_id) == ("d4", "acme", "v1")
    assert (sent.outcome, sent.install_ms) == (types.OUTCOME_DEVICE_ERROR, 4)
    assert (sent.job_id, sent.token) == ("acme~4", "t4")


def test_what_is_not_known_stays_unset() -> None:
    report = Report(1, Lease(assignment("t1")), Finished(Outcome.PASSED, 1, 2, 1))
    sent = wire.reports(instructions.SendReports(1, [report])).reports.reports[0].finished
    assert not any(sent.HasField(name) for name in ("result", "error", "install_ms"))
    bare = DeviceView(DeviceFacts("d1", "u1", Target.EMULATOR), None, Health.GOOD, None)
    device = wire.inventory(instructions.SendInventory(1, [bare], ["d2"])).inventory.changed[0]
    assert not any(device.HasField(name) for name in ("platform", "os_version", "model", "org_id", "reason"))


def test_that_only_pushed_builds_come_to_a_device_is_told_with_it() -> None:
    only = replace(VIEW, pushed_builds_only=True)
    changed = wire.inventory(instructions.SendInventory(1, [VIEW, only])).inventory.changed
    assert [device.pushed_builds_only for device in changed] == [False, True]


def test_assignments() -> None:
    sent = pb.Assignment(
        job_id="acme~1",
        token="t1",  # noqa: S106 - a lease token
        attempt=2,
        round=3,
        device_id="d1",
        org_id="acme",
        app_version_id="v1",
        test_path="a.js",
        target=types.TARGET_BROWSERSTACK,
        env={"A": "b"},
        build_digest="sha",
        timeout_ms=10,
        silence_timeout_ms=20,
        expected_ms=30,
    )
    event = wire_down.event_of(pb.ConnectResponse(epoch=4, assign=pb.Assign(assignments=[sent])))
    assert isinstance(event, events.Assigned)
    read = event.assignments[0]
    assert event.epoch == 4
    assert (read.job_id, read.token, read.attempt, read.round, read.device_id) == ("acme~1", "t1", 2, 3, "d1")
    assert (read.org_id, read.app_version_id, read.test_path) == ("acme", "v1", "a.js")
    assert (read.target, read.env, read.build_digest, read.suite_digest) == (
        *(Target.BROWSERSTACK, {"A": "b"}, "sha", None),
    )
    assert (read.timeout_ms, read.silence_timeout_ms, read.expected_ms) == (10, 20, 30)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {
                "welcome": pb.Welcome(
                    heartbeat_ms=1,
                    session_timeout_ms=2,
                    lease_ms=3,
                    kill_grace_ms=4,
                    revoked=["r"],
                    joined_reports=True,
                )
            },
            events.Welcomed(9, 1, 2, 3, 4, [], [], ["r"], joined_reports=True),
        ),
        (
            {"heartbeat_ack": pb.HeartbeatAck(seq=5, revoked=["r"], released=["x"])},
            events.HeartbeatConfirmed(9, 5, ["r"], ["x"]),
        ),
        (
            {"report_ack": pb.ReportAck(entries=[pb.ReportAck.Entry(report_id=1, verdict=3), {"report_id": 2}])},
            events.ReportsAcknowledged(9, [(1, Verdict.STALE), (2, Verdict.STALE)]),
        ),
        ({"recall": pb.Recall(recall_id=6, tokens=["a", "b"])}, events.Recalled(9, 6, ["a", "b"])),
        ({"revoke": pb.Revoke(token="t", reason="why", grace_ms=7)}, events.Revoked(9, "t", "why", 7)),  # noqa: S106
        ({"device_command": pb.DeviceCommand(device_id="d", kind=1)}, events.DrainDevice(9, "d")),
        ({"device_command": pb.DeviceCommand(device_id="d", kind=2)}, events.ResumeDevice(9, "d")),
        ({"device_command": pb.DeviceCommand(device_id="d", kind=3)}, events.ProbeDevice(9, "d")),
        ({"device_command": pb.DeviceCommand(device_id="d")}, None),
        ({}, None),
    ],
)
def test_what_the_coordinator_says(body: dict[str, object], expected: events.Event | None) -> None:
    assert wire_down.event_of(pb.ConnectResponse(epoch=9, **body)) == expected

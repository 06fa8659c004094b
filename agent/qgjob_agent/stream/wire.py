"""What the core has to say, as messages of the stream. `wire_down` reads those that come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import wall_ms
from qgjob_agent.core import instructions
from qgjob_agent.core.values import (
    DeathCause,
    DeviceView,
    Finished,
    Health,
    HeldAttempt,
    Outcome,
    Phase,
    Progress,
    Started,
    Target,
    TreeDead,
)
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from qgjob_agent.core.outbox import Report
    from qgjob_agent.core.values import Installation, ReportBody

PROTOCOL_VERSION = 1
REPORTS_MOST = 500
REPORTS_BYTES = 256 * 1024  # a coordinator takes 4 MB in one message
_REPORT_BYTES = 512  # ids and numbers of one report, at most
_ERROR_CHARS = 4_000  # the coordinator keeps no more

_TARGET_TO_PB = {
    Target.EMULATOR: types.TARGET_EMULATOR,
    Target.DEVICE: types.TARGET_DEVICE,
    Target.BROWSERSTACK: types.TARGET_BROWSERSTACK,
}
_HEALTH = {
    Health.UNKNOWN: types.DEVICE_HEALTH_UNKNOWN,
    Health.GOOD: types.DEVICE_HEALTH_GOOD,
    Health.BAD: types.DEVICE_HEALTH_BAD,
    Health.MAINTENANCE: types.DEVICE_HEALTH_MAINTENANCE,
}
_OUTCOME = {
    Outcome.PASSED: types.OUTCOME_PASSED,
    Outcome.TEST_FAILED: types.OUTCOME_TEST_FAILED,
    Outcome.TIMED_OUT: types.OUTCOME_TIMED_OUT,
    Outcome.APP_CRASHED: types.OUTCOME_APP_CRASHED,
    Outcome.DEVICE_ERROR: types.OUTCOME_DEVICE_ERROR,
    Outcome.PROVIDER_ERROR: types.OUTCOME_PROVIDER_ERROR,
}
_PHASE = {
    Phase.UNSTARTED: pb.ATTEMPT_PHASE_UNSTARTED,
    Phase.RUNNING: pb.ATTEMPT_PHASE_RUNNING,
    Phase.DYING: pb.ATTEMPT_PHASE_RUNNING,
    Phase.SPOOLED: pb.ATTEMPT_PHASE_SPOOLED,
}
_CAUSE = {
    DeathCause.REVOKED: pb.DEATH_CAUSE_REVOKED,
    DeathCause.LEASE_LOST: pb.DEATH_CAUSE_LEASE_LOST,
    DeathCause.SHUTDOWN: pb.DEATH_CAUSE_SHUTDOWN,
    DeathCause.DEVICE_LOST: pb.DEATH_CAUSE_DEVICE_LOST,
    DeathCause.DISK_FULL: pb.DEATH_CAUSE_DISK_FULL,
    DeathCause.AGENT_LOST: pb.DEATH_CAUSE_AGENT_LOST,
}


def hello(told: instructions.SendHello) -> pb.ConnectRequest:
    """The first message of a session."""
    agent = told.agent
    body = pb.Hello(
        protocol_version=PROTOCOL_VERSION,
        agent_id=agent.agent_id,
        instance_id=agent.instance_id,
        version=agent.version,
        host=agent.host,
        devices=[_device(view) for view in told.devices],
        held=[_held(held) for held in told.held],
        credit=told.credit,
    )
    return pb.ConnectRequest(epoch=told.epoch, hello=body)


def _device(view: DeviceView) -> pb.DeviceInfo:
    facts = view.facts
    org_id, app_version_id = view.installed[:2] if view.installed else (None, None)
    return pb.DeviceInfo(
        device_id=facts.device_id,
        udid=facts.udid,
        target=_TARGET_TO_PB[facts.target],
        platform=facts.platform,
        os_version=facts.os_version,
        model=facts.model,
        labels=facts.labels,
        org_id=org_id,
        app_version_id=app_version_id,
        health=_HEALTH[view.health],
        reason=view.reason,
        pushed_builds_only=view.pushed_builds_only,
    )


def _held(held: HeldAttempt) -> pb.HeldAttempt:
    return pb.HeldAttempt(
        job_id=held.job_id,
        token=held.token,
        attempt=held.attempt,
        phase=_PHASE[held.phase],
        device_id=held.device_id,
    )


def heartbeat(told: instructions.SendHeartbeat) -> pb.ConnectRequest:
    """Renews the session and what it shows."""
    body = pb.Heartbeat(seq=told.seq, held=[_held(held) for held in told.held], sent_at_ms=wall_ms())
    return pb.ConnectRequest(epoch=told.epoch, heartbeat=body)


def up(told: Any) -> Iterable[pb.ConnectRequest]:
    """A Send instruction as messages: one, but for reports when there are many of them."""
    if type(told) is instructions.SendReports:
        return [reports(part) for part in _cut(told)]
    return (UP[type(told)](told),)


def _cut(told: instructions.SendReports) -> Iterator[instructions.SendReports]:
    """The reports in their order, so many in each part that a coordinator takes it; installations before them."""
    installed = told.installed
    while len(installed) > REPORTS_MOST:
        yield instructions.SendReports(told.epoch, [], installed[:REPORTS_MOST])
        installed = installed[REPORTS_MOST:]
    part: list[Report] = []
    size = 0
    for report in told.reports:
        grown = _REPORT_BYTES + _text_bytes(report.body)
        if len(part) == REPORTS_MOST or (part and size + grown > REPORTS_BYTES):
            yield instructions.SendReports(told.epoch, part, installed)
            part, size, installed = [], 0, []
        part.append(report)
        size += grown
    if part or installed:
        yield instructions.SendReports(told.epoch, part, installed)


def _text_bytes(body: ReportBody) -> int:
    if type(body) is not Finished:
        return 0
    error = 0 if body.error is None else len(body.error[:_ERROR_CHARS].encode())
    return error if body.result is None else error + len(body.result.summary.encode())


def reports(told: instructions.SendReports) -> pb.ConnectRequest:
    """Reports in the order in which things happened. Made in place: what is made first and added then is copied."""
    message = pb.ConnectRequest(epoch=told.epoch)
    for installation in told.installed:
        _installed(message.reports.installed.add(), installation)
    add = message.reports.reports.add
    for report in told.reports:
        what = report.lease.assignment
        made = add(report_id=report.report_id, job_id=what.job_id, token=what.token)
        body = report.body
        if type(body) is Started:
            made.started.started_at_ms = body.started_at_ms
        elif type(body) is Finished:
            _finish(made.finished, body)
        elif type(body) is TreeDead:
            dead = pb.TreeDead(cause=_CAUSE[body.cause], ended_at_ms=body.ended_at_ms, started=body.started)
            made.tree_dead.CopyFrom(dead)
        elif type(body) is Progress:
            made.progress.percent = body.percent
            made.progress.SetInParent()
        else:
            raise TypeError(f"no message for {type(body).__name__}")
    return message


def _finish(made: pb.Finished, body: Finished) -> None:
    made.outcome = _OUTCOME[body.outcome]
    made.started_at_ms = body.started_at_ms
    made.ended_at_ms = body.ended_at_ms
    made.duration_ms = body.duration_ms
    if body.install_ms is not None:
        made.install_ms = body.install_ms
    if body.error is not None:
        made.error = body.error[:_ERROR_CHARS]
    if body.unresolvable:
        made.unresolvable = True
    if body.begun:
        made.begun = True
    if body.unfetched:
        made.unfetched = True
    if body.host_unfit:
        made.host_unfit = True
    result = body.result
    if result is not None:
        counted = made.result
        counted.SetInParent()
        counted.passed = result.passed
        counted.failed = result.failed
        counted.skipped = result.skipped
        counted.duration_ms = result.duration_ms
        counted.summary = result.summary


def installed(told: instructions.SendInstalled) -> pb.ConnectRequest:
    """One installation."""
    message = pb.ConnectRequest(epoch=told.epoch)
    _installed(message.installed, told.installation)
    return message


def _installed(made: pb.Installed, told: Installation) -> None:
    made.device_id = told.device_id
    made.org_id = told.org_id
    made.app_version_id = told.app_version_id
    made.outcome = _OUTCOME[told.outcome]
    made.install_ms = told.install_ms
    made.job_id = told.job_id
    made.token = told.token


def recall_answer(told: instructions.SendRecallAnswer) -> pb.ConnectRequest:
    """What is given back and what is not."""
    body = pb.RecallAnswer(recall_id=told.recall_id, released=told.released, kept=told.kept)
    return pb.ConnectRequest(epoch=told.epoch, recall_answer=body)


def inventory(told: instructions.SendInventory) -> pb.ConnectRequest:
    """Devices that changed or went."""
    body = pb.Inventory(changed=[_device(view) for view in told.changed], gone=told.gone)
    return pb.ConnectRequest(epoch=told.epoch, inventory=body)


def probe_result(told: instructions.SendProbeResult) -> pb.ConnectRequest:
    """The answer to a probe."""
    body = pb.ProbeResult(device_id=told.device_id, health=_HEALTH[told.health], reason=told.reason)
    return pb.ConnectRequest(epoch=told.epoch, probe_result=body)


def bye(told: instructions.SendBye) -> pb.ConnectRequest:
    """The last message of a session."""
    return pb.ConnectRequest(epoch=told.epoch, bye=pb.Bye(reason=told.reason))


def log_chunk(epoch: int, job_id: str, token: str, offset: int, data: bytes) -> pb.ConnectRequest:
    """A piece of an attempt's log."""
    return pb.ConnectRequest(epoch=epoch, log=pb.LogChunk(job_id=job_id, token=token, offset=offset, data=data))


UP: dict[type[Any], Callable[[Any], pb.ConnectRequest]] = {
    instructions.SendHello: hello,
    instructions.SendHeartbeat: heartbeat,
    instructions.SendReports: reports,
    instructions.SendInstalled: installed,
    instructions.SendRecallAnswer: recall_answer,
    instructions.SendInventory: inventory,
    instructions.SendProbeResult: probe_result,
    instructions.SendBye: bye,
}

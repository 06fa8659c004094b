"""What an agent says on its stream, as a session hears it. Every number and id of it is checked."""

from __future__ import annotations

from collections.abc import Iterable

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.enums import DeathCause, DeviceHealth, Outcome, Phase, Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.model.jobs import TestResult
from qgjob_coordinator.rpc.numbers import HEALTH, OUTCOME, TARGET
from qgjob_coordinator.rpc.requests import given
from qgjob_coordinator.service.agents import messages as m
from qgjob_coordinator.service.agents.log_lane import Piece
from qgjob_coordinator.service.validation import (
    MAX_EXACT,
    MAX_MS,
    as_one_line,
    check_id,
    check_int,
    shown,
    split_job_id,
)
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2 as types

MAX_COUNT = 1_000_000
"""Test cases of one attempt, as agents count them."""
_PHASE = {1: Phase.UNSTARTED, 2: Phase.RUNNING, 3: Phase.SPOOLED}
_CAUSE = {
    1: DeathCause.REVOKED,
    2: DeathCause.LEASE_LOST,
    3: DeathCause.SHUTDOWN,
    4: DeathCause.DEVICE_LOST,
    5: DeathCause.DISK_FULL,
    6: DeathCause.AGENT_LOST,
}
_OUTCOME = {n: Outcome(w) for w, n in OUTCOME.items()}
_TARGET = {n: Target(w) for w, n in TARGET.items()}
_HEALTH = {n: DeviceHealth(w) for w, n in HEALTH.items()}
_REPORTABLE = {
    Outcome.PASSED,
    Outcome.TEST_FAILED,
    Outcome.TIMED_OUT,
    Outcome.APP_CRASHED,
    Outcome.DEVICE_ERROR,
    Outcome.PROVIDER_ERROR,
    Outcome.AGENT_LOST,
}


def within(field: str, number: int, most: int = MAX_EXACT) -> int:
    """A number that is not negative, and that the store can count with. Raises InvalidError."""
    return number if 0 <= number <= most else check_int(field, number, 0, most)


def devices_in(field: str, devices: Iterable[pb.DeviceInfo]) -> list[DeviceInfo]:
    """Devices as they are shown. Raises InvalidError naming the first without a target, as in `devices[3].target`."""
    return [_device_in(f"{field}[{i}]", d) for i, d in enumerate(devices)]


def _device_in(path: str, d: pb.DeviceInfo) -> DeviceInfo:
    if d.target not in _TARGET:
        raise InvalidError(f"{path}.target", f"{d.target} is none that this coordinator knows")
    return DeviceInfo(
        device_id=d.device_id,
        udid=d.udid,
        target=_TARGET[d.target],
        platform=given(d, "platform"),
        os_version=given(d, "os_version"),
        model=given(d, "model"),
        labels=dict(d.labels),
        org_id=given(d, "org_id"),
        app_version_id=given(d, "app_version_id"),
        health=_HEALTH.get(d.health, DeviceHealth.UNKNOWN),
        reason=as_one_line(d.reason) or None,
        pushed_builds_only=d.pushed_builds_only,
    )


def held_in(held: Iterable[pb.HeldAttempt]) -> list[m.Held]:
    """Attempts that the agent shows. Raises InvalidError naming the first that is none, as in `held[3].job_id`."""
    return [_held_in(i, h) for i, h in enumerate(held)]


def _held_in(index: int, h: pb.HeldAttempt) -> m.Held:
    org_id, ulid = split_job_id(h.job_id, f"held[{index}].job_id")
    return m.Held(org_id, ulid, h.token, h.attempt, _PHASE.get(h.phase, Phase.RUNNING), h.device_id)


def hello_in(epoch: int, h: pb.Hello) -> m.Hello:
    """The first message. Raises InvalidError."""
    return m.Hello(
        protocol_version=h.protocol_version,
        agent_id=h.agent_id,
        instance_id=h.instance_id,
        epoch=epoch,
        version=h.version,
        host=h.host,
        devices=tuple(devices_in("devices", h.devices)),
        held=tuple(held_in(h.held)),
        credit=h.credit,
    )


def report_in(r: pb.Report) -> m.Report | None:
    """A report; None for one of a kind that this coordinator does not know. Raises InvalidError."""
    org_id, ulid = split_job_id(r.job_id, "reports.job_id")
    report_id = within("reports.report_id", r.report_id)
    kind = r.WhichOneof("body")
    if kind == "started":
        return m.StartedReport(report_id, org_id, ulid, r.token, _moment("started_at_ms", r.started.started_at_ms))
    if kind == "finished":
        f = r.finished
        outcome = _OUTCOME.get(f.outcome)
        if outcome not in _REPORTABLE:
            raise InvalidError("reports.outcome", f"{f.outcome} is no outcome of an attempt")
        result = None
        if f.HasField("result"):
            x = f.result
            passed, failed, skipped, ms = x.passed, x.failed, x.skipped, x.duration_ms
            if not (
                0 <= passed <= MAX_COUNT
                and 0 <= failed <= MAX_COUNT
                and 0 <= skipped <= MAX_COUNT
                and 0 <= ms <= MAX_MS
            ):
                _refuse_result(x)
            result = TestResult(passed, failed, skipped, ms, x.summary[:500])
        install_ms = f.install_ms if f.HasField("install_ms") else None
        if not (
            0 <= f.started_at_ms <= MAX_MS
            and 0 <= f.ended_at_ms <= MAX_MS
            and 0 <= f.duration_ms <= MAX_MS
            and (install_ms is None or 0 <= install_ms <= MAX_MS)
        ):
            _refuse_moments(f)
        return m.FinishedReport(
            report_id=report_id,
            org_id=org_id,
            ulid=ulid,
            token=r.token,
            outcome=outcome,
            started_at=f.started_at_ms,
            ended_at=f.ended_at_ms,
            duration_ms=f.duration_ms,
            install_ms=install_ms,
            result=result,
            error=f.error[:4000] or None,
            unresolvable=f.unresolvable,
            begun=f.begun,
            unfetched=f.unfetched,
            host_unfit=f.host_unfit,
        )
    if kind == "tree_dead":
        d = r.tree_dead
        cause = _CAUSE.get(d.cause, DeathCause.REVOKED)
        return m.DeadReport(report_id, org_id, ulid, r.token, cause, _moment("ended_at_ms", d.ended_at_ms), d.started)
    if kind == "progress":
        return m.ProgressReport(report_id, org_id, ulid, r.token, max(0, min(100, r.progress.percent)))
    return None


def _refuse_result(result: types.TestResult) -> None:
    for field in ("passed", "failed", "skipped"):
        within(f"reports.result.{field}", getattr(result, field), MAX_COUNT)
    _moment("result.duration_ms", result.duration_ms)


def _refuse_moments(finished: pb.Finished) -> None:
    for field in ("started_at_ms", "ended_at_ms", "duration_ms", "install_ms"):
        _moment(field, getattr(finished, field))


def _moment(field: str, ms: int) -> int:
    """A time, or how long something took, in ms. Raises InvalidError."""
    return within(f"reports.{field}", ms, MAX_MS)


def installed_in(i: pb.Installed) -> m.Installed:
    """An installation. Raises InvalidError."""
    outcome = _OUTCOME.get(i.outcome, Outcome.DEVICE_ERROR)
    device_id = check_id("installed.device_id", i.device_id)
    org_id, version = check_id("installed.org_id", i.org_id), check_id("installed.app_version_id", i.app_version_id)
    install_ms = within("installed.install_ms", i.install_ms, MAX_MS)
    return m.Installed(device_id, org_id, version, outcome is Outcome.PASSED, outcome, install_ms, i.token)


def piece_in(c: pb.LogChunk) -> Piece:
    """A piece of a log. Raises InvalidError."""
    org_id, ulid = split_job_id(c.job_id, "log.job_id")
    return Piece(org_id, ulid, c.token, within("log.offset", c.offset), c.data)


def recall_answer_in(a: pb.RecallAnswer) -> tuple[int, list[str]]:
    """A question's number and the tokens given back. Raises InvalidError naming the first that is empty or repeated."""
    number = within("recall_answer.recall_id", a.recall_id)
    released: dict[str, None] = {}
    for i, token in enumerate(a.released):
        if not token:
            raise InvalidError(f"recall_answer.released[{i}]", "is empty; name the token of an attempt")
        if token in released:
            raise InvalidError(f"recall_answer.released[{i}]", f"is there twice: {shown(token)}; name it once")
        released[token] = None
    return number, list(released)


def health_in(number: int) -> DeviceHealth:
    """A health, UNKNOWN when unset."""
    return _HEALTH.get(number, DeviceHealth.UNKNOWN)

"""What a session says, as messages of its agent's stream: neighbours joined, and none too large."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from qgjob_coordinator.rpc.numbers import TARGET
from qgjob_coordinator.service.agents import messages as m
from qgjob_proto.v1 import agent_pb2 as pb

ASSIGN_MOST = 100
"""Assignments in one message."""
ASSIGN_BYTES = 512 * 1024
"""Size of one Assign, unless a single job is larger."""
WITHOUT_ENV_BYTES = 2 * 1024
"""At most so large are an assignment's ids, path and numbers."""
ENTRY_BYTES = 12
"""Tags and lengths of one entry of a map, at most."""
ACKS_MOST = 1_000
"""Acknowledgements in one message."""

Single = m.HeartbeatAck | m.Revoke | m.Welcome | m.Recall | m.Probe | m.Refused
"""Messages that are written one by one."""

_VERDICT = {
    m.Verdict.APPLIED: pb.REPORT_VERDICT_APPLIED,
    m.Verdict.REPLAYED: pb.REPORT_VERDICT_REPLAYED,
    m.Verdict.STALE: pb.REPORT_VERDICT_STALE,
}
_REASON = {
    m.RefusedReason.STALE_EPOCH: pb.REFUSED_REASON_STALE_EPOCH,
    m.RefusedReason.AGENT_ID_IN_USE: pb.REFUSED_REASON_AGENT_ID_IN_USE,
    m.RefusedReason.DEVICE_ID_IN_USE: pb.REFUSED_REASON_DEVICE_ID_IN_USE,
    m.RefusedReason.VERSION: pb.REFUSED_REASON_VERSION,
    m.RefusedReason.INVALID: pb.REFUSED_REASON_INVALID,
    m.RefusedReason.GOING_AWAY: pb.REFUSED_REASON_GOING_AWAY,
}


def refused_out(r: m.Refused) -> pb.Refused:
    """A refusal."""
    return pb.Refused(reason=_REASON[r.reason], message=r.message, stored_epoch=r.stored_epoch)


def down(epoch: int, message: Single) -> pb.ConnectResponse:
    """A message that goes alone. What it lists was shown by the agent, so it is no larger than what the agent sent."""
    out = pb.ConnectResponse(epoch=epoch)
    if isinstance(message, m.HeartbeatAck):
        out.heartbeat_ack.CopyFrom(pb.HeartbeatAck(seq=message.seq, revoked=message.revoked, released=message.released))
    elif isinstance(message, m.Revoke):
        out.revoke.CopyFrom(pb.Revoke(token=message.token, reason=message.reason, grace_ms=message.grace_ms))
    elif isinstance(message, m.Welcome):
        out.welcome.CopyFrom(_welcome(message))
    elif isinstance(message, m.Recall):
        out.recall.CopyFrom(pb.Recall(recall_id=message.recall_id, tokens=message.tokens))
    elif isinstance(message, m.Probe):
        command = pb.DeviceCommand(device_id=message.device_id, kind=pb.DEVICE_COMMAND_KIND_PROBE)
        out.device_command.CopyFrom(command)
    else:
        out.refused.CopyFrom(refused_out(message))
    return out


def _welcome(w: m.Welcome) -> pb.Welcome:
    return pb.Welcome(
        store_epoch=w.store_epoch,
        heartbeat_ms=w.heartbeat_ms,
        session_timeout_ms=w.session_timeout_ms,
        lease_ms=w.lease_ms,
        adopted=w.adopted,
        released=w.released,
        revoked=w.revoked,
        kill_grace_ms=w.kill_grace_ms,
        joined_reports=True,
    )


def packed(epoch: int, messages: Sequence[m.Down]) -> Iterator[pb.ConnectResponse]:
    """The messages as they are written: neighbours of one kind joined, and cut where they would grow too large."""
    for kind, run in itertools.groupby(messages, key=type):
        if kind is m.Assign:
            yield from _assigns(epoch, cast("Iterator[m.Assign]", run))
        elif kind is m.ReportAck:
            yield from _acks(epoch, cast("Iterator[m.ReportAck]", run))
        else:
            for message in cast("Iterator[Single]", run):
                yield down(epoch, message)


def _assigns(epoch: int, run: Iterable[m.Assign]) -> Iterator[pb.ConnectResponse]:
    """Each assignment is made in place: one that is made first and added then is copied."""
    out = pb.ConnectResponse(epoch=epoch)
    add = out.assign.assignments.add
    count = size = 0
    for message in run:
        for batch in message.batches:
            for g in batch.grants:
                spec: dict[str, Any] = g.spec
                env: dict[str, str] | None = spec.get("e")
                grown = WITHOUT_ENV_BYTES if env is None else WITHOUT_ENV_BYTES + _env_bytes(env)
                if count == ASSIGN_MOST or (count and size + grown > ASSIGN_BYTES):
                    yield out
                    out = pb.ConnectResponse(epoch=epoch)
                    add = out.assign.assignments.add
                    count = size = 0
                added = add(
                    job_id=f"{batch.org_id}~{g.ulid}",
                    token=g.token,
                    attempt=g.attempt,
                    round=g.round,
                    device_id=batch.device_id,
                    org_id=batch.org_id,
                    app_version_id=spec["a"],
                    test_path=spec["p"],
                    target=TARGET[spec["g"]],
                    timeout_ms=spec.get("t", message.timeout_ms),
                    silence_timeout_ms=message.silence_timeout_ms,
                )
                if env is not None:
                    added.env.update(env)
                if "u" in spec:
                    added.suite_digest, added.suite_size_bytes = spec["u"]
                if batch.build is not None:
                    added.build_digest = batch.build.digest
                    added.build_format = batch.build.facts.format.value
                    added.build_package = batch.build.facts.package
                    added.build_size_bytes = batch.build.size_bytes
                count += 1
                size += grown
    if count:
        yield out


def _env_bytes(env: Mapping[str, str]) -> int:
    return sum(len(name.encode()) + len(value.encode()) + ENTRY_BYTES for name, value in env.items())


def _acks(epoch: int, run: Iterable[m.ReportAck]) -> Iterator[pb.ConnectResponse]:
    out = pb.ConnectResponse(epoch=epoch)
    entries = out.report_ack.entries
    for message in run:
        for report_id, verdict in message.entries:
            if len(entries) == ACKS_MOST:
                yield out
                out = pb.ConnectResponse(epoch=epoch)
                entries = out.report_ack.entries
            entries.add(report_id=report_id, verdict=_VERDICT[verdict])
    if entries:
        yield out

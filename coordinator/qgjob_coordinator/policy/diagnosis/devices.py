"""The devices: which are offline although their agent is there, which are bad, which are held by whom."""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.model.enums import AgentState, DeviceHealth, DeviceState, HoldKind
from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.policy.diagnosis.facts import FleetFacts
from qgjob_coordinator.policy.diagnosis.words import count, fine, note, told, warning
from qgjob_coordinator.policy.reasons.words import clock, span

_HELD = {
    HoldKind.DRAINING: "drains",
    HoldKind.RESERVED: "is reserved",
    HoldKind.MAINTENANCE: "is in maintenance",
    HoldKind.BAD: "is quarantined",
}
_ENDS = {HoldKind.RESERVED: "release"}
_OWN = (None, HoldKind.BAD)
"""Then the reason that a device shows is that of its health."""


def judge(facts: FleetFacts) -> list[Finding]:
    """All about devices. Those of an agent that is away are told with the agent."""
    there = {a.agent_id for a in facts.agents if a.state is not AgentState.OFFLINE}
    present = [d for d in facts.devices if d.agent_id in there]
    return [*_presence(facts, present), *_health(present), *_holds(present, facts.now)]


def _presence(facts: FleetFacts, present: Sequence[Device]) -> list[Finding]:
    check = "devices.online"
    found = []
    for d in present:
        if d.state is DeviceState.OFFLINE:
            since = "" if d.last_seen_at is None else f", last shown {span((facts.now - d.last_seen_at) / 1000)} ago"
            words = f"is not shown any more by its agent {d.agent_id}, which is online{since}"
            found.append(warning(check, words, "look at the cable, the device itself and its agent's log", d.device_id))
    online = sum(d.state is not DeviceState.OFFLINE for d in present)
    whole = f"{online} of {count(len(facts.devices), 'device')} online"
    return [fine(check, whole), *told(found)]


def _health(present: Sequence[Device]) -> list[Finding]:
    check = "devices.health"
    found = [
        warning(
            check,
            f"is bad: {d.reason or 'no reason was given'}"
            if d.held in _OWN
            else "is bad, and kept for longer by what devices.held says",
            f"mend it, then `qgjob devices resume {d.device_id}`",
            d.device_id,
        )
        for d in present
        if d.health is DeviceHealth.BAD
    ]
    return told(found) or [fine(check, "no device that is online is bad")]


def _holds(present: Sequence[Device], now: int) -> list[Finding]:
    check = "devices.held"
    found = []
    for d in present:
        if d.held is None or d.held is HoldKind.BAD:
            continue
        until = "until somebody ends it" if d.until is None else f"until {clock(d.until, now)}"
        why = f": {d.reason}" if d.reason else ""
        end = f"`qgjob devices {_ENDS.get(d.held, 'resume')} {d.device_id}` ends it"
        if d.held is HoldKind.DRAINING:
            end = f"`qgjob devices resume {d.device_id}` or `qgjob agents resume {d.agent_id}` ends it"
        found.append(note(check, f"{_HELD[d.held]} {until}{why}", end, d.device_id))
    return told(found) or [fine(check, "nobody keeps a device from work")]

"""The devices: which are offline although their agent is there, which are bad, which are held by whom."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence, Set

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
RUNNER_LABEL = "runner"
"""With it agents say how they run tests; simulated ones and older ones do not."""
_NO_RUNNER = "say{} no runner (simulated, or of an older agent)"
_ENDS = {HoldKind.RESERVED: "release"}
_OWN = (None, HoldKind.BAD)
"""Then the reason that a device shows is that of its health."""


def judge(facts: FleetFacts) -> list[Finding]:
    """All about devices. Those of an agent that is away are told with the agent."""
    there = {a.agent_id for a in facts.agents if a.state is not AgentState.OFFLINE}
    present = [d for d in facts.devices if d.agent_id in there]
    draining = {a.agent_id for a in facts.agents if a.state is AgentState.DRAINING}
    return [*_presence(facts, present), *_health(present), *_holds(present, draining, facts.now), *_runners(present)]


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


def _holds(present: Sequence[Device], draining: Set[str], now: int) -> list[Finding]:
    """Devices that drain alike, since their agent does, are told together."""
    check = "devices.held"
    found = []
    alike: dict[tuple[str, str], int] = {}
    for d in present:
        if d.held is None or d.held is HoldKind.BAD:
            continue
        until = "until somebody ends it" if d.until is None else f"until {clock(d.until, now)}"
        why = f": {d.reason}" if d.reason else ""
        if d.held is HoldKind.DRAINING and d.agent_id in draining:
            together = d.agent_id, f"{until}{why}"
            alike[together] = alike.get(together, 0) + 1
            continue
        end = f"`qgjob devices {_ENDS.get(d.held, 'resume')} {d.device_id}` ends it"
        found.append(note(check, f"{_HELD[d.held]} {until}{why}", end, d.device_id))
    for (agent_id, words), number in alike.items():
        end = f"`qgjob agents resume {agent_id}` ends it"
        if sum(agent == agent_id for agent, _ in alike) > 1:
            end += ", or `qgjob devices resume DEVICE` where it is the device's own"
        found.append(note(check, f"the agent drains with {count(number, 'device')} {words}", end, agent_id))
    return told(found) or [fine(check, "nobody keeps a device from work")]


def _runners(present: Sequence[Device]) -> list[Finding]:
    """Targets whose devices run tests in several ways: what is written for one is nothing to the other.

    One that says no runner may pass what it does not run: beside one that runs tests that is a warning.
    """
    check = "devices.runners"
    by_target: dict[str, Counter[str]] = defaultdict(Counter)
    for d in present:
        if d.state is not DeviceState.OFFLINE:
            by_target[d.target.value][d.labels.get(RUNNER_LABEL, "")] += 1
    found = []
    for target, numbers in sorted(by_target.items()):
        if len(numbers) == 1:
            continue
        unsaid = numbers.pop("", 0)
        have = [
            f"{count(number, 'device')} {'has' if number == 1 else 'have'} the runner {runner}"
            for runner, number in sorted(numbers.items())
        ]
        end = f"a job asks for one with `--require={RUNNER_LABEL}={min(numbers)}`"
        if not unsaid:
            found.append(note(check, f"{', '.join(have)}: a job may get either", end, target))
            continue
        have.append(f"{count(unsaid, 'device')} {_NO_RUNNER.format('s' if unsaid == 1 else '')}")
        risk = "a job may get either, and tests may pass on those that say none without being run"
        found.append(warning(check, f"{', '.join(have)}: {risk}", end, target))
    return told(found) or [fine(check, "the devices of a target run tests in one way")]

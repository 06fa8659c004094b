"""The agents: who is away, who is turned away, who comes and goes, which versions they are, what their clocks say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from qgjob_coordinator.model.enums import AgentState
from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.model.fleet import Agent
from qgjob_coordinator.policy.diagnosis.facts import FleetFacts, Refusal
from qgjob_coordinator.policy.diagnosis.words import count, fine, ms, names, note, problem, told, warning
from qgjob_coordinator.policy.reasons.words import clock, span

GONE_SECONDS = 86_400
FLAPS = 4
FLAP_SECONDS = 600
CLOCK_NOTE_MS = 2_000.0
CLOCK_WARNING_MS = 10_000.0
_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def judge(facts: FleetFacts, version: str) -> list[Finding]:
    """All about agents; `version` is the coordinator's."""
    online = [a for a in facts.agents if a.state is not AgentState.OFFLINE]
    return [
        *_presence(facts, online),
        *_refused(facts.refusals, facts.now),
        *_flapping(facts),
        *_starting(facts),
        *_versions(online, version),
        *_clocks(facts),
    ]


def _presence(facts: FleetFacts, online: Sequence[Agent]) -> list[Finding]:
    check = "agents.online"
    if not facts.agents:
        return [warning(check, "no agent has ever connected", "start one: `qgjob agent start --config agent.toml`")]
    found = []
    for a in facts.agents:
        if a.state is not AgentState.OFFLINE:
            continue
        since = None if a.last_seen_at is None else (facts.now - a.last_seen_at) / 1000
        away = "is offline" if since is None else f"is offline, last heard {span(since)} ago"
        words = f"{away}, and its {count(a.devices, 'device')} with it"
        if since is not None and since > GONE_SECONDS:
            found.append(note(check, words, "nothing if it was taken away for good; else look at its host", a.agent_id))
        else:
            where = f" ({a.host})" if a.host else ""
            advice = f"look at its host{where}: does the agent run, what does its log say, does it reach a coordinator?"
            found.append(warning(check, words, advice, a.agent_id))
    if not online:
        words = f"none of {count(len(facts.agents), 'agent')} is online: nothing runs"
        return [problem(check, words, "start the agents, or see why they can't reach a coordinator"), *told(found)]
    return [fine(check, f"{len(online)} of {count(len(facts.agents), 'agent')} online"), *told(found)]


def _refused(refusals: Sequence[Refusal], now: int) -> list[Finding]:
    check = "agents.refused"
    found = [
        warning(
            check,
            f"was turned away here at {clock(r.at, now)}: {r.why}",
            "do what that says; it comes again",
            r.agent_id,
        )
        for r in refusals
    ]
    return told(found) or [fine(check, "no agent is turned away here")]


def _flapping(facts: FleetFacts) -> list[Finding]:
    check = "agents.sessions"
    found = [
        warning(
            check,
            f"opened {number} sessions here within {span(FLAP_SECONDS)}",
            "its log and the coordinator's say why each ended: the network, its load, or two hosts of one agent_id",
            agent_id,
        )
        for agent_id, number in sorted(facts.opened.items())
        if number >= FLAPS
    ]
    return told(found) or [fine(check, "no agent comes and goes")]


def _starting(facts: FleetFacts) -> list[Finding]:
    check = "agents.starts"
    found = [
        warning(
            check,
            f"could not start {count(number, 'job')}, whichever the device, and nothing ran there since",
            "`qgjob agent doctor --config FILE` on its host says what is missing, `qgjob status JOB` has an error; "
            "mend it, and wait for the probe, or say `qgjob devices resume DEVICE` of each",
            agent_id,
        )
        for agent_id, number in sorted(facts.unstarted.items())
    ]
    return told(found) or [fine(check, "no host fails to start what it is given")]


def _numbers(version: str) -> tuple[int, ...] | None:
    match = _NUMBERS.match(version)
    return None if match is None else tuple(int(x or 0) for x in match.groups())


def _versions(online: Sequence[Agent], version: str) -> list[Finding]:
    check = "agents.version"
    ours = _numbers(version)
    by_version: dict[str, list[str]] = defaultdict(list)
    for a in online:
        if a.version != version:
            by_version[a.version].append(a.agent_id)
    found = []
    for theirs, agent_ids in sorted(by_version.items()):
        words = f"{count(len(agent_ids), 'agent')} of version {theirs or '(none)'}, the coordinator is {version}: "
        words += names(agent_ids)
        numbers = _numbers(theirs)
        if numbers is None or ours is None:
            found.append(note(check, words, "install the coordinator's version there"))
        elif numbers > ours:
            found.append(warning(check, words, "update the coordinators: they go before the agents"))
        elif numbers[:2] < ours[:2]:
            found.append(warning(check, words, "update these agents: SIGTERM drains one, then start the new version"))
        else:
            found.append(note(check, words, "update these agents when it suits"))
    if found:
        return found
    return [fine(check, f"all that are online have the coordinator's version, {version}")]


def _clocks(facts: FleetFacts) -> list[Finding]:
    check = "agents.clock"
    found = []
    for agent_id, ahead in sorted(facts.clock_ahead_ms.items()):
        if abs(ahead) <= CLOCK_NOTE_MS:
            continue
        words = f"its clock is {ms(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the coordinator's"
        advice = "synchronise the clock of its host (NTP): it tells when its attempts began and ended"
        found.append((warning if abs(ahead) > CLOCK_WARNING_MS else note)(check, words, advice, agent_id))
    if found:
        return told(found)
    if not facts.clock_ahead_ms:
        return [fine(check, "no agent that is connected to this coordinator tells its clock")]
    known = count(len(facts.clock_ahead_ms), "agent")
    return [fine(check, f"the clocks of {known} at this coordinator agree with it within {ms(CLOCK_NOTE_MS)}")]

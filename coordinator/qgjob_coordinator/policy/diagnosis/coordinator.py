"""A coordinator's own state, and whether its settings fit."""

from __future__ import annotations

from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.policy.diagnosis.facts import CoordinatorFacts
from qgjob_coordinator.policy.diagnosis.words import fine, ms, note, problem, warning
from qgjob_coordinator.policy.reasons.words import span

LATE_SECONDS = 0.1
VERY_LATE_SECONDS = 1.0
EASY_HEARTBEATS = 3


def judge(facts: CoordinatorFacts) -> list[Finding]:
    """Stopping, the event loop, the address, the times."""
    return [_life(facts), _loop(facts.lag_seconds), _exposed(facts), _times(facts)]


def _life(facts: CoordinatorFacts) -> Finding:
    check = "coordinator.life"
    if facts.stopping:
        return problem(check, "it is stopping", "use another coordinator, or start this one again")
    return fine(check, f"version {facts.version}, runs for {span(facts.uptime_seconds)}")


def _loop(lag_seconds: float) -> Finding:
    check = "coordinator.loop"
    found = f"its event loop was {ms(lag_seconds * 1000)} late at worst in the last minute"
    if lag_seconds > VERY_LATE_SECONDS:
        return warning(
            check,
            f"{found}: heartbeats are confirmed late, and sessions may time out",
            "give it a core of its own, or start another coordinator on another machine",
        )
    if lag_seconds > LATE_SECONDS:
        return note(check, found, "look at the load of its machine if that stays")
    return fine(check, found)


def _exposed(facts: CoordinatorFacts) -> Finding:
    check = "coordinator.exposed"
    if facts.exposed:
        return warning(
            check,
            f"HOST is {facts.host}, and there are no tokens: whoever reaches its ports may do everything",
            "keep the ports inside your network, behind a firewall",
        )
    return fine(check, f"it listens on {facts.host} only")


def _times(facts: CoordinatorFacts) -> Finding:
    check = "coordinator.times"
    heartbeat, session, lease = facts.heartbeat_seconds, facts.session_timeout_seconds, facts.lease_seconds
    found = f"heartbeat {heartbeat:g} s, session {session:g} s, lease {lease:g} s"
    if session < EASY_HEARTBEATS * heartbeat:
        return note(
            check,
            f"{found}: two late heartbeats end a session",
            f"set SESSION_TIMEOUT_SECONDS to {EASY_HEARTBEATS * heartbeat:g} or more",
        )
    return fine(check, found)

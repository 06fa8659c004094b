"""A quarantine's reason, for people. It names no build and no job: whoever sees the fleet need not see all orgs."""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.policy.health.record import Kind, Mark

AUTOMATIC = "automatic quarantine"
_AGAIN = 2


def because(counted: Sequence[Mark], in_a_row: int) -> str:
    """Why a device is taken out, for the `in_a_row`-th time."""
    parts = []
    installs = [m for m in counted if m.kind is Kind.INSTALL]
    if installs:
        builds = len({m.build for m in installs})
        parts.append(f"{_count(len(installs), 'installation')} of {_count(builds, 'build')} failed on it")
    broken = sum(m.kind is Kind.DEVICE for m in counted)
    if broken:
        parts.append(f"{_count(broken, 'attempt')} ended by an error of the device")
    tests = sum(m.kind is Kind.TEST for m in counted)
    if tests:
        parts.append(f"{_count(tests, 'test')} failed on it that passed on another device")
    again = f"; the {_ordinal(in_a_row)} time in a row" if in_a_row >= _AGAIN else ""
    return f"{AUTOMATIC}: {', '.join(parts)}{again}"


def because_of_host(agent_id: str, jobs: int, in_a_row: int) -> str:
    """Why all devices of a host are taken out, for the `in_a_row`-th time of this one."""
    again = f"; the {_ordinal(in_a_row)} time in a row" if in_a_row >= _AGAIN else ""
    what = f"agent {agent_id} could not start {_count(jobs, 'job')}, whichever the device, and none ran there since"
    return f"{AUTOMATIC}: {what}{again}"


def still(first: str, answer: str, in_a_row: int) -> str:
    """The same after a probe that did not find the device well, and what that said."""
    why = first.partition("; ")[0]
    return f"{why}; the {_ordinal(in_a_row)} time in a row, since a probe found: {answer}"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _ordinal(n: int) -> str:
    if n % 100 in (11, 12, 13):
        return f"{n}th"
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th') }"

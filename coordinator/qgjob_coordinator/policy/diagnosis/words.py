"""Numbers and lists in the words of findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qgjob_coordinator.model.findings import Finding, Level, worst
from qgjob_coordinator.policy.reasons.words import span

NAMED = 5
"""So many of a list are named, the others counted."""
_AS_ABOVE = "as for those above"
TOLD = 10
"""So many findings of one check are told one by one, the others in one."""
_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size(number: int) -> str:
    """Bytes in their largest unit."""
    for unit, name in _UNITS:
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number} bytes"


def ms(milliseconds: float) -> str:
    """A time of a call: `0.2 ms`, `34 ms`, `3 s`."""
    if milliseconds >= 1000:
        return span(milliseconds / 1000)
    return f"{milliseconds:.2g} ms" if milliseconds < 10 else f"{milliseconds:.0f} ms"


def dotted(version: tuple[int, ...]) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))


def names(items: Sequence[str]) -> str:
    """`a, b and 3 more`."""
    shown = ", ".join(items[:NAMED])
    more = len(items) - NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 agent`, `3 agents`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def told(findings: Sequence[Finding]) -> list[Finding]:
    """All of one check, those over TOLD in one finding that names some of them."""
    if len(findings) <= TOLD:
        return list(findings)
    rest = findings[TOLD:]
    first = rest[0]
    subjects = names([f.subject or "" for f in rest])
    level = worst(f.level for f in rest)
    return [*findings[:TOLD], Finding(first.check, level, f"{len(rest)} more such findings: {subjects}", _AS_ABOVE)]


def of_servers(found: Mapping[str, Sequence[Finding]]) -> list[Finding]:
    """Findings of the store's servers, by address. Those of several say of which; what is fine of all is told once."""
    if len(found) < 2:
        return [f for mine in found.values() for f in mine]
    by_check: dict[str, list[Finding]] = {}
    for server, mine in found.items():
        for f in mine:
            by_check.setdefault(f.check, []).append(replace(f, subject=server))
    bad = {check: [f for f in mine if f.level is not Level.OK] for check, mine in by_check.items()}
    return [f for check, mine in by_check.items() for f in bad[check] or [replace(mine[0], subject=None)]]


def fine(check: str, found: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, Level.OK, found)


def note(check: str, found: str, advice: str | None = None, subject: str | None = None) -> Finding:
    """Good to know."""
    return Finding(check, Level.NOTE, found, advice, subject)


def warning(check: str, found: str, advice: str, subject: str | None = None) -> Finding:
    """It works, and somebody should look."""
    return Finding(check, Level.WARNING, found, advice, subject)


def problem(check: str, found: str, advice: str, subject: str | None = None) -> Finding:
    """It does not work, or not as promised."""
    return Finding(check, Level.PROBLEM, found, advice, subject)

"""Lengths of time, times by the clock and numbers of devices, in the words of explanations."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MS = 1000
_TENTHS_BELOW = 10


def span(seconds: float) -> str:
    """A length of time in its largest unit: `40 s`, `3 min`, `2 h`, `5 d`."""
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{round(seconds / size)} {unit}"
    return f"{max(1, round(seconds))} s"


def fine_span(seconds: float) -> str:
    """As `span`, of a few minutes also the tenths: lengths that are compared should differ where they do."""
    if _MINUTE <= seconds < _TENTHS_BELOW * _MINUTE:
        return f"{round(seconds / _MINUTE, 1):g} min"
    return span(seconds)


def clock(at: int, now: int) -> str:
    """A time by the clock, with its date unless it is within a day. Both in ms."""
    moment = datetime.fromtimestamp(at / _MS, UTC)
    return f"{moment:%H:%M} UTC" if abs(at - now) < _DAY * _MS else f"{moment:%Y-%m-%d %H:%M} UTC"


def counted(count: int, what: str) -> str:
    """`1 is idle`, `2 are idle`."""
    return f"{count} {'is' if count == 1 else 'are'} {what}"

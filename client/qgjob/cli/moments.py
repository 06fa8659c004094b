"""Times as people read them: by this machine's clock, and as a distance from now.

All that the command itself says to people is in local time, and what a coordinator says of where a job stands. JSON has
UTC, and so have other texts of a coordinator, marked UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))
_WHOLE_FROM = 10
"""From so many on a unit's fractions do not matter; below them half of one is half a minute in one and a half."""
_UTC_TIME = re.compile(r"(?:(?P<day>\d{4}-\d\d-\d\d) )?\b(?P<time>(?:[01]\d|2[0-3]):[0-5]\d) UTC\b")
_TENTHS_BELOW_MS = 120_000


def when(moment: datetime, now: datetime) -> str:
    """`14:05:10 (in 3 min)`, by this machine's clock."""
    return f"{clock(moment, now)} ({distance(moment, now)})"


def distance(moment: datetime, now: datetime) -> str:
    """`in 3 min`, or `3 min ago`."""
    ahead = moment - now
    return f"in {span(ahead)}" if ahead > timedelta(0) else f"{span(-ahead)} ago"


def clock(moment: datetime, now: datetime) -> str:
    """The time by this machine's clock, with its date unless that is today's."""
    local, today = moment.astimezone(), now.astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"


def in_local_time(text: str, now: datetime) -> str:
    """A text of a coordinator, which tells times by UTC, with the times of this machine's clock in their place."""

    def local(found: re.Match[str]) -> str:
        day = found["day"] or f"{now.astimezone(UTC):%Y-%m-%d}"
        moment = datetime.fromisoformat(f"{day} {found['time']}+00:00").astimezone()
        return f"{moment:%Y-%m-%d %H:%M}" if found["day"] else f"{moment:%H:%M}"

    return _UTC_TIME.sub(local, text)


def dated(moment: datetime) -> str:
    """The time by this machine's clock with date and offset, for what may be read on another day or elsewhere."""
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def brief(length_ms: int) -> str:
    """How long something took, with the tenths of the second while it is short: `25.8 s`, `3 min`."""
    return f"{length_ms / 1000:.1f} s" if length_ms < _TENTHS_BELOW_MS else span(timedelta(milliseconds=length_ms))


def span(length: timedelta) -> str:
    """A length of time in its largest unit, to the half of one while they are few: `40 s`, `1.5 min`, `12 h`, `5 d`."""
    seconds = max(0.0, length.total_seconds())
    for size, unit in _UNITS:
        if seconds >= size:
            number = seconds / size
            return f"{round(number) if number >= _WHOLE_FROM else round(2 * number) / 2:g} {unit}"
    return f"{round(seconds)} s"

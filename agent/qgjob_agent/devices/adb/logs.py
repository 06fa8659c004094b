"""What a device logged between two times, by its own clock.

A device keeps the end of its log alone (some hundred kilobytes by default), so it is asked as soon as a test has ended.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

from qgjob_agent.clock import wall_ms

if TYPE_CHECKING:
    from qgjob_agent.devices.adb.client import AdbClient

ANSWER_SECONDS = 20.0
MOST_BYTES = 4_000_000
SLACK_MS = 1_500
"""The device tells its time in whole seconds."""

_DATE = re.compile(r"(\d+) ([+-])(\d\d)(\d\d)")
_TIME = re.compile(r"\d\d-\d\d \d\d:\d\d:\d\d\.\d\d\d")
_FORMAT = "%m-%d %H:%M:%S.%f"


@dataclass(frozen=True, slots=True)
class DeviceClock:
    """How far a device's clock is ahead of this host's, and its time zone."""

    ahead_ms: int
    zone: timezone

    def shown(self, at_ms: int) -> str:
        """A time of this host (ms since the epoch) as the device's log has it."""
        at = datetime.fromtimestamp((at_ms + self.ahead_ms) / 1000, UTC).astimezone(self.zone)
        return at.strftime(_FORMAT)[:-3]


def clock_of(text: str, now_ms: int) -> DeviceClock:
    """From what `date '+%s %z'` says. Raises ValueError."""
    found = _DATE.search(text)
    if found is None:
        raise ValueError(f"the device's clock says {text.strip()[:80]!r}")
    offset = timedelta(hours=int(found[3]), minutes=int(found[4]))
    zone = timezone(-offset if found[2] == "-" else offset)
    return DeviceClock(int(found[1]) * 1000 - now_ms, zone)


def between(text: str, since: str, until: str) -> str:
    """The lines from one time to another, both as the log has them; a line without a time belongs to the one before.

    Around a new year, where the later time has the smaller date, all since the first one counts.
    """
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if (found := _TIME.match(line)) is not None:
            inside = since <= found[0] <= until if since <= until else found[0] >= since or found[0] <= until
        if inside:
            kept.append(line)
    return "".join(kept)


async def logged(client: AdbClient, serial: str, since_ms: int, until_ms: int) -> bytes:
    """What a device logged between two times of this host, at most the last MOST_BYTES of it.

    Raises the client's errors, and ValueError for a device whose clock can't be read.
    """
    said = await client.shell(serial, "date '+%s %z'", ANSWER_SECONDS)
    clock = clock_of(said.output, wall_ms())
    since, until = clock.shown(since_ms - SLACK_MS), clock.shown(until_ms + SLACK_MS)
    found = await client.shell(
        serial, f"logcat -d -v threadtime -T '{since}'", ANSWER_SECONDS, last_bytes=2 * MOST_BYTES
    )
    return between(found.output, since, until).encode()[-MOST_BYTES:]

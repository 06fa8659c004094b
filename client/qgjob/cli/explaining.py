"""`qgjob explain` for people: what the job waits for, when it is to start, and what each device is to it.

Times are shown by this machine's clock and as a distance from now. A large fleet is shown in groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from qgjob._enums import JobStatus, PendingCode
from qgjob._models import ConsideredDevice, Explanation, Job
from qgjob.cli.job_words import requirement_words, state_words
from qgjob.cli.moments import clock, in_local_time, span, when
from qgjob.cli.render import facts, grid
from qgjob.cli.tables import Column

MOST_LINES = 20
"""More devices than these are shown in groups."""
MOST_NAMED = 3
"""So many devices of a group are named."""
BUSY_SECONDS = 60.0
"""So soon a busy device is taken to be free of which nothing is known, as a coordinator takes it."""
_WHY = Column("WHY", least=24, wraps=True)
# Without a known end what is likely to pass soonest comes first, and last the causes that no device has by itself.
_SOONEST: dict[PendingCode | None, int] = {
    None: 0,
    PendingCode.ALL_BUSY: 1,
    PendingCode.DRAINING: 2,
    PendingCode.RESERVED: 3,
    PendingCode.QUARANTINED: 4,
    PendingCode.NO_DEVICE_ONLINE: 5,
}


def explanation(item: Explanation, now: datetime) -> RenderableType:
    """Why a job waits, then the devices."""
    parts: list[RenderableType] = [facts(_facts(item, now))]
    if item.devices and not item.job.final:  # what has its verdict needs no device
        parts += [Text(), _devices(item.devices, now)]
    return Group(*parts)


def _facts(item: Explanation, now: datetime) -> list[tuple[str, object]]:
    job, reason = item.job, item.job.pending_reason
    requires = requirement_words(job)
    rows: list[tuple[str, object]] = [
        ("job_id", job.job_id),
        ("test_path", job.test_path),
        ("status", _status(job, now)),
        ("asks for", f"target={job.target}" + (f", {requires}" if requires else "")),
    ]
    if job.overflow is not None:
        rows.append(("overflow", job.overflow.message))
    if reason is None:
        if item.summary and not job.final:
            return [*rows, ("now", in_local_time(item.summary, now))]
        waits = "it has its verdict" if job.final else "it has a device"  # of an older coordinator, or a device is gone
        return [*rows, ("now", f"{waits}, and waits for nothing")]
    rows.append(("pending", f"{reason.code}: {in_local_time(reason.message, now)}"))
    if reason.position is not None:
        rows.append(("place", f"{reason.position} in its group; work of other groups may be served before"))
    if reason.retry_at is not None:
        rows.append(("not before", when(reason.retry_at, now)))
    if reason.estimated_start_at is not None:
        late = reason.estimated_start_at <= now
        rows.append(
            ("starts", "any moment" if late else f"about {when(reason.estimated_start_at, now)}{_band(item, now)}")
        )
    if item.expires_at is not None:
        rows.append(("expires", f"{when(item.expires_at, now)}, unless it is started before"))
    return [*rows, ("devices", in_local_time(item.summary or "", now))]


def _status(job: Job, now: datetime) -> str:
    if job.status is JobStatus.QUEUED and job.created_at is not None:
        return f"{state_words(job)}, submitted {span(now - job.created_at)} ago"
    return state_words(job)


def _band(item: Explanation, now: datetime) -> str:
    if item.earliest_start_at is None or item.latest_start_at is None:
        return ""
    return f", most likely between {clock(item.earliest_start_at, now)} and {clock(item.latest_start_at, now)}"


def _devices(devices: Sequence[ConsideredDevice], now: datetime) -> RenderableType:
    """A line each, or a group, in the order in which they are of use to the job."""
    ordered = sorted(devices, key=lambda each: _usefulness(each, now))
    if len(ordered) <= MOST_LINES:
        rows: list[list[object]] = [
            [each.device_id, _could(each), in_local_time(each.message, now) + _until(each, now)] for each in ordered
        ]
        return grid([Column("DEVICE"), Column("COULD SERVE", spare=1), _WHY], rows, now)
    groups: dict[tuple[str, ...], list[ConsideredDevice]] = {}
    for each in ordered:
        groups.setdefault(_kind(each), []).append(each)
    rows = [[len(same), _could(same[0]), _why(same, now), _names(same)] for same in groups.values()]
    columns = [Column("DEVICES", spare=1), Column("COULD SERVE", spare=2), _WHY, Column("WHICH", least=16, wraps=True)]
    counted = Text(f"{len(devices)} devices in {len(groups)} groups; -o json shows each", style="dim")
    return Group(grid(columns, rows, now), counted)


def _usefulness(device: ConsideredDevice, now: datetime) -> tuple[object, ...]:
    """Free ones first, then what will be free soonest, then those that lack least."""
    free_in = _free_in_seconds(device, now)
    lacks = ("target" in device.unmet, len(device.unmet))
    kind = _SOONEST.get(device.code, len(_SOONEST))
    return (not device.feasible, *lacks, device.code is not None, free_in, kind, device.device_id)


def _free_in_seconds(device: ConsideredDevice, now: datetime) -> float:
    if device.free_at is not None:
        return max(0.0, (device.free_at - now).total_seconds())
    return BUSY_SECONDS if device.code is PendingCode.ALL_BUSY else math.inf


def _kind(device: ConsideredDevice) -> tuple[str, ...]:
    """Devices of one kind are shown in one line."""
    if device.feasible:
        # What the plan says of free ones; the second is what no requirement is called.
        return (device.code or device.message, "")
    return ("target",) if "target" in device.unmet else device.unmet


def _could(device: ConsideredDevice) -> str:
    return "yes" if device.feasible else "no"


def _why(same: Sequence[ConsideredDevice], now: datetime) -> str:
    if len({each.message for each in same}) == 1:
        return in_local_time(same[0].message, now) + _until(same[0], now)
    if not same[0].feasible:
        unmet = " and ".join(_kind(same[0]))
        return f"other {unmet}; {same[0].device_id}: {in_local_time(same[0].message, now)}"
    first = next((each for each in same if each.free_at is not None), None)
    until = "" if first is None else f"; the first {in_local_time(first.message, now)}{_until(first, now)}"
    return f"{same[0].code}{until}"


def _until(device: ConsideredDevice, now: datetime) -> str:
    if device.free_at is None:
        return ""
    if device.code != PendingCode.ALL_BUSY:
        return f", until {when(device.free_at, now)}"
    return f", free about {when(device.free_at, now)}" if device.free_at > now else ", free any moment"


def _names(same: Sequence[ConsideredDevice]) -> str:
    names = ", ".join(each.device_id for each in same[:MOST_NAMED])
    hidden = len(same) - MOST_NAMED
    return f"{names} and {hidden} more" if hidden > 0 else names

"""What is said of submitted jobs that no device could ever serve: most often somebody mistyped what they ask for."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from qgjob._enums import PendingCode
from qgjob._errors import QgjobError
from qgjob.cli.requirements import ASKED_WITH, FIELDS

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._fleet import Device
    from qgjob._models import Job

_SHORT = {
    "os": "os_version",
    "version": "os_version",
    "model": "device_model",
    "device": "device_id",
    "id": "device_id",
}
"""Names that people write for fields of a device, and that are not like those."""

HINT_SECONDS = 2.0
"""How long hints are looked for: nobody waits for them."""


def unserved(jobs: Iterable[Job]) -> list[Job]:
    """Those that no device could ever serve."""
    return [job for job in jobs if job.pending_reason and job.pending_reason.code is PendingCode.NO_RESOURCE]


def warnings(jobs: Sequence[Job]) -> list[str]:
    """A line for each reason of jobs that no device could ever serve: those wait until there is one."""
    reasons = Counter(job.pending_reason.message for job in jobs if job.pending_reason)
    code = PendingCode.NO_RESOURCE
    return [f"warning: {_waiting(count)} ({code}): {reason}" for reason, count in reasons.items()]


def _waiting(count: int) -> str:
    return f"{count} jobs wait, and no device can run them" if count > 1 else "1 job waits, and no device can run it"


async def hints(client: AsyncClient, jobs: Sequence[Job]) -> list[str]:
    """A line for each id and each label that such jobs ask for and that no device has, with one that is like it."""
    # The jobs are submitted; where the fleet can't be looked at, or not soon, there is nothing to add.
    with contextlib.suppress(QgjobError, TimeoutError):
        async with asyncio.timeout(HINT_SECONDS):
            devices = [device async for device in client.devices()] if jobs else []
            return await _hints_of(jobs, devices)
    return []


async def _hints_of(jobs: Sequence[Job], devices: Sequence[Device]) -> list[str]:
    """Each look-up goes over the whole fleet, so there is one of a kind; between two others have their turn."""
    ids = dict.fromkeys(device.device_id for device in devices)
    labels = dict.fromkeys(key for device in devices for key in device.labels)
    wanted = [job.requirements for job in jobs]
    lines = []
    for device_id in dict.fromkeys(each.device_id for each in wanted if each.device_id is not None):
        if device_id not in ids:
            lines.append(_unknown_id(device_id, ids))
            await asyncio.sleep(0)
    for key in dict.fromkeys(key for each in wanted for key in sorted(each.labels)):
        if key not in labels:
            lines.append(_unknown_label(key, labels))
            await asyncio.sleep(0)
    return lines


def _unknown_id(device_id: str, ids: Iterable[str]) -> str:
    near = get_close_matches(device_id, ids, n=1)
    advice = f"did you mean {near[0]}?" if near else "`qgjob devices ls` lists those that are"
    return f"hint: no device with the id {device_id!r} is known; {advice}"


def _unknown_label(key: str, labels: Iterable[str]) -> str:
    meant = _SHORT.get(key.lower()) or next(iter(get_close_matches(key.lower(), [*FIELDS, *labels], n=1)), None)
    advice = f"; did you mean {ASKED_WITH.get(meant, meant)}?" if meant else ""
    return f"hint: no device has a label {key!r}{advice}"

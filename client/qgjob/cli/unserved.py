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
    waiting = {reason: "1 job waits" if count == 1 else f"{count} jobs wait" for reason, count in reasons.items()}
    return [f"warning: {who} for a device that is not there, {code}: {reason}" for reason, who in waiting.items()]


async def hints(client: AsyncClient, jobs: Sequence[Job]) -> list[str]:
    """A line for each id and each label that such jobs ask for and that no device has, with one that is like it."""
    lines: dict[str, None] = {}
    # The jobs are submitted; where the fleet can't be looked at, or not soon, there is nothing to add.
    with contextlib.suppress(QgjobError, TimeoutError):
        async with asyncio.timeout(HINT_SECONDS):
            devices = [device async for device in client.devices()] if jobs else []
        ids = [device.device_id for device in devices]
        labels = {key for device in devices for key in device.labels}
        for job in jobs:
            wanted = job.requirements
            if wanted.device_id is not None and wanted.device_id not in ids:
                lines[_unknown_id(wanted.device_id, ids)] = None
            lines |= {_unknown_label(key, labels): None for key in sorted(wanted.labels) if key not in labels}
    return list(lines)


def _unknown_id(device_id: str, ids: Iterable[str]) -> str:
    near = get_close_matches(device_id, ids, n=1)
    advice = f"did you mean {near[0]}?" if near else "`qgjob devices ls` lists those that are"
    return f"hint: no device with the id {device_id!r} is known; {advice}"


def _unknown_label(key: str, labels: Iterable[str]) -> str:
    meant = _SHORT.get(key.lower()) or next(iter(get_close_matches(key.lower(), [*FIELDS, *labels], n=1)), None)
    advice = f"; did you mean {ASKED_WITH.get(meant, meant)}?" if meant else ""
    return f"hint: no device has a label {key!r}{advice}"

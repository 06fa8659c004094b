"""Asks every coordinator that is named, each by itself, what it finds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from qgjob._client import AsyncClient
from qgjob._errors import QgjobError, UnsupportedError
from qgjob._failover import parse_addresses
from qgjob._fleet import Health
from qgjob._reach import Peer, reach
from qgjob.cli.doctor_findings import Visit, one_store
from qgjob.cli.settings import Settings

ANSWER_SECONDS = 10.0
"""A coordinator gives its store seconds to answer before it says that it does not."""
AGAIN_SECONDS = 3.0
"""Coordinators notice a failover of their store within about a second, each by itself: those that seem to use different
stores are asked once more after so long."""


async def visit_all(settings: Settings) -> Sequence[Visit]:
    """What came of each address, in the order in which they are named."""
    visits = await _visit_each(settings)
    if not one_store(visits):
        await asyncio.sleep(AGAIN_SECONDS)
        visits = await _visit_each(settings)
    return visits


async def _visit_each(settings: Settings) -> Sequence[Visit]:
    return await asyncio.gather(*(_visit(address, settings) for address in parse_addresses(settings.coordinator)))


async def _visit(address: str, settings: Settings) -> Visit:
    found = await reach(address)
    asked_at = datetime.now(UTC)
    if found.peer is not Peer.HTTP2:
        return Visit(address, found, asked_at, asked_at)
    seconds = settings.timeout_seconds or ANSWER_SECONDS
    async with AsyncClient(address, token=settings.token or "", timeout_seconds=seconds) as client:
        try:
            answer = await client.diagnose()
        except UnsupportedError as error:
            return Visit(address, found, asked_at, datetime.now(UTC), error=error, health=await _health(client))
        except QgjobError as error:
            return Visit(address, found, asked_at, datetime.now(UTC), error=error)
    return Visit(address, found, asked_at, datetime.now(UTC), answer)


async def _health(client: AsyncClient) -> Health | None:
    try:
        return await client.health()
    except QgjobError:
        return None  # what is to be said is said: it can't be asked

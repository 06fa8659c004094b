"""How a client shows that it is still there, for runs that are to be cancelled when it goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from qgjob._errors import NotFoundError, UnavailableError
from qgjob._wire_requests import keep_run

if TYPE_CHECKING:
    from qgjob._failover import Failover
    from qgjob._models import Bond

SIGNS = 3
"""Of life in the time after which a client counts as gone: one may be lost, and the next come late."""


@contextlib.asynccontextmanager
async def kept(source: Failover, org_id: str, run_id: str, bond: Bond) -> AsyncGenerator[None]:
    """Shows that the client lives while the block lasts. A block that ends without an error ends the bond."""
    renewing = asyncio.create_task(_renew(source, org_id, run_id, bond))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
    await source.call("KeepRun", keep_run(org_id, run_id, bond.client_id, release=True))


async def _renew(source: Failover, org_id: str, run_id: str, bond: Bond) -> None:
    pause = bond.after_seconds / SIGNS
    request = keep_run(org_id, run_id, bond.client_id, release=False)
    while True:
        # There may be nothing to renew: what is submitted is not there yet, or it was cancelled, as its jobs tell. And
        # of a coordinator that is away the call tells itself; it may be back for the next one.
        with contextlib.suppress(NotFoundError, UnavailableError):
            await source.call("KeepRun", request, within_seconds=pause)
        await asyncio.sleep(pause)

"""How a client shows that it is still there, for runs that are to be cancelled when it goes away."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from qgjob._errors import (
    ForbiddenError,
    InvalidError,
    NotAuthenticatedError,
    NotFoundError,
    QgjobError,
    UnavailableError,
    UnsupportedError,
)
from qgjob._wire_requests import keep_run

if TYPE_CHECKING:
    from qgjob._failover import Failover
    from qgjob._models import Bond

SIGNS = 3
"""Of life in the time after which a client counts as gone: one may be lost, and the next come late."""

_LASTING = (UnsupportedError, InvalidError, ForbiddenError, NotAuthenticatedError)
"""The same call is answered so again. Of all else the next call may be spared."""

_REFUSED = "the signs of life of this block are refused"

_log = logging.getLogger("qgjob")


def ends_refused(error: asyncio.CancelledError) -> bool:
    """Whether this is how `kept` ends its block, and nobody's interrupt: what comes out of `kept` says more."""
    return error.args == (_REFUSED,)


@contextlib.asynccontextmanager
async def kept(
    source: Failover,
    org_id: str,
    run_id: str,
    bond: Bond,
    on_trouble: Callable[[QgjobError], None] | None = None,
) -> AsyncGenerator[None]:
    """Shows that the client lives while the block lasts. A block that ends without an error ends the bond.

    `on_trouble` is told once of each error that hides a sign of life. One that would come again at each sign ends the
    block: it is cancelled, and that error is raised in its place.
    """
    renewing = asyncio.create_task(_renew(source, org_id, run_id, bond, on_trouble or _warn))
    block = asyncio.current_task()
    cancelled_before = block.cancelling() if block is not None else 0
    inside, ended = True, False

    def end_block(done: asyncio.Task[None]) -> None:
        nonlocal ended
        if inside and block is not None and not done.cancelled():
            ended = block.cancel(_REFUSED)

    renewing.add_done_callback(end_block)
    try:
        try:
            yield
        finally:
            inside = False
            renewing.cancel()
            await asyncio.wait([renewing])
    except asyncio.CancelledError:
        if ended and block is not None and block.uncancel() <= cancelled_before:
            await renewing
        raise
    if not renewing.cancelled():
        await renewing
    await source.call("KeepRun", keep_run(org_id, run_id, bond.client_id, release=True))


async def _renew(
    source: Failover, org_id: str, run_id: str, bond: Bond, on_trouble: Callable[[QgjobError], None]
) -> None:
    pause = bond.after_seconds / SIGNS
    request = keep_run(org_id, run_id, bond.client_id, release=False)
    clock = asyncio.get_running_loop().time
    told: set[str] = set()
    while True:
        began = clock()
        try:
            # There may be nothing to renew: what is submitted is not there yet, or it was cancelled, as its jobs tell.
            # And of a coordinator that is away the call tells itself; it may be back for the next one.
            with contextlib.suppress(NotFoundError, UnavailableError):
                await source.call("KeepRun", request, within_seconds=pause)
        except _LASTING:
            raise
        except QgjobError as error:
            if error.message not in told:
                told.add(error.message)
                on_trouble(error)
        await asyncio.sleep(max(0.0, pause - (clock() - began)))


def _warn(error: QgjobError) -> None:
    _log.warning("a sign of life was not taken, the next one follows: %s", error.message)

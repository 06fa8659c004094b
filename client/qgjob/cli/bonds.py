"""The bond of a run to its command: renewed while the command lives, and told of when it stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from qgjob._errors import QgjobError, UnavailableError
from qgjob.cli.runner import tell

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._models import Bond
    from qgjob.cli.limit import Limit

RELEASE_SECONDS = 2.0
"""How long a command whose time is over tries to leave its run to itself."""


@asynccontextmanager
async def alive(
    client: AsyncClient, org_id: str, run_id: str | None, bond: Bond | None, limit: Limit
) -> AsyncGenerator[None]:
    """A block in which this command shows that it lives, if the run is bound to it."""
    if bond is None or run_id is None:
        yield
        return
    done = False
    try:
        async with asyncio.timeout(None) as ending, client.kept(org_id, run_id, bond, on_trouble=_tell_of_sign):
            yield
            done = True
            if limit.over:  # who set a limit waits no longer than that for a coordinator that is away
                ending.reschedule(asyncio.get_running_loop().time() + RELEASE_SECONDS)
    except TimeoutError:
        tell(
            f"run {run_id} stays bound to this command: what it has unfinished is cancelled in {bond.after_seconds:g} s"
        )
    except QgjobError as error:
        if not done:
            raise
        # The verdicts are there, and what they say is the exit code.
        tell(f"{error.message}; what run {run_id} has unfinished is cancelled in {bond.after_seconds:g} s")


def _tell_of_sign(error: QgjobError) -> None:
    tell(f"the coordinator did not take a sign of life of this command, the next one follows: {error.message}")


def bound(error: QgjobError, run_id: str, bond: Bond) -> str:
    """What becomes of a run that is bound to a command that ends with this error."""
    after = f"{bond.after_seconds:g} s"
    # While all coordinators are away nobody observes the bond, and then its time begins anew.
    when = f"{after} after a coordinator is back" if isinstance(error, UnavailableError) else f"in {after}"
    return f"run {run_id} stays bound to this command: what it has unfinished is cancelled {when}"

"""Calls to the store that fail for one of two orgs: its slot of a Cluster moves, or the node that has it hangs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from qgjob_coordinator.errors import StoreUnavailableError

AWAY, OTHER = "acme", "globex"
"""The order of their names is the order in which they are served."""


Call = Callable[..., Awaitable[Any]]


def away(call: Call, which: str = AWAY) -> Call:
    """The call fails for the org."""

    async def one(org_id: str, *args: Any) -> Any:
        if org_id == which:
            raise StoreUnavailableError("its slot moves")
        return await call(org_id, *args)

    return one

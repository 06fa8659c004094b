"""Who calls."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal


async def identify() -> Principal:
    """The principal of a call: until authentication is built, the local administrator."""
    return LOCAL_ADMIN


Caller = Annotated[Principal, Depends(identify)]

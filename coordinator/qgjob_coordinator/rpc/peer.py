"""A peer that went while it was told something: gRPC says so with an error of its own, and we with a cancel.

gRPC cancels a call whose peer it knows to be gone, so all that serves calls can end that way. Its own error would pass
for a fault: of ours, or of the org for which the call was served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import grpc

T = TypeVar("T")


async def told(telling: Awaitable[T]) -> T:
    """What the telling gives, be it one message or a whole stream. Raises CancelledError where the peer went."""
    try:
        return await telling
    except grpc.aio.InternalError as e:
        raise asyncio.CancelledError("the call was over before its peer could be told") from e

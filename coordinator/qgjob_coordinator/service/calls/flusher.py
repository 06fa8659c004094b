"""Flush while busy: what arrives while a write is under way goes together in the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Flusher(Generic[T, R]):
    """Batches items for `write`, at most `most` a call; each caller is answered when its own write is done.

    `write` answers one result for each item: a value, or an exception for that item alone.
    """

    def __init__(self, write: Callable[[list[T]], Awaitable[Sequence[R | BaseException]]], most: int) -> None:
        self._write = write
        self._most = most
        self._pending: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is under way."""
        return self._task is None

    def put(self, item: T) -> asyncio.Future[R]:
        """Adds an item; the future gets its result. Cancelling the future does not take the item back."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._pending.append((item, future))
        if self._task is None:
            # A batch is of many callers: what is logged while it is written must not bear the first one's ids.
            self._task = asyncio.create_task(self._run(), context=Context())
        return future

    async def _run(self) -> None:
        try:
            while self._pending:
                batch = self._pending[: self._most]
                del self._pending[: self._most]
                await self._flush(batch)
        finally:
            self._task = None

    async def _flush(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
            answers = list(zip(batch, results, strict=True))
        except Exception as e:  # noqa: BLE001 - every caller of the batch gets it
            for _, future in batch:
                if not future.done():
                    future.set_exception(e)
            return
        for (_, future), result in answers:
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)

"""Whether the store can acknowledge, from start to end: waits for it, brings it along, notices its new lives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from qgjob_coordinator.errors import ConfigError, SchemaOlderError, StoreUnavailableError
from qgjob_coordinator.loops.store_news import StoreNews
from qgjob_coordinator.service.agents.messages import RefusedReason
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.tasks import end_tasks

PAUSE_SECONDS = 1.0

log = structlog.get_logger(__name__)


class StoreWatch:
    """One a process. `url` is the store's address without its secrets; all ends when `stop` is set."""

    def __init__(self, store: Store, sessions: Sessions, url: str, durability: str, stop: asyncio.Event) -> None:
        self._store = store
        self._sessions = sessions
        self._url = url
        self._news = StoreNews(url)
        self._durability = durability
        self._stop = stop
        self._life = 0  # epoch of the store's life that agents were last told to connect in

    async def ready(self) -> bool:
        """Waits for the store, saying so; False when told to stop meanwhile. Raises ConfigError."""
        while not self._stop.is_set():
            try:
                info = await self._store.check()
                weaker = await self._store.weaker_than(self._durability)
            except SchemaOlderError as e:
                await self._migrate(e.found)
            except StoreUnavailableError as e:
                self._news.away(e.message)
                await self._pause()
            else:
                self._news.back()
                self._life = self._store.epoch
                log.info("store_ready", version=info["redis_version"], store_epoch=self._store.epoch)
                if weaker is not None:
                    log.warning("durability_weaker", wanted=self._durability, found=weaker)
                return True
        return False

    async def run(self, serve: Callable[[bool], Awaitable[None]]) -> None:
        """Serving while the store can acknowledge, not serving while it can't; until told to stop."""
        fault: str | None = None
        while not self._stop.is_set():
            await self._pause()
            found = await self.look(fault)
            if (found is None) != (fault is None):
                await serve(found is None)
                log.info("serving", serving=found is None)
            fault = found

    async def look(self, told: str | None) -> str | None:
        """Why the store can't be used now; that it is unfit is not said when it was `told` the last time. None: it can.

        A store that turns out unfit at start ends the program; one that becomes so is mended while it runs.
        """
        try:
            try:
                await self._store.check()
            except SchemaOlderError as e:
                await self._migrate(e.found)
                return e.short
        except StoreUnavailableError as e:
            self._news.away(e.message)
            return e.short
        except ConfigError as e:
            if told != e.message:
                log.warning("store_unfit", url=self._url, error=e.message, note="not serving until that is mended")
            return e.message
        if self._store.epoch != self._life:  # a probe may have met it first
            known, self._life = self._life, self._store.epoch
            self._new_life(known)
        self._news.back()
        return None

    async def _migrate(self, found: str) -> None:
        """Brings a store of an older schema along, beside others, until told to stop. Raises ConfigError."""
        log.warning("store_migrating", found=found)
        moving = asyncio.create_task(self._store.migrate(found), name="migrate")
        stopping = asyncio.create_task(self._stop.wait(), name="stopping")
        try:
            await asyncio.wait((moving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not moving.done():
                return  # whoever comes next goes on with it, as after a crash
            changed = moving.result()
        except StoreUnavailableError as e:
            self._news.away(e.message)
            await self._pause()
        else:
            log.warning("store_migrated", found=found, changed=changed)
        finally:
            await end_tasks((moving, stopping))

    def _new_life(self, known: int) -> None:
        """The store was restarted, or another took its place, maybe with less than it had.

        Then leases may be back that an agent was told to be rid of. Only a new session compares all that it holds.
        """
        found = self._store.epoch_before
        if found < known:
            log.error("store_went_back", known_epoch=known, found_epoch=found, store_epoch=self._store.epoch)
        else:
            log.warning("store_new_life", store_epoch=self._store.epoch)
        self._sessions.end_all(RefusedReason.STALE_EPOCH, "the store has a new life; connect again")

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._stop.wait()

"""Hints between coordinators, by pub/sub. They shorten waits and carry no truth."""

from __future__ import annotations

import asyncio

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.store.store import Store

PAUSE_SECONDS = 0.02
ALONE_SECONDS = 1.0
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Receiver:
    """What to do with the hints of another coordinator; this one's own come back too and are harmless."""

    def __init__(self, hub: Hub, sessions: Sessions) -> None:
        self._hub = hub
        self._sessions = sessions

    def heard(self, message: str) -> None:
        """Lines of `<kind> <id>`; a kind of a newer version is passed over."""
        for line in message.split("\n"):
            kind, _, rest = line.partition(" ")
            if kind == "work":
                self._hub.work(rest, local=False)
            elif kind == "changed":
                self._hub.changed(rest, local=False)
            elif kind == "revoke":
                agent, _, token = rest.partition(" ")
                self._sessions.revoke(agent, token, "cancelled")
            elif kind == "holds":
                live = self._sessions.get(rest)
                if live is not None:
                    live.records.follow()


async def speak(hub: Hub, store: Store) -> None:
    """Publishes this coordinator's hints, at most every PAUSE_SECONDS; more rarely while nobody else listens."""
    while True:
        await hub.hints_due.wait()
        try:
            heard = await store.publish("\n".join(hub.take_hints()))
        except StoreUnavailableError:
            heard = 0  # lost, as hints may be
        await asyncio.sleep(PAUSE_SECONDS if heard > 1 else ALONE_SECONDS)


async def hear(store: Store, receiver: Receiver) -> None:
    """Listens for ever; a lost connection is made again."""
    while True:
        try:
            await store.listen(receiver.heard)
        except StoreUnavailableError as e:
            log.debug("hints_lost", error=e.message)
        await asyncio.sleep(RETRY_SECONDS)

"""Hints between coordinators, by pub/sub. They shorten waits and carry no truth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.store.store import Store

PAUSE_SECONDS = 0.02
ALONE_SECONDS = 1.0
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class Revoker(Protocol):
    """Who tells an agent of this coordinator that a lease was revoked, or that its holds changed."""

    def revoke(self, agent_id: str, token: str, reason: str) -> bool:
        """Sends the revocation if the agent's session is here."""

    def holds_changed(self, agent_id: str) -> None:
        """Reads the agent's holds again if its session is here."""


async def speak(hub: Hub, store: Store) -> None:
    """Publishes this coordinator's hints, at most every PAUSE_SECONDS; more rarely while nobody else listens."""
    while True:
        await hub.hints_due.wait()
        try:
            heard = await store.publish("\n".join(hub.take_hints()))
        except StoreUnavailableError:
            heard = 0  # lost, as hints may be
        await asyncio.sleep(PAUSE_SECONDS if heard > 1 else ALONE_SECONDS)


def receiver(hub: Hub, revoker: Revoker) -> Callable[[str], None]:
    """What to do with a message of another coordinator (or of this one, which is harmless)."""

    def heard(message: str) -> None:
        for line in message.split("\n"):
            kind, _, rest = line.partition(" ")
            if kind == "work":
                hub.work(rest, local=False)
            elif kind == "changed":
                hub.changed(rest, local=False)
            elif kind == "revoke":
                agent, _, token = rest.partition(" ")
                revoker.revoke(agent, token, "cancelled")
            elif kind == "holds":
                revoker.holds_changed(rest)

    return heard


async def hear(hub: Hub, store: Store, revoker: Revoker) -> None:
    """Listens for ever; a lost connection is made again."""
    while True:
        try:
            await store.listen(receiver(hub, revoker))
        except StoreUnavailableError as e:
            log.debug("hints_lost", error=e.message)
        await asyncio.sleep(RETRY_SECONDS)

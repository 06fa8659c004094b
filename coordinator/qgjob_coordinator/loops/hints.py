"""Hints between coordinators, by pub/sub. They shorten waits and carry no truth."""

from __future__ import annotations

import asyncio

import structlog

from qgjob_coordinator.errors import StoreRightsError, StoreUnavailableError
from qgjob_coordinator.policy.diagnosis.rights import HINTS_TO_DO
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.store.store import Store

PAUSE_SECONDS = 0.02
ALONE_SECONDS = 1.0
RETRY_SECONDS = 1.0
REFUSED_SECONDS = 5.0

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


class Refusals:
    """What the log is told of hints that the store refuses: each way once, until it is allowed again."""

    def __init__(self, way: str) -> None:
        self._way = way
        self._told = False

    def refused(self, error: StoreRightsError) -> None:
        """The store's user may not."""
        if not self._told:
            what = "waits are longer, nothing is lost"
            log.warning("hints_refused", way=self._way, lacks=" ".join(error.rules), note=what, what_to_do=HINTS_TO_DO)
        self._told = True

    def allowed(self) -> None:
        """It may."""
        if self._told:
            log.info("hints_allowed", way=self._way)
        self._told = False


async def speak(hub: Hub, store: Store) -> None:
    """Publishes this coordinator's hints, at most every PAUSE_SECONDS; more rarely while nobody else listens."""
    refusals = Refusals("sending")
    while True:
        await hub.hints_due.wait()
        try:
            heard = await store.publish("\n".join(hub.take_hints()))
            refusals.allowed()
        except StoreRightsError as e:
            refusals.refused(e)
            heard = 0
        except StoreUnavailableError:
            heard = 0  # lost, as hints may be
        await asyncio.sleep(PAUSE_SECONDS if heard > 1 else ALONE_SECONDS)


async def hear(store: Store, receiver: Receiver) -> None:
    """Listens for ever; a lost connection is made again, and what is refused is tried again more rarely."""
    refusals = Refusals("hearing")
    while True:
        pause = RETRY_SECONDS
        try:
            await store.listen(receiver.heard, refusals.allowed)
        except StoreRightsError as e:
            refusals.refused(e)
            pause = REFUSED_SECONDS
        except StoreUnavailableError as e:
            log.debug("hints_lost", error=e.message)
        await asyncio.sleep(pause)

"""Runs that are bound to the life of a client: what the client asks for, and how it shows that it lives."""

from __future__ import annotations

from qgjob_coordinator.errors import NotFoundError
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.submissions import BoundTo

MAX_AFTER_SECONDS = 86_400
FIELD = "cancel_on_disconnect"


def bound_to(client_id: object, after_seconds: object) -> BoundTo:
    """The client that a submission names. Raises InvalidError."""
    client = validation.check_id(f"{FIELD}.client_id", client_id)
    seconds = validation.check_number(f"{FIELD}.after_seconds", after_seconds, 1, MAX_AFTER_SECONDS)
    return BoundTo(client, round(seconds * 1000))


class Keeping:
    """Renewals. Nothing of a bond is in this process: any coordinator takes them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def keep(
        self, principal: Principal, org_id: object, run_id: object, client_id: object, *, release: bool
    ) -> None:
        """The client lives, or (`release`) has no more to do with the run, which may be told twice.

        Raises InvalidError, NotFoundError (there is nothing to renew: never bound, ended, or given up),
        StoreUnavailableError.
        """
        org = validation.check_id("org_id", org_id)
        principal.require_org(org)
        run = validation.check_id("run_id", run_id)
        client = validation.check_id("client_id", client_id)
        if not await self._store.runs.keep(org, run, client, release=release) and not release:
            raise NotFoundError(f"run {run} of org {org} is not bound to client {client}", field="run_id")

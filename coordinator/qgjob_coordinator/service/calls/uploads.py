"""Uploads to the store of a provider of devices: one agent of all makes each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import UploadWord

MOST_HELD_SECONDS = 600
KNOWN_SECONDS = 600
"""For so long an agent that looks in the provider's own lists need not find a new content there."""
_TOKEN = re.compile(r"[A-Za-z0-9]{16,64}\Z")
_WHERE = re.compile(r"[!-~]{1,200}\Z")


@dataclass(frozen=True, slots=True)
class UploadShare:
    """One word of an agent about an upload; nothing of it is checked yet."""

    account: object
    digest: object
    token: object
    held_seconds: object
    app_url: object = ""
    give_up: bool = False


class UploadService:
    """Who uploads what, for agents."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def share(self, principal: Principal, told: UploadShare) -> tuple[UploadWord, str]:
        """How the upload stands, and where the content is where that is known. Repeated, it answers the same.

        Raises InvalidError, ForbiddenError, StoreUnavailableError.
        """
        principal.require_operator()
        account = validation.check_digest("account", told.account)
        digest = validation.check_digest("digest", told.digest)
        if not isinstance(told.token, str) or not _TOKEN.match(told.token):
            raise InvalidError("token", "is no token of an upload; send 16 to 64 random letters and digits")
        uploads = self._store.uploads
        if told.give_up:
            if told.app_url:
                raise InvalidError("give_up", "is set beside app_url; an upload is done or given up")
            return await uploads.give_up(account, digest, told.token)
        if told.app_url:
            if not isinstance(told.app_url, str) or not _WHERE.match(told.app_url) or told.app_url == "-":
                raise InvalidError("app_url", "is no address; send at most 200 characters without spaces")
            return await uploads.done(account, digest, told.token, told.app_url, KNOWN_SECONDS * 1000)
        held = validation.check_int("held_seconds", told.held_seconds, 1, MOST_HELD_SECONDS)
        return await uploads.want(account, digest, told.token, held * 1000)

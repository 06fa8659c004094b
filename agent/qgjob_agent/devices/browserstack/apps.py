"""Builds as apps of an account: each content is uploaded once, by whichever agent is first."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.devices.browserstack.errors import CloudAwayError, CloudError, RejectedError
from qgjob_agent.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from qgjob_agent.builds.base import Build, Builds
    from qgjob_agent.core.values import Assignment
    from qgjob_agent.devices.browserstack.rest import Rest

BELIEVED_SECONDS = 3600.0
"""An app that was seen so long ago is looked up again: BrowserStack removes them after 30 days."""
HELD_SECONDS = 60.0
"""After so long without a word from an uploader another one takes its place."""
SPARE_SECONDS = 5.0
"""An upload is broken off so long before another one may take its place."""
_LOOK_SECONDS = 1.0
_FORMATS = {"android": ("apk", "aab"), "ios": ("ipa",)}


class Word(Enum):
    """What became of a wish to upload."""

    YOURS = "yours"  # upload, and say what came of it; asked again, it stays yours for as long again
    TAKEN = "taken"  # another one uploads
    KNOWN = "known"  # it was uploaded: `app_url`
    STALE = "stale"  # it is not yours any more


@dataclass(frozen=True, slots=True)
class Answer:
    """`app_url` with KNOWN only."""

    word: Word
    app_url: str = ""


class SharingAwayError(Exception):
    """Nobody can say now whether another agent uploads."""


class _LockLostError(Exception):
    """The upload is not this agent's any more. The message says why."""


class Uploads(Protocol):
    """Who of all agents uploads a content. Calls raise SharingAwayError."""

    async def ask(self, account: str, digest: str, token: str, held_seconds: float) -> Answer:
        """Wants to upload: YOURS, TAKEN or KNOWN."""

    async def done(self, account: str, digest: str, token: str, app_url: str) -> Answer:
        """It is uploaded: KNOWN, or STALE."""

    async def give_up(self, account: str, digest: str, token: str) -> Answer:
        """It was not uploaded, and another one may: STALE."""


class Apps:
    """The apps of one account. Tries of several devices for one content share an upload."""

    def __init__(
        self, rest: Rest, builds: Builds, uploads: Uploads, account: str, upload_seconds: float, log: Any
    ) -> None:
        self._rest = rest
        self._builds = builds
        self._uploads = uploads
        self._account = hashlib.sha256(account.encode()).hexdigest()
        self._upload_seconds = upload_seconds
        self._log = log
        self._known: dict[str, tuple[str, float]] = {}  # digest -> address, when it was seen
        self._locks: dict[str, asyncio.Lock] = {}
        self.uploaded = 0

    async def url_of(self, assignment: Assignment, platform: str) -> tuple[str, bool]:
        """The address of an assignment's build, and whether it was uploaded for this.

        Raises BuildUnresolvedError, BuildAwayError, CloudError.
        """
        digest, build = assignment.build_digest, None
        form = assignment.build_format
        if digest is None:
            build = await self._builds.get(assignment, platform, "device")
            digest, form = build.digest, build.format
        if form not in _FORMATS.get(platform, ()):
            wanted = " or .".join(_FORMATS.get(platform, ("apk",)))
            raise BuildUnresolvedError(f"the build is a {form!r}, and BrowserStack's {platform} devices take .{wanted}")
        async with self._locks.setdefault(digest, asyncio.Lock()):
            found = self._believed(digest) or await self._rest.app_of(custom_id(digest))
            if found is not None:
                return self._seen(digest, found), False
            return await self._shared(digest, assignment, platform, build)

    def forget_all(self) -> None:
        """BrowserStack may not have an app any more: all are looked up again."""
        self._known.clear()

    def _believed(self, digest: str) -> str | None:
        url, at = self._known.get(digest, (None, 0.0))
        return url if monotonic_seconds() - at < BELIEVED_SECONDS else None

    def _seen(self, digest: str, url: str) -> str:
        self._known[digest] = (url, monotonic_seconds())
        return url

    async def _shared(
        self, digest: str, assignment: Assignment, platform: str, build: Build | None
    ) -> tuple[str, bool]:
        """Uploads, or waits for who does."""
        token = secrets.token_hex(16)
        while True:
            try:
                asked_at, answer = await self._turn(digest, token)
            except SharingAwayError as error:
                raise BuildAwayError(f"the build is not uploaded: {error}") from error
            if answer.word is Word.KNOWN:
                return self._seen(digest, answer.app_url), False
            try:
                async with self._holding(digest, token, asked_at):
                    # Whoever had the lock before may have died between its upload and its word.
                    url = await self._rest.app_of(custom_id(digest))
                    uploaded = url is None
                    if url is None:
                        url = await self._upload(
                            digest, build or await self._builds.get(assignment, platform, "device")
                        )
            except _LockLostError as error:
                self._log.warning("browserstack_upload_broken_off", digest=digest, why=str(error))
                continue
            with contextlib.suppress(SharingAwayError):  # others find it by its id
                await self._uploads.done(self._account, digest, token, url)
            if uploaded:
                await self._look_whether_twice(digest)
            return self._seen(digest, url), uploaded

    async def _turn(self, digest: str, token: str) -> tuple[float, Answer]:
        """Waits for YOURS or KNOWN; with it when that was asked. Raises SharingAwayError."""
        while True:
            asked_at = monotonic_seconds()
            answer = await self._uploads.ask(self._account, digest, token, HELD_SECONDS)
            if answer.word in (Word.YOURS, Word.KNOWN):
                return asked_at, answer
            await asyncio.sleep(_LOOK_SECONDS)

    @contextlib.asynccontextmanager
    async def _holding(self, digest: str, token: str, asked_at: float) -> AsyncGenerator[None, None]:
        """A block that ends before another agent may upload. Raises _LockLostError where that is before its own end."""
        held = asyncio.timeout(asked_at + HELD_SECONDS - SPARE_SECONDS - monotonic_seconds())
        keeping = asyncio.create_task(self._keep(digest, token, held, asked_at), name="browserstack-upload-kept")
        try:
            try:
                async with held:
                    yield
            finally:
                await end_tasks([keeping])  # a question after the last word would have it again, for nobody
        except BaseException as error:
            with contextlib.suppress(SharingAwayError):  # then it ends by itself
                await self._uploads.give_up(self._account, digest, token)
            if isinstance(error, TimeoutError) and held.expired():
                why = "another agent has taken it over, or no coordinator lets this one go on"
                raise _LockLostError(why) from None
            raise

    async def _keep(self, digest: str, token: str, held: asyncio.Timeout, asked_at: float) -> None:
        """An upload may take longer than its lock is held. Where that is lost, or can't be kept, `held` expires.

        Looks often whether it is too late: while the host sleeps, the clock of `held` stands still.
        """
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, HELD_SECONDS / 3))
            now, by_loop = monotonic_seconds(), asyncio.get_running_loop().time()
            if held.expired():
                return
            if now >= asked_at + HELD_SECONDS - SPARE_SECONDS:
                held.reschedule(by_loop)
                return
            if now < asked_at + HELD_SECONDS / 3:
                continue
            try:
                answer = await self._uploads.ask(self._account, digest, token, HELD_SECONDS)
            except SharingAwayError:
                continue
            if held.expired():
                return
            if answer.word is not Word.YOURS:
                held.reschedule(by_loop)
                return
            held.reschedule(by_loop + HELD_SECONDS - SPARE_SECONDS)
            asked_at = now

    async def _look_whether_twice(self, digest: str) -> None:
        """What no lock prevents is told: a store may lose it, or a broken upload had come whole."""
        try:
            urls = await self._rest.apps_of(custom_id(digest))
        except CloudError as error:
            self._log.info("browserstack_upload_not_checked", digest=digest, error=str(error))
            return
        if len(urls) > 1:
            self._log.warning("browserstack_uploaded_twice", digest=digest, app_urls=urls)

    async def _upload(self, digest: str, build: Build) -> str:
        begun = monotonic_seconds()
        try:
            async with asyncio.timeout(self._upload_seconds):
                url = await self._rest.upload(build.path, custom_id(digest), self._upload_seconds)
        except TimeoutError:
            raise CloudAwayError(f"the upload did not end in {self._upload_seconds:g} s") from None
        except RejectedError as error:
            raise BuildUnresolvedError(str(error)) from error
        except OSError as error:
            raise BuildAwayError(f"the build can't be read: {build.path}: {error.strerror}") from error
        self.uploaded += 1
        self._log.info(
            "browserstack_uploaded", digest=digest, app_url=url, seconds=round(monotonic_seconds() - begun, 1)
        )
        return url


def custom_id(digest: str) -> str:
    """What a content is called there: the latest upload with an id wins, so the id is of the content."""
    return f"qgjob-{digest}"

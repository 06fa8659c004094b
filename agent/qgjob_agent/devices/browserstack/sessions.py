"""Sessions of a BrowserStack plan, for the runs that ask for them, and what becomes of each afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.values import Outcome
from qgjob_agent.devices.app import App, AppUnknownError
from qgjob_agent.devices.browserstack.errors import (
    AccountRefusedError,
    CloudAwayError,
    CloudError,
    NoRoomError,
    UnheardError,
)
from qgjob_agent.devices.browserstack.gate import NoTurnError
from qgjob_agent.devices.browserstack.unheard import Unheard
from qgjob_agent.devices.cloud import Begun, SessionRefusedError
from qgjob_agent.host.plain_file import put_text
from qgjob_agent.hub_address import Address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgjob_agent.core.values import Assignment, DeviceFacts, Finished
    from qgjob_agent.devices.browserstack.apps import Apps
    from qgjob_agent.devices.browserstack.gate import Gate, Start
    from qgjob_agent.devices.browserstack.rest import Rest
    from qgjob_agent.devices.browserstack.settings import BrowserStackSettings
    from qgjob_agent.devices.cloud import Asked

LONGEST_PAUSE_SECONDS = 15.0
"""Between two tries that the hub refuses for want of room: what the plan shows as free it gives to nobody then."""
MOST_BYTES = 200_000_000
"""Of a video or a log; a longer one is left where it is."""
_OPTIONS = "bstack:options"
_NAME = 250
_PROJECT = "qgjob"  # as their dashboard groups sessions
_TRIES = 3
_LAST_SECONDS = 3.0
_NO_APP = re.compile(r"app_url|bs://|app not found|invalid app|app_deleted", re.IGNORECASE)
_NOT_THEIRS = ("appium:udid", "appium:deviceName", "appium:platformVersion", "appium:fullReset", "appium:noReset")
_DROPPED = ("error", "timeout")  # how BrowserStack itself ended a session
_SHOWN = (
    *("hashed_id", "name", "build_name", "project_name", "status", "browserstack_status", "reason"),
    *("duration", "created_at", "device", "os", "os_version"),
)
"""What is kept of what is said of a session. No address: some carry what opens the session, for whoever has them."""
_FILES = {"video_url": "video.mp4", "appium_logs_url": "appium.log", "device_logs_url": "device.log"}


class Sessions:
    """A Cloud (see devices.cloud). `changed` is called when another session of ours runs, or one fewer.

    `refused` is told that no session may begin.
    """

    def __init__(
        self,
        settings: BrowserStackSettings,
        rest: Rest,
        apps: Apps,
        gate: Gate,
        changed: Callable[[], None],
        refused: Callable[[AccountRefusedError], None],
        log: Any,
    ) -> None:
        self._settings = settings
        self._rest = rest
        self._apps = apps
        self._gate = gate
        self._changed = changed
        self._refused = refused
        self._log = log
        self._hub = Address.of_url(settings.hub_url)
        self._running: dict[str, str] = {}  # key -> device
        self._marking: set[asyncio.Task[None]] = set()
        self._unheard = Unheard(rest, self.end, settings.pause_seconds, settings.session_seconds, log)

    @property
    def busy(self) -> set[str]:
        """The devices that have a session now."""
        return set(self._running.values())

    async def app(self, assignment: Assignment, device: DeviceFacts) -> App:
        """See Cloud."""
        try:
            url, _ = await self._apps.url_of(assignment, device.platform or self._settings.platform)
        except BuildUnresolvedError as error:
            raise AppUnknownError(str(error), unresolvable=True) from error
        except (BuildAwayError, CloudError) as error:
            raise AppUnknownError(str(error)) from error
        return App(package=assignment.build_package or None, url=url)

    async def begin(self, asked: Asked) -> Begun:
        """See Cloud. Each try waits until the plan has room, and what the plan refuses waits again.

        Patience is for that waiting alone, however long the tries themselves take. After refusals for want of room it
        pauses ever longer, in which others have their turn.
        """
        try:
            app = await self.app(asked.assignment, asked.device)
        except AppUnknownError as error:
            raise SessionRefusedError(str(error)) from error
        patience, waited = self._settings.wait_seconds, 0.0
        starts = tries = 0
        pause = 0.0  # after the next refusal for want of room; waiting for its turn has one too
        failed = ""  # why the last try did
        while True:
            starts += 1
            capabilities = wanted(asked, app.url or "", secrets.token_hex(3))
            came = monotonic_seconds()
            try:
                start = await self._gate.enter(f"{asked.key}.{starts}", max(patience - waited, 0.0), waited)
                waited += monotonic_seconds() - came
                return await self._try(asked, start, capabilities)
            except NoTurnError as error:
                why = self._rest.held or (failed if error.room and failed else str(error))
                why += f"; the last try: {failed}" if failed not in why else ""
                raise SessionRefusedError(why) from error
            except NoRoomError as error:
                failed = str(error)
                pause = min(pause, max(patience - waited, 0.0) / 2)  # what is left then is for another try
                await asyncio.sleep(pause)
                waited += pause
                pause = min(2 * pause or self._settings.pause_seconds, LONGEST_PAUSE_SECONDS)
            except CloudAwayError as error:
                failed, tries = str(error), tries + 1
                if tries >= _TRIES:
                    raise SessionRefusedError(str(error)) from error
            except CloudError as error:
                if _NO_APP.search(str(error)):
                    self._apps.forget_all()  # removed there, maybe by hand: it is looked up, and uploaded, again
                if isinstance(error, AccountRefusedError):
                    self._refused(error)
                raise SessionRefusedError(str(error)) from error

    async def _try(self, asked: Asked, start: Start, capabilities: dict[str, Any]) -> Begun:
        unheard = begun = False
        try:
            if asked.dropped:
                raise SessionRefusedError("nobody waits for the session any more")
            self.found(asked)
            url = f"{self._settings.hub_url.rstrip('/')}/session"
            session_id, told = await self._rest.begin_session(url, capabilities, self._settings.session_seconds, start)
            begun = True
        except NoRoomError:
            start.full()
            raise
        except UnheardError:
            unheard = True  # it counts until it is known what became of it
            start.sent()
            options = capabilities[_OPTIONS]
            self._unheard.seek(options["buildName"], options["sessionName"], start.answered)
            raise
        finally:
            if not unheard:
                start.answered()
            if not begun:
                self.over(asked)
        return Begun(session_id, told or capabilities, self._hub.options())

    def found(self, asked: Asked) -> None:
        """See Cloud."""
        self._running[asked.key] = asked.device.device_id
        self._changed()

    def over(self, asked: Asked) -> None:
        """See Cloud."""
        if self._running.pop(asked.key, None) is not None:
            self._changed()

    async def end(self, session_ids: list[str]) -> None:
        """See Cloud."""
        for session_id in session_ids:
            try:
                await self._rest.end_session(f"{self._settings.hub_url.rstrip('/')}/session/{session_id}")
            except CloudError as error:  # BrowserStack ends what is silent by itself
                self._log.info("browserstack_session_not_ended", session_id=session_id, error=str(error))

    async def conclude(self, session_ids: list[str], finished: Finished, files: Path) -> Finished:
        """See Cloud."""
        passed = finished.outcome is Outcome.PASSED
        wanted = self._settings.evidence == "always" or (self._settings.evidence == "failed" and not passed)
        if passed and not wanted:  # nothing of it changes the verdict, so that does not wait
            task = asyncio.create_task(self._mark(session_ids, finished), name="browserstack_mark")
            self._marking.add(task)
            task.add_done_callback(self._marking.discard)
            return finished
        facts: list[dict[str, Any]] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.evidence_seconds):
                for number, session_id in enumerate(session_ids, 1):
                    found = await self._settle(session_id, finished)
                    facts.append({"session_id": session_id} | found)
                    if wanted:
                        await self._keep(found, files, "" if number == 1 else f"-{number}")
        dropped = next((each for each in facts if not passed and each.get("status") in _DROPPED), None)
        if dropped is None:
            return finished
        why = f"BrowserStack ended the session: {dropped.get('reason') or dropped['status']}"
        return replace(finished, outcome=Outcome.PROVIDER_ERROR, error=f"{why}; {finished.error or ''}"[:500])

    async def _mark(self, session_ids: list[str], finished: Finished) -> None:
        for session_id in session_ids:
            await self._settle(session_id, finished)

    async def close(self) -> None:
        """Marks what is left to be marked, for a moment."""
        if self._marking:
            await asyncio.wait(self._marking, timeout=_LAST_SECONDS)
        for task in list(self._marking):
            task.cancel()
        await asyncio.gather(*self._marking, return_exceptions=True)
        await self._unheard.close()

    async def _settle(self, session_id: str, finished: Finished) -> dict[str, Any]:
        """What BrowserStack says of a session, before it is marked."""
        passed = finished.outcome is Outcome.PASSED
        try:
            found = {} if passed and self._settings.evidence != "always" else await self._rest.session(session_id)
            if found.get("status") not in _DROPPED:
                await self._rest.set_status(session_id, "passed" if passed else "failed", finished.error or "")
        except CloudError as error:
            self._log.warning("browserstack_session_not_marked", session_id=session_id, error=str(error))
            return {}
        return found

    async def _keep(self, found: dict[str, Any], files: Path, suffix: str) -> None:
        """Leaves video, logs and the facts of a session with the attempt's files."""
        try:
            files.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - a folder on this disk
            shown = {name: value for name, value in found.items() if name in _SHOWN and isinstance(value, str | int)}
            put_text(files / f"browserstack{suffix}.json", json.dumps(shown, indent=2))
        except OSError as error:
            self._log.warning("browserstack_not_kept", path=str(files), error=str(error))
            return
        for field, name in _FILES.items():
            url = found.get(field)
            if not isinstance(url, str) or not url:
                continue
            try:
                await self._rest.fetch(url, files / f"browserstack{suffix}-{name}", MOST_BYTES)
            except (CloudError, OSError) as error:
                self._log.info("browserstack_not_kept", file=name, error=str(error))


def wanted(asked: Asked, app_url: str, mark: str) -> dict[str, Any]:
    """The capabilities of a session: the project's, but for what the device is and what the agent knows.

    With `mark` its name is no other session's.
    """
    device, what = asked.device, asked.assignment
    theirs = asked.capabilities.get("alwaysMatch", asked.capabilities)
    theirs = dict(theirs) if isinstance(theirs, dict) else {}
    options = theirs.pop(_OPTIONS, None)
    whose = f" ({what.job_id}, attempt {what.attempt}, {mark})"
    ours = {
        "deviceName": device.model,
        "osVersion": device.os_version,
        "projectName": _PROJECT,
        "buildName": f"{what.org_id} {what.app_version_id}",
        "sessionName": what.test_path[: _NAME - len(whose)] + whose,
    }
    known = {name: value for name, value in ours.items() if value}
    rest = {name: value for name, value in theirs.items() if name not in _NOT_THEIRS}
    named = rest | {"platformName": device.platform, "appium:app": app_url}
    return named | {_OPTIONS: (options if isinstance(options, dict) else {}) | known}

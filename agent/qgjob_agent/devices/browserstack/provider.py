"""The parallel sessions of a BrowserStack plan as devices: how many there are, which may be used, what they have."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.events import DeviceLost, DeviceProbed, DeviceSeen, InstallEnded
from qgjob_agent.core.values import App, Assignment, DeviceFacts, Health, Outcome, Target
from qgjob_agent.device_rules import MAX_DEVICES
from qgjob_agent.devices.browserstack.account import Account
from qgjob_agent.devices.browserstack.apps import Apps
from qgjob_agent.devices.browserstack.errors import AccountRefusedError, CloudError, SpentError
from qgjob_agent.devices.browserstack.gate import Gate
from qgjob_agent.devices.browserstack.plan import Starts
from qgjob_agent.devices.browserstack.rest import Rest
from qgjob_agent.devices.browserstack.sessions import Sessions

if TYPE_CHECKING:
    from qgjob_agent.builds.base import Builds
    from qgjob_agent.devices.base import DeviceSink
    from qgjob_agent.devices.browserstack.apps import Uploads
    from qgjob_agent.devices.browserstack.settings import BrowserStackSettings

SERIAL = "browserstack-"
COUNTED_SECONDS = 1.0
"""After so long BrowserStack counts a session no more that has ended."""
APART_SECONDS = 3.0
"""A look that the end of a session causes comes so long after the one before: others ask with the account too."""
UNUSED_SECONDS = 600.0
"""A device that the plan has no more is lost when it had no session for so long: what runs on a lost one is killed."""
REFUSED_SECONDS = 60.0
"""No device is good for so long after the account was refused for a session, maybe for what a test wished for."""
SPENT_SECONDS = 600.0
"""And for so long after a plan was used up."""
TRIED_SECONDS = 60.0
"""Then one device is good until its session has begun, or for so long where nobody wants one of it."""
_NOT_PLANNED = "the BrowserStack plan has no such session any more"
_EXPECTED = (BuildUnresolvedError, BuildAwayError, CloudError)


@dataclass(slots=True, eq=False)
class _Device:
    """`told` is what was said of it last; None while it is not there."""

    facts: DeviceFacts
    used_at: float  # seen then to be of the plan, or to have a session
    planned: bool = True
    told: DeviceFacts | None = None
    installed: App | None = None


@dataclass(slots=True, eq=False)
class _Installation:
    device: _Device
    assignment: Assignment
    begun: float
    task: asyncio.Task[bool]
    cancelled: bool = False


class BrowserStackDevices:
    """A DeviceProvider. An installation is that the build is uploaded, once for all devices of the account.

    Of the devices without a session, as many are good as the plan had free at the last look; the others are bad for as
    long, and say who uses the plan. One whose session has ended is good until a look that must show it, which follows
    soon. Where a session was refused for the account's sake no device is good for a while, and then one, as a trial.
    """

    def __init__(
        self, sink: DeviceSink, settings: BrowserStackSettings, builds: Builds, uploads: Uploads, log: Any
    ) -> None:
        self._sink = sink
        self._settings = settings
        self._log = log
        account = Account(settings.user, settings.access_key)
        self._rest = Rest(account, settings.api_url, who=f"qgjob ({settings.agent_id})")
        whose = f"{settings.api_url} {settings.user}"
        self._apps = Apps(self._rest, builds, uploads, whose, settings.upload_seconds, log)
        pause, calm = settings.pause_seconds, self._rest.calm
        self._gate = Gate(self._rest.plan_now, Starts(), monotonic_seconds, pause, calm=calm)
        self.cloud = Sessions(settings, self._rest, self._apps, self._gate, self._changed, self._hold, log)
        self._devices: dict[str, _Device] = {}  # by id
        self._busy: set[str] = set()  # have a session
        self._used: set[str] = set()  # have one, or had one that the last look may have counted
        self._freed_at: dict[str, float] = {}  # when the last session of each ended
        self._freed = asyncio.Event()  # one of `_used` has no session any more
        self._installations: dict[str, _Installation] = {}  # by token
        self._trouble: str | None = None
        self._held, self._held_until = "", 0.0  # why no device is good, whatever a look shows
        self._tried_until = 0.0
        self._trial: str | None = None  # the only device that is good until then
        self._looking: asyncio.Task[None] | None = None
        self._probes: set[asyncio.Task[None]] = set()
        self._closed = False

    at_hand = None

    async def start(self) -> None:
        """Begins to look at the plan; its sessions are told as devices when it has answered."""
        if self._settings.sessions is not None:
            self._know(self._settings.sessions)
        self._looking = asyncio.create_task(self._look_again_and_again(), name="browserstack_looking")
        self._looking.add_done_callback(self._done)

    def devices(self) -> list[DeviceFacts]:
        """The devices that were told."""
        return [device.told for device in self._devices.values() if device.told is not None]

    # ---- the plan ----

    async def _look_again_and_again(self) -> None:
        while True:
            self._freed.clear()
            looked_at = monotonic_seconds()
            await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.look_seconds):
                    await self._freed.wait()
            if self._freed.is_set():
                await asyncio.sleep(max(COUNTED_SECONDS, looked_at + APART_SECONDS - monotonic_seconds()))

    async def _look(self) -> None:
        asked_at = monotonic_seconds()
        try:
            plan = await self._rest.plan(self._gate.look)
        except CloudError as error:
            if str(error) != self._trouble:
                self._log.warning("browserstack_blind", error=str(error))
            self._trouble = str(error)
        else:
            trouble = self._held if monotonic_seconds() < self._held_until else None
            if trouble is None and (self._trouble is not None or not self._devices):
                self._log.info("browserstack_sees", running=plan.running, sessions=plan.most)
            self._trouble = trouble
            self._know(min(plan.most, self._settings.sessions or plan.most, MAX_DEVICES))
            self._used = self._busy | {each for each, at in self._freed_at.items() if at > asked_at - COUNTED_SECONDS}
            if self._used - self._busy:
                self._freed.set()
            if self._trial in self._busy and not self._gate.starts.pending:
                self._tried_until = 0.0  # its session has begun
        self._show()

    def _changed(self) -> None:
        """Another session of ours runs, or one fewer, which the last look may have counted."""
        before, self._busy = self._busy, self.cloud.busy
        if freed := before - self._busy:
            self._freed_at |= dict.fromkeys(freed, monotonic_seconds())
            self._freed.set()
        self._show()

    def _hold(self, error: AccountRefusedError) -> None:
        """All devices are bad for a while, whatever looks show: the account was refused for a session."""
        until = monotonic_seconds() + (SPENT_SECONDS if isinstance(error, SpentError) else REFUSED_SECONDS)
        if until > self._held_until:
            self._held, self._held_until = str(error), until
        self._trial, self._tried_until = None, self._held_until + TRIED_SECONDS
        self._refused(error)

    def _refused(self, error: AccountRefusedError) -> None:
        """All devices are bad until a look succeeds."""
        if str(error) != self._trouble:
            self._log.warning("browserstack_refused", error=str(error))
        self._trouble = str(error)
        self._show()

    def _know(self, count: int) -> None:
        """The plan has so many devices. What it has no more stays for a while, and is bad: a test may run there."""
        now = monotonic_seconds()
        used = self._used | self._busy | {each.device.facts.device_id for each in self._installations.values()}
        planned = {facts.device_id: facts for facts in map(self._facts_of, range(1, count + 1))}
        for device_id, facts in planned.items():
            self._devices.setdefault(device_id, _Device(facts, now))
        for device_id, device in list(self._devices.items()):
            device.planned = device_id in planned
            if device.planned or device_id in used:
                device.used_at = now
            elif now - device.used_at >= UNUSED_SECONDS:
                del self._devices[device_id]
                if device.told is not None:
                    self._sink.device(DeviceLost(device_id))

    def _facts_of(self, number: int) -> DeviceFacts:
        settings, serial = self._settings, f"{SERIAL}{number}"
        named = settings.named.get(serial)
        if named is not None:
            return replace(
                named,
                platform=named.platform or settings.platform,
                os_version=named.os_version or settings.os_version,
                model=named.model or settings.model,
            )
        return DeviceFacts(
            f"{settings.agent_id}.{serial}",
            serial,
            Target.BROWSERSTACK,
            settings.platform,
            settings.os_version,
            settings.model,
        )

    def _show(self) -> None:
        """Tells what is news of each device."""
        if self._closed:
            return
        self._used |= self._busy
        room = self._gate.starts.room
        others = self._why_others_wait()
        for device in list(self._devices.values()):
            reason = self._trouble
            if not device.planned:
                reason = reason or _NOT_PLANNED
            elif reason is None and others is not None and device.facts.device_id not in {self._trial, *self._busy}:
                reason = others
            elif reason is None and device.facts.device_id not in self._used:
                reason = None if room > 0 else _full(self._gate.starts)
                room -= 1
            health = Health.GOOD if reason is None else Health.BAD
            facts = replace(device.facts, health=health, reason=reason)
            if facts != device.told:
                device.told = facts
                self._sink.device(DeviceSeen(facts, device.installed))

    def _why_others_wait(self) -> str | None:
        """Why only one of the devices without a session is good: it tries one after a refusal. None: that is over."""
        if monotonic_seconds() >= self._tried_until:
            return None
        trial = self._devices.get(self._trial or "")
        if trial is None or not trial.planned:
            free = (key for key, device in self._devices.items() if device.planned and key not in self._busy)
            self._trial = next(free, None)
        return f"one session is tried before others begin: {self._held}"

    def probe(self, device_id: str) -> None:
        """Looks at the plan now; ends with DeviceProbed."""
        task = asyncio.create_task(self._probe(device_id), name="browserstack_probe")
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)
        task.add_done_callback(self._done)

    async def _probe(self, device_id: str) -> None:
        await self._look()
        device = self._devices.get(device_id)
        if device is None or device.told is None:
            self._sink.device(DeviceProbed(device_id, Health.BAD, _NOT_PLANNED))
        else:
            self._sink.device(DeviceProbed(device_id, device.told.health, device.told.reason))

    # ---- the build ----

    def install(self, assignment: Assignment) -> None:
        """Has the build uploaded; ends with one InstallEnded, `was_there` where nothing had to be."""
        device = self._devices.get(assignment.device_id)
        if device is None:
            event = InstallEnded(assignment.device_id, assignment.token, Outcome.DEVICE_ERROR, 0, _NOT_PLANNED)
            asyncio.get_running_loop().call_soon(self._sink.device, event)
            return
        task = asyncio.create_task(self._install(device, assignment), name="browserstack_install")
        installation = _Installation(device, assignment, monotonic_seconds(), task)
        self._installations[assignment.token] = installation
        task.add_done_callback(lambda _: self._ended(installation))

    async def _install(self, device: _Device, assignment: Assignment) -> bool:
        """Whether it was uploaded for this."""
        _, uploaded = await self._apps.url_of(assignment, device.facts.platform or self._settings.platform)
        return uploaded

    def _ended(self, installation: _Installation) -> None:
        what, task = installation.assignment, installation.task
        del self._installations[what.token]
        if self._closed:
            return
        install_ms = round(1000 * (monotonic_seconds() - installation.begun))
        event = InstallEnded(what.device_id, what.token, Outcome.PROVIDER_ERROR, install_ms)
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            event.outcome, event.cancelled = Outcome.DEVICE_ERROR, installation.cancelled
        elif error is None:
            event.outcome, event.was_there = Outcome.PASSED, not task.result()
        else:
            event.error, event.unresolvable = str(error), isinstance(error, BuildUnresolvedError)
            if isinstance(error, BuildAwayError):
                event.unfetched, event.host_unfit = True, error.host_unfit
            if not isinstance(error, _EXPECTED):
                event.error = f"the agent failed while it uploaded: {type(error).__name__}"
                self._log.error("install_failed_inside", device_id=what.device_id, token=what.token, exc_info=error)
        passed = event.outcome is Outcome.PASSED
        installation.device.installed = App(what.org_id, what.app_version_id, what.build_digest) if passed else None
        self._sink.device(event)
        if isinstance(error, AccountRefusedError):
            self._refused(error)
        self._show()

    def cancel_install(self, token: str) -> None:
        """Stops waiting for an upload; one that others wait for as well begins anew for them."""
        installation = self._installations.get(token)
        if installation is not None:
            installation.cancelled = True
            installation.task.cancel()

    async def close(self) -> None:
        """Stops all; sessions that run are the runs'."""
        self._closed = True
        tasks = [*(each.task for each in self._installations.values()), *self._probes]
        if self._looking is not None:
            tasks.append(self._looking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.cloud.close()
        await self._rest.close()

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("browserstack_task_failed", task=task.get_name(), exc_info=error)


def _full(starts: Starts) -> str:
    plan = starts.plan
    if plan is None:
        return "BrowserStack has not yet said what the plan has free"
    if plan.queued:
        return f"the BrowserStack plan is full: {plan.running} of {plan.most} sessions run, and {plan.queued} wait"
    if plan.free and starts.pending:
        return f"the BrowserStack plan has no session left: {plan.running} of {plan.most} run, and others begin here"
    return f"the BrowserStack plan has no session left: {plan.running} of {plan.most} run, those of others included"

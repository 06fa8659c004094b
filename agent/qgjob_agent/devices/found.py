"""The devices of one kind that a host finds: tells how they are, and installs on them. The kind is a subclass's."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.events import DeviceLost, DeviceProbed, DeviceSeen, InstallEnded
from qgjob_agent.core.values import Assignment, DeviceFacts, Health, Outcome
from qgjob_agent.devices.facts import id_of
from qgjob_agent.devices.finding import FindSettings, Look, Words, unanswered
from qgjob_agent.devices.known import Installation, KnownDevice
from qgjob_agent.devices.refusals import InstallRefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from qgjob_agent.builds.base import Build, Builds
    from qgjob_agent.devices.base import DeviceSink
    from qgjob_agent.devices.installing import Installer


L = TypeVar("L", bound=Look)


class FoundDevices(ABC, Generic[L]):
    """A DeviceProvider for one kind of devices. What it tells goes to the sink; where builds come from is given.

    `DeviceSeen.installed` is what the device says of what we installed, whenever it is told; it is not told while an
    installation runs there.
    """

    words: Words

    def __init__(
        self, sink: DeviceSink, settings: FindSettings, installer: Installer, builds: Builds, log: Any
    ) -> None:
        self._sink = sink
        self._find = settings
        self._installer = installer
        self._builds = builds
        self._log = log
        self._devices: dict[str, KnownDevice] = {}  # by serial
        self._installations: dict[str, Installation] = {}  # by token
        self._left_out: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()  # what lists the devices, and the probes
        self._losing: asyncio.TimerHandle | None = None
        self._late: set[str] = set()  # serials that a new list lacks, and that may come to it yet
        self._losing_late: asyncio.TimerHandle | None = None
        self._closed = False

    # ---- what a subclass knows ----

    @abstractmethod
    async def _list(self) -> None:
        """Tells `listed` what is there, for ever."""

    @abstractmethod
    def _trouble(self, state: str) -> str | None:
        """What is the matter with a device in a state, and what to do; None where it can be asked and installed on."""

    @abstractmethod
    async def _look_at(self, device: KnownDevice, *, installing: bool) -> L:
        """A look. A device that does not answer is no error."""

    @abstractmethod
    def _facts(self, device: KnownDevice, look: L) -> DeviceFacts:
        """The facts of a device, after a look."""

    @abstractmethod
    async def _build(self, assignment: Assignment) -> Build:
        """The build of an assignment, for this kind of devices. Errors: those of Builds."""

    # ---- what every provider offers ----

    cloud = None

    @property
    def at_hand(self) -> FoundDevices[L]:
        """See DeviceProvider."""
        return self

    async def start(self) -> None:
        """Begins to look for devices; they are told as they are found."""
        await self._installer.end_leftovers()
        self._run(self._list(), "devices_list")

    def devices(self) -> list[DeviceFacts]:
        """The devices that were told, and not lost."""
        return [device.facts for device in self._devices.values() if device.facts is not None]

    def package_of(self, assignment: Assignment) -> str | None:
        """The package that was installed for such an assignment on its device; None where that is not known."""
        device = self._device(assignment.device_id)
        return None if device is None else self._installer.package_of(device.serial, assignment)

    async def logged(self, device_id: str, since_ms: int, until_ms: int) -> bytes | None:
        """What a device logged between two times; None where its kind has no log that is kept. Raises OSError."""
        return None

    async def screen(self, device_id: str) -> bytes | None:
        """What a device shows now, as PNG; None where its kind can't be asked. Raises OSError, saying why not."""
        return None

    def install(self, assignment: Assignment) -> None:
        """Gets the build and has it on the device; ends with one InstallEnded."""
        device = self._device(assignment.device_id)
        if device is None or device.installation is not None:
            why = "the device is not connected" if device is None else "another installation runs on the device"
            event = InstallEnded(assignment.device_id, assignment.token, Outcome.DEVICE_ERROR, 0, why)
            asyncio.get_running_loop().call_soon(self._sink.device, event)
            return
        task = asyncio.create_task(self._install(device, assignment), name=f"install_{device.serial}")
        installation = Installation(device, assignment, monotonic_seconds(), task)
        device.installations += 1
        device.installation = self._installations[assignment.token] = installation
        task.add_done_callback(lambda _: self._ended(installation))

    def cancel_install(self, token: str) -> None:
        """Stops an installation; InstallEnded follows when nothing of it lives."""
        installation = self._installations.get(token)
        if installation is not None:
            installation.cancelled = True
            installation.stop("the installation was cancelled")

    def probe(self, device_id: str) -> None:
        """Looks at the device now; ends with DeviceProbed, within FindSettings.probe_seconds."""
        self._run(self._probe(device_id), "device_probe")

    async def close(self) -> None:
        """Stops all; nothing is told any more, and no program of it lives."""
        self._closed = True
        for timer in (self._losing, self._losing_late):
            if timer is not None:
                timer.cancel()
        for installation in self._installations.values():
            installation.stop("the agent ends")
        watching = [device.watching for device in self._devices.values() if device.watching is not None]
        others = [*self._tasks, *watching]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, *(each.task for each in self._installations.values()), return_exceptions=True)

    def _run(self, work: Any, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """A fault of the program is said, and not hidden by the end of a task."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("device_task_failed", task=task.get_name(), exc_info=error)

    def _device(self, device_id: str) -> KnownDevice | None:
        return next((each for each in self._devices.values() if each.there and each.device_id == device_id), None)

    # ---- the list of devices ----

    def listed(self, shown: Mapping[str, str] | None, late: Collection[str] = ()) -> None:
        """All devices by serial with their states; None: that can't be seen, and they get some time to come back.

        Those of `late` get as much where the list that follows lacks them.
        """
        loop = asyncio.get_running_loop()
        if shown is None:
            self._late.clear()
            if self._losing_late is not None:
                self._losing_late.cancel()
            for installation in self._installations.values():
                installation.blinded = self.words.blinded
            self._losing = loop.call_later(self._find.blind_seconds, self._lose_all)
            return
        again = self._losing is not None
        if self._losing is not None:
            self._losing.cancel()
            self._losing = None
            self._late = {each for each in late if each not in shown}
            self._losing_late = loop.call_later(self._find.blind_seconds, self._lose_late)
        for serial, device in self._devices.items():
            if device.there and serial not in shown and serial not in self._late:
                self._lose(device, self.words.gone)
        for serial, state in shown.items():
            self._show(serial, state, again=again or serial in self._late)
            self._late.discard(serial)

    def _show(self, serial: str, state: str, *, again: bool) -> None:
        device_id = id_of(self._find.agent_id, serial, self._find.named.get(serial))
        device, holder = self._devices.get(serial), self._device(device_id)
        if holder is not None and holder is not device:
            self._leave_out(serial, device_id, holder.serial)
            return
        if device is None:
            device = self._devices[serial] = KnownDevice(serial, device_id, state)
        elif device.there and device.state == state and not again:
            return
        device.state, device.there = state, True
        trouble = self._trouble(state)
        if trouble is not None and device.installation is not None:
            device.installation.stop(f"the device {trouble}")
        self._watch(device)

    def _leave_out(self, serial: str, device_id: str, other: str) -> None:
        if serial not in self._left_out:
            self._left_out.add(serial)
            self._log.warning("device_left_out", serial=serial, device_id=device_id, named_as=other)

    def _lose_all(self) -> None:
        self._losing = None
        for device in self._devices.values():
            if device.there:
                self._lose(device, self.words.unseen)

    def _lose_late(self) -> None:
        late, self._late = self._late, set()
        for serial in late:
            if (device := self._devices.get(serial)) is not None and device.there:
                self._lose(device, self.words.gone)

    def _lose(self, device: KnownDevice, why: str) -> None:
        device.there = False
        told, device.facts, device.installed = device.facts is not None, None, None
        if device.watching is not None:
            device.watching.cancel()
            device.watching = None
        if device.installation is not None:
            device.installation.stop(why)
        if told:
            self._sink.device(DeviceLost(device.device_id))

    # ---- looking ----

    def _watch(self, device: KnownDevice) -> None:
        """Looks from now on, and no more by what was the case before."""
        if device.watching is not None:
            device.watching.cancel()
        device.watching = asyncio.create_task(self._look_again_and_again(device), name=f"watch_{device.serial}")
        device.watching.add_done_callback(self._done)

    async def _look_again_and_again(self, device: KnownDevice) -> None:
        """Until the list says something else. A device that does not answer once is asked again before it is bad."""
        silent = 0
        while True:
            look = await self._look(device)
            silent = silent + 1 if look.silent else 0
            if silent != 1:
                self._tell(device, look)
            if self._trouble(device.state) is not None:
                return  # the list tells when that changes
            settled = look.settled and not look.silent
            await asyncio.sleep(self._find.look_seconds if settled else self._find.wait_seconds)

    async def _look(self, device: KnownDevice) -> L:
        count = device.installations
        look = await self._look_at(device, installing=device.installation is not None)
        if device.installations != count:
            look = replace(look, installed=None)  # it may have seen what was there before
        if look.properties:
            device.properties = dict(look.properties)
        return look

    def _tell(self, device: KnownDevice, look: L) -> None:
        """Tells what is news of a device that is there."""
        facts = self._facts(device, look)
        if self._closed or self._losing is not None or not device.there or device.installation is not None:
            return
        installed = device.installed if look.installed is None else look.installed[-1] if look.installed else None
        if facts != device.facts or installed != device.installed:
            device.facts, device.installed = facts, installed
            self._sink.device(DeviceSeen(facts, installed))

    async def _probe(self, device_id: str) -> None:
        device = self._device(device_id)
        if device is None:
            self._sink.device(DeviceProbed(device_id, Health.BAD, "the device is not connected"))
            return
        try:
            async with asyncio.timeout(self._find.probe_seconds):
                look = await self._look(device)
        except TimeoutError:
            why = f"the device does not answer: {unanswered(self._find.probe_seconds)}"
            self._sink.device(DeviceProbed(device_id, Health.BAD, why))
            return
        if not device.there:
            self._sink.device(DeviceProbed(device_id, Health.BAD, "the device went away"))
            return
        facts = self._facts(device, look)
        self._tell(device, look)
        self._sink.device(DeviceProbed(device_id, facts.health, facts.reason))

    # ---- installing ----

    async def _install(self, device: KnownDevice, assignment: Assignment) -> bool:
        """False where the build is there already. Errors: those that Installation.ended knows."""
        trouble = self._trouble(device.state)
        if trouble is not None:
            raise InstallRefusedError(Outcome.DEVICE_ERROR, f"the device {trouble}")
        async with asyncio.timeout(self._find.fetch_seconds):
            build = await self._build(assignment)
        return await self._installer.install(device.serial, assignment, build)

    def _ended(self, installation: Installation) -> None:
        """Tells how it ended, when nothing of it lives."""
        device = installation.device
        del self._installations[installation.assignment.token]
        device.installation = None
        if self._closed:
            return
        event = installation.ended(self._find.fetch_seconds)
        if installation.fault is not None:
            ids = {"device_id": event.device_id, "token": event.token}
            self._log.error("install_failed_inside", **ids, exc_info=installation.fault)
        passed = event.outcome is Outcome.PASSED and device.there
        device.installed = installation.app if passed else None  # as the core takes it
        self._sink.device(event)
        if device.there and not passed:
            self._watch(device)  # what is there now is news

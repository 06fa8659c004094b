"""Installs a build on a device by the adb program, removes builds of ours where that helps, and never another's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from qgjob_agent.clock import wall_ms
from qgjob_agent.core.values import App, Outcome
from qgjob_agent.devices.adb.client import AdbServerAwayError, AdbServerGoneError
from qgjob_agent.devices.adb.facts import MB
from qgjob_agent.devices.adb.failures import Blame, Failure, failure_of
from qgjob_agent.devices.adb.program import AdbProgramError, run_adb
from qgjob_agent.devices.adb.protocol import AdbProtocolError, AdbRefusedError
from qgjob_agent.devices.adb.remembered import Ours
from qgjob_agent.devices.adb.says import PackageSays, is_package_name, parse_free_bytes, parse_package, parse_places
from qgjob_agent.process_tree import hunt

if TYPE_CHECKING:
    from qgjob_agent.builds.base import Build
    from qgjob_agent.core.values import Assignment
    from qgjob_agent.devices.adb.client import AdbClient, Said
    from qgjob_agent.devices.adb.remembered import Remembered
    from qgjob_agent.devices.adb.settings import AdbSettings

MARK = "QGJOB_ADB_INSTALLS_FOR"
"""In the environment of installations: by it the next life of an agent that was killed finds them."""
_LEFT_SECONDS = 5.0
_ROOM_FOR_EACH_BYTE = 2  # a build lies on the device twice while it is installed


class InstallRefusedError(Exception):
    """The installation failed: with which outcome, and whether any other try could end otherwise."""

    def __init__(self, outcome: Outcome, message: str, *, unresolvable: bool = False) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.unresolvable = unresolvable


class Installer:
    """Installs on any device of one adb server; one installation a device at a time."""

    def __init__(self, client: AdbClient, settings: AdbSettings, remembered: Remembered, log: Any) -> None:
        self._client = client
        self._settings = settings
        self._remembered = remembered
        self._log = log

    async def end_leftovers(self) -> None:
        """Ends installations of an earlier life of this agent that was killed: they would go on beside new ones."""
        left = await asyncio.to_thread(hunt, MARK, str(self._settings.installed), None, _LEFT_SECONDS)
        if left:
            self._log.warning("adb_left", pids=left)

    async def confirmed(self, serial: str) -> list[Ours]:
        """Ours on the device, as it says itself, the least recently used first; what it denies is forgotten.

        Errors: those of AdbClient; AdbProtocolError also where the device neither denies nor confirms.
        """
        found = []
        for ours in self._remembered.of(serial):
            says = await self._says(serial, ours.package)
            if says is None and not await self._is_absent(serial, ours.package):
                raise AdbProtocolError(f"it does not say whether {ours.package} is installed")
            if says is not None and says.is_of(ours.says):
                found.append(ours)
            else:
                self._remembered.forget(serial, ours)
        return found

    def package_of(self, serial: str, assignment: Assignment) -> str | None:
        """What was installed for such an assignment, as far as it was remembered."""
        wanted = App(assignment.org_id, assignment.app_version_id, assignment.build_digest)
        return next((each.package for each in self._remembered.of(serial) if each.app == wanted), None)

    async def install(self, serial: str, assignment: Assignment, build: Build) -> bool:
        """Has the build on the device, by an installation where it is not there yet. False where it is.

        Errors: InstallRefusedError.
        """
        if build.format != "apk":
            raise _of_build(
                f"{build.path.name!r} is an .{build.format}, and Android devices install an .apk: push that"
                + (" (bundletool makes a universal one of an .aab)" if build.format == "aab" else "")
            )
        if build.package is not None and not is_package_name(build.package):
            raise _of_build(f"the build's package {build.package!r} is no name of a package: push another")
        try:
            async with asyncio.timeout(self._settings.install_seconds):
                return await self._install(serial, assignment, build)
        except TimeoutError as error:
            text = (
                f"the installation did not end in {self._settings.install_seconds:g} s: look whether the device asks "
                "something, or restart it"
            )
            raise InstallRefusedError(Outcome.DEVICE_ERROR, text) from error
        except AdbServerGoneError as error:
            raise InstallRefusedError(Outcome.PROVIDER_ERROR, str(error)) from error
        except (AdbRefusedError, AdbServerAwayError, AdbProtocolError) as error:
            raise InstallRefusedError(Outcome.DEVICE_ERROR, f"the device does not answer: {error}") from error
        except AdbProgramError as error:
            raise InstallRefusedError(Outcome.PROVIDER_ERROR, str(error)) from error

    async def _install(self, serial: str, assignment: Assignment, build: Build) -> bool:
        confirmed = await self.confirmed(serial)
        content = (assignment.org_id, build.digest)
        same = next((each for each in confirmed if (each.org_id, each.build_digest) == content), None)
        if same is not None:
            self._remember(serial, assignment, build, same.package, same.says)
            return False
        there = next((each for each in confirmed if each.package == build.package), None)
        others = [each for each in confirmed if each is not there]
        if there is not None and there.org_id != assignment.org_id:
            await self._leave_nothing(serial, there)
        await self._make_room(serial, build, others)
        before = {} if build.package is not None else await self._places(serial)
        while True:
            words = await self._try(serial, build)
            if words is None:
                break
            failure, said = failure_of(words)
            if failure.blame is Blame.ROOM and await self._remove_one(serial, others):
                continue
            if failure.blame is Blame.IN_THE_WAY and there is not None and self._settings.uninstall_ours:
                removed = await self._remove(serial, there, said)
                there = None  # it is tried once more, and no more
                if removed:
                    continue
            raise await self._refused(serial, build, failure, said)
        package = build.package or await self._new_package(serial, before)
        if package is None:
            return True
        says = await self._says(serial, package)
        if says is None:
            text = f"the device says that it installed the build, and has no {package}"
            raise InstallRefusedError(Outcome.DEVICE_ERROR, text)
        self._remember(serial, assignment, build, package, says)
        return True

    async def _new_package(self, serial: str, before: dict[str, str]) -> str | None:
        """The package that an installation put in a new place; None where it can't be told."""
        after = await self._places(serial)
        changed = [package for package, place in after.items() if before.get(package) != place]
        if len(changed) == 1:
            return changed[0]
        self._log.warning("package_not_known", serial=serial, candidates=sorted(changed)[:10])
        return None

    async def _places(self, serial: str) -> dict[str, str]:
        return parse_places((await self._shell(serial, "pm list packages -f")).output)

    async def _try(self, serial: str, build: Build) -> str | None:
        """What adb said of its failure; None where it installed."""
        settings = self._settings
        # With the name localhost adb would start a server where none is, as a child with this environment.
        host = "127.0.0.1" if settings.host == "localhost" else settings.host
        argv = [settings.adb, "-H", host, "-P", str(settings.port), "-s", serial]
        argv += ["install", "-r", "-t", str(build.path)]
        environ = {**settings.environ, MARK: str(settings.installed)}
        ended = await run_adb(argv, environ, settings.install_seconds)
        if ended.code is None:
            raise TimeoutError
        return None if ended.code == 0 and "Success" in ended.output else ended.output

    async def _refused(self, serial: str, build: Build, failure: Failure, said: str) -> InstallRefusedError:
        text = f"{failure.reason} ({said})"
        if failure.blame is Blame.HOST:
            return InstallRefusedError(Outcome.PROVIDER_ERROR, text)
        if failure.blame is Blame.BUILD:
            return _of_build(f"the build can't be installed: {text}")
        if failure.blame is Blame.IN_THE_WAY:
            package = build.package
            if package is not None and said.startswith("INSTALL_PARSE_") and await self._says(serial, package) is None:
                return _of_build(f"the build can't be installed, and no earlier one is there: {text}")
            text += (
                f"; this agent removes only what it installed itself: uninstall {package or 'the app'} by hand, once"
            )
        return InstallRefusedError(Outcome.DEVICE_ERROR, f"the device refused the build: {text}")

    def _remember(self, serial: str, assignment: Assignment, build: Build, package: str, says: PackageSays) -> None:
        app = (assignment.org_id, assignment.app_version_id, assignment.build_digest)
        self._remembered.put(serial, Ours(package, *app, build.digest, says, wall_ms()))

    async def _leave_nothing(self, serial: str, ours: Ours) -> None:
        """What an org's tests left in the app is nothing for another org's: an update would keep it."""
        if self._settings.uninstall_ours and await self._remove(serial, ours, "another org's"):
            return
        said = await self._shell(serial, f"pm clear {ours.package}")
        if "Success" not in said.output:
            text = f"the data that another org's tests left in {ours.package} can't be cleared: {said.output.strip()}"
            raise InstallRefusedError(Outcome.DEVICE_ERROR, text)

    # ---- room ----

    async def _make_room(self, serial: str, build: Build, others: list[Ours]) -> None:
        """Removes the least recently used of ours until the build has room. Whether it has, the device will say."""
        if not others:
            return
        size = (await asyncio.to_thread(build.path.stat)).st_size
        needed = _ROOM_FOR_EACH_BYTE * size + self._settings.min_free_mb * MB
        while (free := await self._free_bytes(serial)) is not None and free < needed:
            if not await self._remove_one(serial, others):
                return

    async def _remove_one(self, serial: str, others: list[Ours]) -> bool:
        """Removes the least recently used of these. False where there is none."""
        while others and self._settings.uninstall_ours:
            if await self._remove(serial, others.pop(0), "room"):
                return True
        return False

    async def _remove(self, serial: str, ours: Ours, why: str) -> bool:
        """Removes one of ours, if it still is. False where it is not, or stays."""
        if not await self._is_ours(serial, ours):
            self._remembered.forget(serial, ours)
            return False
        said = await self._shell(serial, f"pm uninstall {ours.package}")
        removed = "Success" in said.output
        if removed:
            self._remembered.forget(serial, ours)
        self._log.info("build_removed", serial=serial, package=ours.package, why=why, removed=removed)
        return removed

    # ---- what the device says ----

    async def _is_ours(self, serial: str, ours: Ours) -> bool:
        says = await self._says(serial, ours.package)
        return says is not None and says.is_of(ours.says)

    async def _says(self, serial: str, package: str) -> PackageSays | None:
        return parse_package((await self._shell(serial, f"dumpsys package {package}")).output, package)

    async def _is_absent(self, serial: str, package: str) -> bool:
        """Whether the device says that it has no such package, and not that something fails."""
        said = await self._shell(serial, f"pm path {package}")
        return said.code in (0, 1) and not said.output.strip()

    async def _free_bytes(self, serial: str) -> int | None:
        return parse_free_bytes((await self._shell(serial, "df -k /data")).output)

    async def _shell(self, serial: str, command: str) -> Said:
        return await self._client.shell(serial, command, self._settings.answer_seconds)


def _of_build(text: str) -> InstallRefusedError:
    return InstallRefusedError(Outcome.PROVIDER_ERROR, text, unresolvable=True)

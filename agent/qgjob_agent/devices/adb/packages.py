"""The package manager of Android devices, asked by shell commands; builds go to it by the adb program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.devices.adb.failures import failure_of
from qgjob_agent.devices.adb.manifest import ApkError, package_of
from qgjob_agent.devices.adb.says import is_package_name, parse_free_bytes, parse_package
from qgjob_agent.devices.adb.settings import ADVICE
from qgjob_agent.devices.installing import MARK
from qgjob_agent.devices.refusals import InstallRefusedError
from qgjob_agent.host.program import HostError, run_program

if TYPE_CHECKING:
    from qgjob_agent.builds.base import Build
    from qgjob_agent.devices.adb.client import AdbClient, Said
    from qgjob_agent.devices.adb.settings import AdbSettings
    from qgjob_agent.devices.packages import PackageSays
    from qgjob_agent.devices.refusals import Failure


class AndroidPackages:
    """See Packages."""

    def __init__(self, client: AdbClient, settings: AdbSettings) -> None:
        self._client = client
        self._settings = settings

    def package_in(self, build: Build) -> str:
        """See Packages. Only a package that is a name may stand in a command."""
        if build.format != "apk":
            raise InstallRefusedError.of_build(
                f"{build.called} is an .{build.format}, and Android devices install an .apk: push that"
                + (" (bundletool makes a universal one of an .aab)" if build.format == "aab" else "")
            )
        package = _told_by(build) if build.package is None else build.package
        if not is_package_name(package):
            raise InstallRefusedError.of_build(f"the build's package {package!r} is no name of a package: push another")
        return package

    async def says(self, serial: str, package: str) -> PackageSays | None:
        """See Packages."""
        return parse_package((await self._shell(serial, f"dumpsys package {package}")).output, package)

    async def is_absent(self, serial: str, package: str) -> bool:
        """See Packages."""
        said = await self._shell(serial, f"pm path {package}")
        return said.code in (0, 1) and not said.output.strip()

    async def free_bytes(self, serial: str) -> int | None:
        """See Packages."""
        return parse_free_bytes((await self._shell(serial, "df -k /data")).output)

    async def install(self, serial: str, build: Build) -> tuple[Failure, str] | None:
        """See Packages."""
        settings = self._settings
        # With the name localhost adb would start a server where none is, as a child with this environment.
        host = "127.0.0.1" if settings.host == "localhost" else settings.host
        argv = [settings.adb, "-H", host, "-P", str(settings.port), "-s", serial]
        argv += ["install", "-r", "-t", str(build.path)]
        environ = {**settings.environ, MARK: str(settings.installed)}
        ended = await run_program(argv, environ, settings.install_seconds, advice=ADVICE)
        if ended.code is None:
            raise TimeoutError
        return None if ended.code == 0 and "Success" in ended.output else failure_of(ended.output)

    async def remove(self, serial: str, package: str) -> bool:
        """See Packages."""
        return "Success" in (await self._shell(serial, f"pm uninstall {package}")).output

    async def clear(self, serial: str, package: str) -> str | None:
        """See Packages."""
        said = await self._shell(serial, f"pm clear {package}")
        return None if "Success" in said.output else said.output.strip()

    async def _shell(self, serial: str, command: str) -> Said:
        return await self._client.shell(serial, command, self._settings.answer_seconds)


def _told_by(build: Build) -> str:
    """The package of a build that nobody pushed: without it nobody knows whose data it would meet on a device."""
    try:
        return package_of(build.path)
    except ApkError as error:
        raise InstallRefusedError.of_build(
            f"{build.called} {error}; only a build that tells its package is installed: make it anew"
        ) from error
    except OSError as error:
        raise HostError(f"the build {build.path.name!r} can't be read: {error.strerror or error}") from error

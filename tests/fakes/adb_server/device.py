"""One Android device of the stand-in: its state, what is installed on it, and what it says."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.fakes.adb_server.apk import ApkFacts, read_apk

FEATURES = ("shell_v2", "cmd", "stat_v2", "ls_v2", "fixed_push_mkdir")


@dataclass(slots=True)
class Fault:
    """What becomes of an installation: `answer` is what the package manager says, such as INSTALL_FAILED_ABORTED.

    `hang` never answers; `lose` takes the device away in the middle. Only for `package`, where that is given.
    """

    answer: str = ""
    hang: bool = False
    lose: bool = False
    package: str | None = None


@dataclass(slots=True)
class Installed:
    """A package on the device. `said_update` is what it names as the time of its last update."""

    facts: ApkFacts
    digest: str
    size_bytes: int
    code_path: str
    said_update: str
    cleared: int = 0


@dataclass(slots=True)
class InstallTry:
    """One installation that the device was asked for. `answer` is None while it runs."""

    package: str
    digest: str
    how: str  # streamed, abb or pushed
    answer: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the package was installed."""
        return self.answer == "Success"


@dataclass(slots=True, eq=False)
class FakeDevice:
    """A device. Change its fields and call `FakeAdbServer.changed` where the list of devices is to show it."""

    serial: str
    emulator: bool = True
    state: str = "device"
    model: str = "Pixel 7"
    release: str = "14"
    sdk: int = 34
    abi: str = "arm64-v8a"
    features: tuple[str, ...] = FEATURES
    free_bytes: int = 8_000_000_000
    battery: int = 100
    powered: bool = True
    booted: bool = True
    package_manager: bool = True
    package_dumps: bool = True  # `dumpsys package` answers
    install_seconds: float = 0.0
    answers_seconds: float = 0.0  # how long every command takes
    slow: dict[str, float] = field(default_factory=dict)  # how long these take, in seconds
    packages: dict[str, Installed] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    tries: list[InstallTry] = field(default_factory=list)
    uninstalled: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    forwards: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)
    logged: list[str] = field(default_factory=list)
    picture: bytes = b"\x89PNG\r\n\x1a\n\0 what it shows"  # what `screencap -p` prints
    clock_ahead_seconds: int = 0
    zone: str = "+0000"
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    installing: asyncio.Event = field(default_factory=asyncio.Event)  # set while the package manager works
    _count: int = 0

    @property
    def installs(self) -> Counter[tuple[str, str]]:
        """Installations that passed, by package and digest of the build."""
        return Counter((each.package, each.digest) for each in self.tries if each.passed)

    def props(self) -> dict[str, str]:
        """What getprop says."""
        found = {
            "ro.product.model": self.model,
            "ro.product.manufacturer": "Google",
            "ro.build.version.release": self.release,
            "ro.build.version.sdk": str(self.sdk),
            "ro.product.cpu.abi": self.abi,
            "ro.product.cpu.abilist": self.abi,
            "ro.serialno": self.serial,
            "sys.boot_completed": "1" if self.booted else "",
        }
        if self.emulator:
            found |= {"ro.kernel.qemu": "1", "ro.boot.qemu": "1", "ro.boot.qemu.avd_name": "Pixel_7_API_34"}
        return found | self.properties

    async def log(self, line: str) -> None:
        """Adds a line to the device's log."""
        self.logged.append(line)
        async with self.news:
            self.news.notify_all()

    async def log_lines(self, *, follow: bool) -> AsyncIterator[str]:
        """What is in the log, and what comes."""
        at = 0
        while True:
            for line in self.logged[at:]:
                yield line
            at = len(self.logged)
            if not follow:
                return
            async with self.news:
                while len(self.logged) <= at:
                    await self.news.wait()

    # ---- the package manager ----

    async def install(self, data: bytes, words: list[str], how: str) -> tuple[str, bool]:
        """What the package manager answers, and whether the device is to be lost now."""
        facts = read_apk(data)
        digest = hashlib.sha256(data).hexdigest()
        attempt = InstallTry(facts.package if facts else "", digest, how)
        self.tries.append(attempt)
        self.installing.set()
        try:
            fault = self._fault(attempt.package)
            if fault is not None and fault.hang:
                await asyncio.Event().wait()
            await asyncio.sleep(self.install_seconds / 2 if fault is not None and fault.lose else self.install_seconds)
            if fault is not None and fault.lose:
                attempt.answer = "lost"
                return "", True
            refused = fault.answer if fault is not None else self._refused(facts, len(data), words)
            if refused or facts is None:
                attempt.answer = refused
                return f"Failure [{refused}]\n", False
            self.put(facts, digest, len(data))
            attempt.answer = "Success"
            return "Success\n", False
        finally:
            attempt.answer = attempt.answer or "broken off"
            self.installing.clear()

    def _fault(self, package: str) -> Fault | None:
        for fault in self.faults:
            if fault.package in (None, package):
                self.faults.remove(fault)
                return fault
        return None

    def _refused(self, facts: ApkFacts | None, size_bytes: int, words: list[str]) -> str:
        if facts is None:
            return "INSTALL_PARSE_FAILED_NOT_APK: Failed to parse the package"
        there = self.packages.get(facts.package)
        if facts.min_sdk > self.sdk:
            return f"INSTALL_FAILED_OLDER_SDK: Requires newer sdk version #{facts.min_sdk} (current is #{self.sdk})"
        if facts.abis and self.abi not in facts.abis:
            return "INSTALL_FAILED_NO_MATCHING_ABIS: Failed to extract native libraries, res=-113"
        if there is not None and "-r" not in words:
            return f"INSTALL_FAILED_ALREADY_EXISTS: Attempt to re-install {facts.package} without first uninstalling."
        if there is not None and there.facts.signer != facts.signer:
            return f"INSTALL_FAILED_UPDATE_INCOMPATIBLE: Package {facts.package} signatures do not match newer version"
        if there is not None and there.facts.version_code > facts.version_code and "-d" not in words:
            return "INSTALL_FAILED_VERSION_DOWNGRADE: Downgrade detected"
        if size_bytes > self.free_bytes + (there.size_bytes if there else 0):
            return "INSTALL_FAILED_INSUFFICIENT_STORAGE: Failed to override installation location"
        return ""

    def put(self, facts: ApkFacts, digest: str, size_bytes: int) -> None:
        """Installs without counting, as somebody else does."""
        self.uninstall(facts.package, counted=False)
        self._count += 1
        mark = hashlib.sha256(f"{self.serial} {self._count} {time.time_ns()}".encode()).hexdigest()[:22]
        path = f"/data/app/~~{mark}==/{facts.package}-{mark[::-1]}=="
        if self.sdk < 26:
            path = f"/data/app/{facts.package}-{1 + self._count % 2}"
        update = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(1_700_000_000 + self._count))
        self.packages[facts.package] = Installed(facts, digest, size_bytes, path, update)
        self.free_bytes -= size_bytes

    def uninstall(self, package: str, *, counted: bool = True) -> bool:
        """Takes a package off. False where it is not there."""
        gone = self.packages.pop(package, None)
        if gone is None:
            return False
        self.free_bytes += gone.size_bytes
        if counted:
            self.uninstalled.append(package)
        return True

    def clear(self, package: str) -> bool:
        """Clears a package's data. False where it is not there."""
        there = self.packages.get(package)
        if there is not None:
            there.cleared += 1
        return there is not None

    def dump_package(self, package: str) -> str:
        """What `dumpsys package` says of one."""
        there = self.packages.get(package)
        if there is None:
            return f"Dexopt state:\n  Unable to find package: {package}\n"
        return (
            "Packages:\n"
            f"  Package [{package}] (a1b2c3d):\n"
            "    userId=10190\n"
            f"    pkg=Package{{d4e5f6a {package}}}\n"
            f"    codePath={there.code_path}\n"
            f"    resourcePath={there.code_path}\n"
            f"    primaryCpuAbi={self.abi if there.facts.abis else 'null'}\n"
            f"    versionCode={there.facts.version_code} minSdk={there.facts.min_sdk} targetSdk=34\n"
            "    versionName=1.0\n"
            "    timeStamp=2024-01-01 00:00:00\n"
            "    firstInstallTime=2024-01-01 00:00:00\n"
            f"    lastUpdateTime={there.said_update}\n"
            "    User 0: ceDataInode=131 installed=true hidden=false suspended=false stopped=true\n"
        )

    def dump_battery(self) -> str:
        """What `dumpsys battery` says."""
        powered = str(self.powered).lower()
        return (
            "Current Battery Service state:\n"
            f"  AC powered: {powered}\n  USB powered: false\n  Wireless powered: false\n"
            f"  status: {2 if self.powered else 3}\n  health: 2\n  present: true\n"
            f"  level: {self.battery}\n  scale: 100\n  temperature: 250\n"
        )

    def dump_df(self) -> str:
        """What `df` says of /data."""
        total = 16_000_000
        free = self.free_bytes // 1024
        return (
            "Filesystem     1K-blocks     Used Available Use% Mounted on\n"
            f"/dev/block/dm-5  {total} {max(total - free, 0)} {free}  50% /data\n"
        )

"""The parts of an agent that its settings choose: which builds, devices and runner it has, and who keeps evidence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgjob_agent.builds.cache import ContentCache
from qgjob_agent.builds.resolved import ResolvedBuilds
from qgjob_agent.builds.template import is_address
from qgjob_agent.devices.adb.provider import AdbDevices
from qgjob_agent.devices.adb.settings import AdbSettings
from qgjob_agent.devices.apple.settings import AppleSettings
from qgjob_agent.devices.browserstack.settings import BrowserStackSettings
from qgjob_agent.devices.faults import SimulatedFaults
from qgjob_agent.devices.several import SeveralProviders
from qgjob_agent.devices.simulated import SimulatedDevices
from qgjob_agent.evidence.choice import Bounds
from qgjob_agent.evidence.keeper import EvidenceKeeper
from qgjob_agent.evidence.outgoing import MB, KeeperSettings
from qgjob_agent.evidence.shelf import Shelf
from qgjob_agent.runners.appwright.appium import Appium
from qgjob_agent.runners.appwright.appium_settings import AppiumSettings
from qgjob_agent.runners.appwright.apps import InstalledApps
from qgjob_agent.runners.appwright.launching import AppwrightSettings
from qgjob_agent.runners.appwright.runner import AppwrightRunner
from qgjob_agent.runners.command import CommandRunner, CommandSettings
from qgjob_agent.runners.simulated import SimulatedRunner, SimulatedTests
from qgjob_agent.runners.suited import SuitedRunner
from qgjob_agent.stream.content_fetching import PushedBuilds, PushedSuites
from qgjob_agent.suites.npm import Npm
from qgjob_agent.suites.prepared import Suites
from qgjob_agent.suites.shelf import SuiteShelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgjob_agent.builds.base import ClosableBuilds
    from qgjob_agent.config import AgentConfig
    from qgjob_agent.devices.base import DeviceProvider, DeviceSink
    from qgjob_agent.driver import Driver
    from qgjob_agent.runners.base import Runner
    from qgjob_agent.runners.last_looks import Screens
    from qgjob_agent.state_dir import StateDir
    from qgjob_agent.stream.evidence_pushing import PushedEvidence
    from qgjob_agent.stream.session import Coordinators


class Parts:
    """What makes them. Nothing is started; whoever asks for a part closes it."""

    def __init__(
        self, config: AgentConfig, state_dir: StateDir, driver: Driver, coordinators: Coordinators, log: Any
    ) -> None:
        self._config = config
        self._state_dir = state_dir
        self._driver = driver
        self._coordinators = coordinators
        self._log = log
        what = config.simulated
        # What goes wrong by intention is one thing for simulated devices and for tests on them.
        self._faults = SimulatedFaults(
            what.failing_installs, what.failing_tests, what.broken_builds, what.heal_after_probes
        )

    def builds(self) -> ClosableBuilds:
        """Where devices get builds from."""
        packed = self._packed_builds()
        if not self._config.apple.enabled:
            return packed
        from qgjob_agent.devices.apple.unpacked import UnpackedBuilds  # noqa: PLC0415 - few hosts have simulators

        return UnpackedBuilds(packed, self._state_dir.unpacked, self._log)

    def provider(self, builds: ClosableBuilds) -> DeviceProvider:
        """The devices: sessions of a plan, those of the settings, or those that are found here."""
        config = self._config
        if config.browserstack.enabled:
            return self._browserstack(builds)
        if not config.finds_devices:
            return SimulatedDevices(self._driver, config.device_facts, config.simulated.install_seconds, self._faults)
        found = self._found(builds)
        return found[0](self._driver) if len(found) == 1 else SeveralProviders(self._driver, found)

    def evidence(self, push: PushedEvidence, provider: DeviceProvider) -> EvidenceKeeper:
        """Who keeps what attempts leave."""
        what = self._config.evidence
        settings = KeeperSettings(what.keep, Bounds(what.max_files, what.max_mb * MB), what.spool_mb * MB)
        device_logs = provider.at_hand.logged if what.device_log and provider.at_hand is not None else None
        return EvidenceKeeper(Shelf(self._state_dir.evidence), settings, push, self._log, device_logs)

    def runner(self, provider: DeviceProvider, builds: ClosableBuilds, evidence: EvidenceKeeper) -> Runner:
        """Who runs tests on the devices of `provider`."""
        if self._config.runner == "simulated":
            what = self._config.simulated
            low, high = what.test_seconds
            tests = SimulatedTests(low, high, what.failure_rate, what.seed)
            return SimulatedRunner(self._driver, tests, self._faults)
        suites = self._suites()
        if self._config.runner == "appwright":
            return SuitedRunner(self._appwright_runner(suites, provider, builds, evidence), self._driver, suites)
        return SuitedRunner(self._command_runner(suites, provider, evidence), self._driver, suites)

    def _packed_builds(self) -> ResolvedBuilds:
        config = self._config
        cache = ContentCache(self._state_dir.builds, config.builds.cache_mb * MB, self._log)
        pushed, template = PushedBuilds(self._coordinators), config.builds.template
        if template is None or not is_address(template):
            return ResolvedBuilds(cache, pushed, template)
        from qgjob_agent.builds.addresses import Addresses  # noqa: PLC0415 - an HTTP client would cost each start 0.2 s

        return ResolvedBuilds(cache, pushed, template, Addresses(cache))

    def _found(self, builds: ClosableBuilds) -> list[Callable[[DeviceSink], DeviceProvider]]:
        config, installed, log = self._config, self._state_dir.installed, self._log
        found: list[Callable[[DeviceSink], DeviceProvider]] = []
        if config.adb.enabled:
            android = AdbSettings.of(config.adb, config.agent_id, config.named_devices, config.environ, installed)
            found.append(lambda sink: AdbDevices(sink, android, builds, log))
        if config.apple.enabled:
            from qgjob_agent.devices.apple.provider import Phones, Simulators  # noqa: PLC0415 - few hosts have any

            apple = AppleSettings.of(config.apple, config.agent_id, config.named_devices, config.environ, installed)
            found.append(lambda sink: Simulators(sink, apple, builds, log))
            if config.apple.physical:
                found.append(lambda sink: Phones(sink, apple, builds, log))
        return found

    def _browserstack(self, builds: ClosableBuilds) -> DeviceProvider:
        # With these comes an HTTP client, which would cost each start 0.2 s.
        from qgjob_agent.devices.browserstack.provider import BrowserStackDevices  # noqa: PLC0415
        from qgjob_agent.stream.upload_sharing import SharedUploads  # noqa: PLC0415

        config = self._config
        settings = BrowserStackSettings.of(config.browserstack, config.agent_id, config.named_devices)
        return BrowserStackDevices(self._driver, settings, builds, SharedUploads(self._coordinators), self._log)

    def _suites(self) -> Suites:
        config, log = self._config, self._log
        what = config.suites
        limit = what.cache_mb * MB
        archives = ContentCache(self._state_dir.archives, limit, log, kind="suite")
        npm = Npm(what.npm, config.test_environ, what.install_seconds, str(self._state_dir.path))
        shelf = SuiteShelf(config.suites_path, limit, log)
        return Suites(archives, PushedSuites(self._coordinators), shelf, npm, log)

    def _screens(self, provider: DeviceProvider) -> Screens | None:
        """Who takes pictures of what hangs, where these are kept."""
        return None if provider.at_hand is None or self._config.evidence.keep == "none" else provider.at_hand.screen

    def _apps(self, provider: DeviceProvider, builds: ClosableBuilds) -> InstalledApps | None:
        """Which builds tests are told of: those that are installed on devices of this host."""
        if provider.at_hand is None:
            return None
        seconds = max(self._config.adb.fetch_seconds, self._config.apple.fetch_seconds)
        return InstalledApps(builds, provider.at_hand.package_of, seconds)

    def _command_runner(self, suites: Suites, provider: DeviceProvider, evidence: EvidenceKeeper) -> CommandRunner:
        config, driver = self._config, self._driver
        settings = CommandSettings(
            argv=config.command.argv,
            cwd=config.command.cwd or Path.cwd(),
            environ=config.test_environ,
            output_bytes=config.command.output_bytes,
            grace_seconds=config.kill_grace_seconds,
            executions=self._state_dir.executions,
            lease_path=self._state_dir.lease,
        )
        screens = self._screens(provider)
        return CommandRunner(driver, settings, driver.lease_time, self._log, evidence, suites.place, screens)

    def _appwright_runner(
        self, suites: Suites, provider: DeviceProvider, builds: ClosableBuilds, evidence: EvidenceKeeper
    ) -> AppwrightRunner:
        config = self._config
        what = config.appwright
        settings = AppwrightSettings(
            suite=what.suite_dir,
            projects=config.projects,
            config=what.config,
            node=what.node,
            environ=config.test_environ,
            output_bytes=what.output_bytes,
            attempts_per_run=what.attempts_per_run,
            plain=what.mode == "plain",
            grace_seconds=config.kill_grace_seconds,
            executions=self._state_dir.runs,
            lease_path=self._state_dir.lease,
            derived_data=self._state_dir.path / "webdriveragent",
            adb=config.adb_server,
        )
        keep = config.parent_pid is None  # else its owner ends everything that it began
        appium = AppiumSettings.of(what, config.test_environ, self._state_dir.path, config.adb_server, keep=keep)
        return AppwrightRunner(
            self._driver,
            settings,
            Appium(appium, self._log),
            self._driver.lease_time,
            self._log,
            self._apps(provider, builds),
            cloud=provider.cloud,
            evidence=evidence,
            suite_of=suites.place,
            screens=self._screens(provider),
        )

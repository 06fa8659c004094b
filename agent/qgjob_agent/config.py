"""The agent's settings: one frozen object, made at start. Nothing else reads the environment."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError

from qgjob_agent.addresses import whole
from qgjob_agent.builds.template import is_address
from qgjob_agent.config_checks import wrong_on_this_host, wrong_state_dir, wrong_together
from qgjob_agent.config_reading import Sources, config_error, overlay
from qgjob_agent.config_sources import Environment, Found, read_dotenv, read_toml, split_list
from qgjob_agent.config_tables import (
    AdbConfig,
    AppleConfig,
    AppwrightConfig,
    BrowserStackConfig,
    BuildsConfig,
    CommandConfig,
    DeviceConfig,
    EvidenceConfig,
    Id,
    Seconds,
    SimulatedConfig,
    SuitesConfig,
    Table,
    lower,
)
from qgjob_agent.config_types import Mistyped, mistyped
from qgjob_agent.devices.adb.server import AdbServer
from qgjob_agent.devices.defaults import default_devices, generated_devices
from qgjob_agent.errors import together
from qgjob_agent.runners.appwright.projects import Projects
from qgjob_agent.setting_names import Stray, strays
from qgjob_agent.setting_words import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgjob_agent.core.values import DeviceFacts

_MAX_PID = 2**31 - 1


class AgentConfig(Table):
    """Every setting; examples/agent.toml says what each of them means."""

    coordinator: Annotated[tuple[str, ...], AfterValidator(whole)] = ("localhost:50051",)
    token: SecretStr | None = None
    agent_id: Id = Field(default_factory=lambda: socket.gethostname().split(".")[0] or "agent")
    state_dir: Path | None = None
    environment: Annotated[Literal["development", "production"], BeforeValidator(lower)] = "development"
    log_level: Annotated[Literal["error", "warn", "info", "debug"], BeforeValidator(lower)] = "info"
    drain_seconds: Seconds = 30.0
    kill_grace_seconds: Seconds = 10.0
    min_free_mb: Annotated[int, Field(ge=0, le=100_000_000)] = 200
    credit: Annotated[int, Field(ge=1, le=100_000)] | None = None
    runner: Literal["simulated", "command", "appwright"] = "simulated"
    parent_pid: Annotated[int, Field(gt=1, le=_MAX_PID)] | None = None
    simulated: SimulatedConfig = SimulatedConfig()
    command: CommandConfig = CommandConfig()
    builds: BuildsConfig = BuildsConfig()
    suites: SuitesConfig = SuitesConfig()
    adb: AdbConfig = AdbConfig()
    browserstack: BrowserStackConfig = BrowserStackConfig()
    apple: AppleConfig = AppleConfig()
    appwright: AppwrightConfig = AppwrightConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    devices: tuple[DeviceConfig, ...] = ()
    _sources: Sources = PrivateAttr(default_factory=lambda: Sources(DEFAULTS))
    _test_environ: dict[str, str] = PrivateAttr(default_factory=dict)
    _environ: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def test_environ(self) -> dict[str, str]:
        """What tests get from the agent: what command.env_allow (or that of the runner in use) lets through of its own
        environment, and where the adb server of its devices is.
        """
        return self._test_environ

    @property
    def environ(self) -> dict[str, str]:
        """The agent's own environment, for programs of this host that are no tests."""
        return self._environ

    @property
    def from_environment(self) -> Mapping[str, Found]:
        """The settings that the environment or `.env` has, which go before those of the file: by `table.name`."""
        return self._sources.found

    def source_of(self, name: str) -> str:
        """Where a setting that is in no table is from: the environment, the path of a file, or the defaults."""
        found = self._sources.found.get(name)
        if found is not None:
            return found.source
        return self._sources.file if name in self.model_fields_set else DEFAULTS

    def inheriting(self, environ: Mapping[str, str]) -> AgentConfig:
        """The same settings, for an agent with this environment."""
        copy = self.model_copy()
        copy._environ = dict(environ)  # noqa: SLF001 - of its own class
        allowed = self.appwright.env_allow if self.runner == "appwright" else self.command.env_allow
        inherited = {name: environ[name] for name in allowed if name in environ}
        copy._test_environ = inherited | copy.adb_server.variables()  # noqa: SLF001
        return copy

    @property
    def state_path(self) -> Path:
        """The state directory: as set, else one named after the agent under the user's state."""
        if self.state_dir is not None:
            return self.state_dir
        return Path.home() / self.state_below_home

    @property
    def state_below_home(self) -> Path:
        """Where the state directory is below the home of the agent's user, if it is not set."""
        return Path(".local", "state", "qgjob", "agents", self.agent_id)

    @property
    def suites_path(self) -> Path:
        """Where suites are unpacked: as set, else with the state; agents without a state_dir share one."""
        if self.suites.cache_dir is not None:
            return self.suites.cache_dir
        return self.state_path.parent.parent / "suites" if self.state_dir is None else self.state_dir / "suites"

    @property
    def effective_credit(self) -> int:
        """How many attempts the agent holds at most: as set, else some for each device."""
        return self.credit or max(_LEAST_CREDIT, _CREDIT_PER_DEVICE * len(self.device_facts))

    @property
    def adb_server(self) -> AdbServer:
        """That of the Android devices, if the agent looks for any."""
        return AdbServer(self.adb.host, self.adb.port) if self.adb.enabled else AdbServer()

    @property
    def projects(self) -> Projects:
        """Which project of AppWright's config each device runs."""
        return Projects(self.appwright.project, self.appwright.projects.model_dump(exclude_none=True))

    @property
    def finds_devices(self) -> bool:
        """Whether devices are found, here or in a cloud: `devices` says how they are called, and none is simulated."""
        return self.adb.enabled or self.apple.enabled or self.browserstack.enabled

    @property
    def pushed_builds_only(self) -> bool:
        """Whether its devices, which are real ones, have no builds but those that were pushed."""
        return self.finds_devices and self.builds.template is None

    @property
    def named_devices(self) -> list[DeviceFacts]:
        """The devices as listed."""
        return [device.facts(self.agent_id) for device in self.devices]

    @property
    def device_facts(self) -> list[DeviceFacts]:
        """The simulated devices: as listed and generated, else the defaults of the simulated agents."""
        if self.finds_devices:
            return []
        listed = self.named_devices
        generate = self.simulated.generate
        listed += generated_devices(self.generated_prefix, generate.count, generate.target)
        return listed or default_devices(self.agent_id)

    @property
    def generated_prefix(self) -> str:
        """What ids of generated devices begin with: a device id is the fleet's, so agents of one file make others."""
        return self.simulated.generate.prefix or f"{self.agent_id}.sim-"


_LEAST_CREDIT = 32
_CREDIT_PER_DEVICE = 8


def load_config(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    *,
    on_this_host: bool = False,
) -> AgentConfig:
    """Reads all sources; `on_this_host` also looks whether what the settings name is there.

    Raises ConfigError naming the setting, its value and where it came from, or ConfigErrors where several are wrong.
    """
    environ = os.environ if environ is None else environ
    cwd = Path.cwd() if cwd is None else cwd
    environment = Environment(environ, read_dotenv(cwd / ".env"), cwd / ".env")
    named = ("--config", "the command line")
    if path is None and (found := environment.lookup("agent_config")) is not None:
        path, named = Path(found.value), (found.name, found.source)
    raw = read_toml(path, *named) if path is not None else {}
    sources = Sources(DEFAULTS if path is None else str(path))
    in_file = list(mistyped(AgentConfig, raw))
    overlay(AgentConfig, raw, "", environment, sources)
    if isinstance(raw.get("coordinator"), str):
        raw["coordinator"] = split_list(raw["coordinator"], words=False)
    config = _validated(raw, in_file, sources)
    config._sources = sources  # noqa: SLF001 - of this module
    wrong = list(wrong_together(config, sources))
    config = _complete(config, sources.found, path.parent if path is not None else cwd, cwd, environ)
    wrong += wrong_state_dir(config, sources)
    if on_this_host:
        wrong += wrong_on_this_host(config, sources, cwd, {each.setting for each in wrong})
    if wrong:
        raise together(wrong)
    return config


def _validated(raw: dict[str, Any], in_file: Sequence[Mistyped], sources: Sources) -> AgentConfig:
    """The settings, each as it may be. Raises ConfigError, ConfigErrors."""
    wrong = {
        each.setting: sources.wrong(each.setting, each.value, each.problem)
        for each in in_file
        if sources.file_has(each.setting)
    }
    try:
        config = AgentConfig.model_validate(raw)
    except ValidationError as error:
        others = [config_error(each, AgentConfig, sources) for each in error.errors(include_url=False)]
        raise together([*wrong.values(), *(each for each in others if each.setting not in wrong)]) from None
    if wrong:
        raise together([*wrong.values()])
    return config


def unread_settings() -> list[Stray]:
    """What this process has in its environment or in `.env` that looks like a setting, and is none."""
    file = Path.cwd() / ".env"
    return strays(os.environ, read_dotenv(file), file)


def _resolved(path: Path, base: Path) -> Path:
    return (base / path.expanduser()).resolve()


def _complete(
    config: AgentConfig, sources: Mapping[str, Found], file_dir: Path, cwd: Path, environ: Mapping[str, str]
) -> AgentConfig:
    """Makes paths absolute, those of a file relative to the file, and picks what tests may inherit."""

    def base(name: str) -> Path:
        return cwd if name in sources else file_dir

    command_cwd = config.command.cwd or Path()
    command = config.command.model_copy(update={"cwd": _resolved(command_cwd, base("command.cwd"))})
    changes: dict[str, Any] = {"command": command}
    template = config.builds.template
    if template is not None and not is_address(template):
        where = str(_resolved(Path(template), base("builds.template")))
        changes["builds"] = config.builds.model_copy(update={"template": where})
    if len(config.adb.program.parts) > 1:
        program = _resolved(config.adb.program, base("adb.program"))
        changes["adb"] = config.adb.model_copy(update={"program": program})
    if len(config.apple.program.parts) > 1:
        program = _resolved(config.apple.program, base("apple.program"))
        changes["apple"] = config.apple.model_copy(update={"program": program})
    if config.appwright.suite_dir is not None:
        suite = _resolved(config.appwright.suite_dir, base("appwright.suite_dir"))
        changes["appwright"] = config.appwright.model_copy(update={"suite_dir": suite})
    if config.suites.cache_dir is not None:
        cache = _resolved(config.suites.cache_dir, base("suites.cache_dir"))
        changes["suites"] = config.suites.model_copy(update={"cache_dir": cache})
    if config.state_dir is not None:
        changes["state_dir"] = _resolved(config.state_dir, base("state_dir"))
    return config.model_copy(update=changes).inheriting(environ)

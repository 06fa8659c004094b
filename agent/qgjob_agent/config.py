"""The agent's settings: one frozen object, made at start. Nothing else reads the environment."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
)

from qgjob_agent.addresses import whole
from qgjob_agent.builds.template import is_address
from qgjob_agent.command_template import TemplateError, check_template
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
from qgjob_agent.core.values import DeviceFacts, Target
from qgjob_agent.device_rules import MAX_DEVICES, first_problem
from qgjob_agent.devices.defaults import default_devices, generated_devices
from qgjob_agent.errors import ConfigError, ConfigErrors
from qgjob_agent.hub_address import Address
from qgjob_agent.places import Place, look
from qgjob_agent.runners.appwright.appium import check_words
from qgjob_agent.setting_names import Stray, strays
from qgjob_agent.setting_words import DEFAULTS, NODE_ENV, of_node_env, problem_of
from qgjob_agent.startable import Named, problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

_MAX_ID = 128
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
    _test_environ: dict[str, str] = PrivateAttr(default_factory=dict)
    _environ: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def test_environ(self) -> dict[str, str]:
        """What command.env_allow (or that of the runner in use) lets through of the agent's own environment."""
        return self._test_environ

    @property
    def environ(self) -> dict[str, str]:
        """The agent's own environment, for programs of this host that are no tests."""
        return self._environ

    def inheriting(self, environ: Mapping[str, str]) -> AgentConfig:
        """The same settings, for an agent with this environment."""
        copy = self.model_copy()
        copy._environ = dict(environ)  # noqa: SLF001 - of its own class
        allowed = self.appwright.env_allow if self.runner == "appwright" else self.command.env_allow
        copy._test_environ = {name: environ[name] for name in allowed if name in environ}  # noqa: SLF001
        return copy

    @property
    def state_path(self) -> Path:
        """The state directory: as set, else one named after the agent under the user's state."""
        if self.state_dir is not None:
            return self.state_dir
        return Path.home() / ".local" / "state" / "qgjob" / "agents" / self.agent_id

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
    def finds_devices(self) -> bool:
        """Whether devices are found, here or in a cloud: `devices` says how they are called, and none is simulated."""
        return self.adb.enabled or self.apple.enabled or self.browserstack.enabled

    @property
    def named_devices(self) -> list[DeviceFacts]:
        """The devices as listed."""
        return [_facts(self.agent_id, device) for device in self.devices]

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


_SECRETS = ("browserstack.username", "browserstack.access_key")
_LEAST_CREDIT = 32
_CREDIT_PER_DEVICE = 8


def _facts(agent_id: str, device: DeviceConfig) -> DeviceFacts:
    safe = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in device.udid)
    return DeviceFacts(
        device_id=device.device_id or f"{agent_id}.{safe}",
        udid=device.udid,
        target=device.target,
        platform=device.platform,
        os_version=device.os_version,
        model=device.model,
        labels=dict(device.labels),
    )


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
    _overlay(AgentConfig, raw, "", environment, sources)
    if isinstance(raw.get("coordinator"), str):
        raw["coordinator"] = split_list(raw["coordinator"], words=False)
    try:
        config = AgentConfig.model_validate(raw)
    except ValidationError as error:
        raise _together([_config_error(each, sources) for each in error.errors(include_url=False)]) from None
    wrong = list(_wrong_together(config, sources))
    config = _complete(config, sources.found, path.parent if path is not None else cwd, cwd, environ)
    wrong += _wrong_state_dir(config, sources)
    if on_this_host:
        wrong += _wrong_on_this_host(config, sources, cwd, {each.setting for each in wrong})
    if wrong:
        raise _together(wrong)
    return config


def _wrong_on_this_host(config: AgentConfig, sources: Sources, cwd: Path, told: set[str]) -> Iterator[ConfigError]:
    """What the runner's settings name and is not here; `told` are settings that are known to be wrong."""
    appwright = config.appwright
    if config.runner == "command" and "command.argv" not in told:
        named = Named("command.argv", "command.cwd")
        found = problems(config.command.argv, config.command.cwd or cwd, config.test_environ, named)
    elif config.runner == "appwright":
        named = Named("appwright.node", "appwright.suite_dir")
        found = problems((appwright.node,), appwright.suite_dir or cwd, config.test_environ, named)
    else:
        return
    for name, value, why in found:
        yield sources.wrong(name, value, why)


def unread_settings() -> list[Stray]:
    """What this process has in its environment or in `.env` that looks like a setting, and is none."""
    file = Path.cwd() / ".env"
    return strays(os.environ, read_dotenv(file), file)


def _together(errors: Sequence[ConfigError]) -> ConfigError | ConfigErrors:
    return errors[0] if len(errors) == 1 else ConfigErrors(errors)


class Sources:
    """Where each setting was found: in the environment those of `found`, the others in the file (or nowhere)."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.found: dict[str, Found] = {}

    def wrong(self, setting: str, value: object, problem: str) -> ConfigError:
        """The error of a setting, with its name and value as they are where it was set."""
        found = next((self.found[each] for each in _outward(setting) if each in self.found), None)
        shown = found.value if found is not None else value
        if shown is not None and _is_secret(setting):
            shown = "(hidden)"
        name, source = (setting, self.file) if found is None else (found.name, found.source)
        return ConfigError(name, shown, source, problem)


def _is_secret(setting: str) -> bool:
    """Also what is no setting, in a table that has secrets: it may be the name of one with a slip."""
    table, _, name = setting.partition(".")
    unknown = table == "browserstack" and name not in BrowserStackConfig.model_fields
    return table == "token" or setting in _SECRETS or unknown


def _outward(setting: str) -> list[str]:
    """`a.b[0]` as `a.b[0]`, `a.b`, `a`."""
    ends = [match.start() for match in re.finditer(r"[.\[]", setting)]
    return [setting[:end] for end in [len(setting), *reversed(ends)]]


def _overlay(
    model: type[BaseModel], raw: dict[str, Any], prefix: str, environment: Environment, sources: Sources
) -> None:
    """Puts the environment's settings over the file's, and remembers their source."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            table = raw.setdefault(name, {})
            if isinstance(table, dict):
                _overlay(annotation, table, f"{prefix}{name}.", environment, sources)
            continue
        alias = NODE_ENV if name == "environment" else None
        found = environment.lookup(prefix + name, alias)
        if found is not None and name not in ("devices", "labels"):
            sources.found[prefix + name] = found
            node = found.name == NODE_ENV
            raw[name] = (
                of_node_env(found.value) if node else _parsed(found, annotation, words=name in ("argv", "appium"))
            )


def _parsed(found: Found, annotation: object, *, words: bool) -> Any:
    if get_origin(annotation) is not tuple:
        return found.value
    try:
        return split_list(found.value, words=words)
    except ValueError as error:
        raise ConfigError(found.name, found.value, found.source, f"is not a list: {error}") from None


def _config_error(each: ErrorDetails, sources: Sources) -> ConfigError:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in each["loc"]).removeprefix(".")
    field, table = _declared(each["loc"])
    value = None if each["type"] == "missing" else each["input"]  # its input is the table that lacks it
    return sources.wrong(where, value, problem_of(each, field, list(table.model_fields)))


def _declared(loc: tuple[int | str, ...]) -> tuple[object, type[BaseModel]]:
    """What a setting was declared as, and the innermost table on the way to it."""
    table: type[BaseModel] = AgentConfig
    field: object = None
    for part in loc:
        if part not in table.model_fields:
            continue
        field = table.model_fields[str(part)]
        annotation = table.model_fields[str(part)].annotation
        for inner in (annotation, *get_args(annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                table = inner
    return field, table


def _wrong_together(config: AgentConfig, sources: Sources) -> Iterator[ConfigError]:
    """What no single setting can know."""
    low, high = config.simulated.test_seconds
    if low > high:
        problem = "has the longest first; give the shortest and the longest, as in 1,3"
        yield sources.wrong("simulated.test_seconds", [low, high], problem)
    if config.runner == "command":
        try:
            check_template(config.command.argv)
        except TemplateError as error:
            yield sources.wrong("command.argv", list(config.command.argv), f"is no command: {error}")
    if config.runner == "appwright":
        yield from _wrong_appwright(config.appwright, sources, needs_appium=not config.browserstack.enabled)
    if config.browserstack.enabled:
        yield from _wrong_browserstack(config, sources)
    for index, device in enumerate(config.devices):
        found = first_problem(device.udid, device.os_version, device.model, device.labels)
        if found is not None:
            name, value, why = found
            yield sources.wrong(f"devices[{index}].{name}", value, why)
    yield from _wrong_ids(config, sources)


def _wrong_appwright(config: AppwrightConfig, sources: Sources, *, needs_appium: bool) -> Iterator[ConfigError]:
    from_suite = config.appium_url is None and any("{suite_dir}" in word for word in config.appium)
    if config.suite_dir is None and needs_appium and from_suite:
        problem = "is not set; name the folder of the test project, or an appwright.appium without {suite_dir}"
        yield sources.wrong("appwright.suite_dir", None, f"{problem}: then jobs bring their suites")
    if not config.project:
        problem = f"is empty; name the project in {config.config} that this agent's devices run"
        yield sources.wrong("appwright.project", config.project, problem)
    if config.appium_url is not None:
        try:
            Address.of_url(config.appium_url)
        except ValueError as error:
            problem = f"{error}; give one, as in http://127.0.0.1:4723"
            yield sources.wrong("appwright.appium_url", config.appium_url, problem)
        return
    try:
        check_words(config.appium)
    except ValueError as error:
        yield sources.wrong("appwright.appium", list(config.appium), f"is no command: {error}")


def _wrong_browserstack(config: AgentConfig, sources: Sources) -> Iterator[ConfigError]:
    what = config.browserstack
    for name, value in (("username", what.username), ("access_key", what.access_key)):
        if value is None or not value.get_secret_value().strip():
            problem = "is not set; take it from the account's settings at BrowserStack"
            yield sources.wrong(f"browserstack.{name}", None, problem)
    for name, text in (("model", what.model), ("os_version", what.os_version)):
        if not text:
            problem = "is not set; name a device as BrowserStack lists it, such as Google Pixel 8 with 14.0"
            yield sources.wrong(f"browserstack.{name}", text, problem)
    found = first_problem("browserstack-1", what.os_version, what.model, {})
    if found is not None:
        yield sources.wrong(f"browserstack.{found[0]}", found[1], found[2])
    for name, found_here in (("adb", config.adb.enabled), ("apple", config.apple.enabled)):
        if found_here:
            problem = f"is on, and so is {name}.enabled; start another agent for BrowserStack, with a file of its own"
            yield sources.wrong("browserstack.enabled", True, problem)
    if config.runner != "appwright":
        problem = f'is on, and runner is {config.runner}; sessions of a shared plan want runner = "appwright"'
        yield sources.wrong("browserstack.enabled", True, problem)
    for index, device in enumerate(config.devices):
        if re.fullmatch(r"browserstack-[1-9][0-9]*", device.udid) is None:
            problem = "is no session of the plan; they are browserstack-1, browserstack-2 and so on"
            yield sources.wrong(f"devices[{index}].udid", device.udid, problem)
        elif device.target is not Target.BROWSERSTACK:
            yield sources.wrong(f"devices[{index}].target", device.target.value, "must be browserstack here")


def _wrong_ids(config: AgentConfig, sources: Sources) -> Iterator[ConfigError]:
    """Ids that the coordinator would refuse, those included that are made of something else."""
    for index, device in enumerate(config.devices):
        size = len(_facts(config.agent_id, device).device_id)
        if size > _MAX_ID:
            problem = f"would make a device_id of {size} characters, and {_MAX_ID} are allowed; set device_id"
            yield sources.wrong(f"devices[{index}].udid", device.udid, problem)
    count = config.simulated.generate.count
    size = len(f"{config.generated_prefix}{count}")
    if count and size > _MAX_ID:
        problem = f"would make device ids of {size} characters, and {_MAX_ID} are allowed; set a shorter one"
        yield sources.wrong("simulated.generate.prefix", config.generated_prefix, problem)
    ids = [facts.device_id for facts in config.device_facts or config.named_devices]
    if not ids and not config.finds_devices:
        problem = "is empty; add [[devices]] tables, or use agent_id agent-1 or agent-2 for simulated ones"
        yield sources.wrong("devices", [], problem)
    if len(ids) > MAX_DEVICES:
        problem = f"are more than the {MAX_DEVICES} that one agent may have; start another agent for the rest"
        yield sources.wrong("devices", f"{len(ids)} devices", problem)
    twice = sorted({device_id for device_id in ids if ids.count(device_id) > 1})
    if twice:
        yield sources.wrong("devices", twice, "would be ids of two devices each; give each a device_id of its own")


def _wrong_state_dir(config: AgentConfig, sources: Sources) -> Iterator[ConfigError]:
    """Where there can be no state directory, so that `--check` tells it too."""
    path = config.state_path
    nearest = next(each for each in (path, *path.parents) if look(each) in (Place.FOLDER, Place.FILE))
    under = "" if nearest == path else f"under {nearest}, "
    if look(nearest) is Place.FILE:
        why = f"is {under}a file; choose another folder"
    elif not os.access(nearest, os.X_OK):
        may_not = "may not be entered; choose another folder, or open it to this user"
        why = f"is {under}which {may_not}" if under else may_not
    elif not os.access(nearest, os.W_OK):
        why = f"can't be written ({nearest} is another user's); choose another folder"
    else:
        return
    yield sources.wrong("state_dir", str(path), why)


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

"""The tables of agent.toml, and what each value may be; what several say together is judged in config_checks.py."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from qgjob_agent.addresses import MAX_PORT
from qgjob_agent.builds.template import TemplateError, check
from qgjob_agent.core.values import DeviceFacts, Target
from qgjob_agent.device_rules import MAX_DEVICES

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_HOST = r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]+\]"
_ON_NETWORK = re.compile(rf"(?:{_HOST}):([1-9][0-9]{{0,4}})")
_ENV_ALLOW = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "ANDROID_HOME", "JAVA_HOME")


def lower(value: Any) -> Any:
    """The same in lower case, where it is text."""
    return value.lower() if isinstance(value, str) else value


def _id(value: str) -> str:
    if _ID.fullmatch(value) is None:
        raise ValueError(
            "is not an id; use 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        )
    return value


Id = Annotated[str, AfterValidator(_id)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Wait = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Table(BaseModel):
    """One table: what it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DeviceConfig(Table):
    """One `[[devices]]` table. `device_id` defaults to `{agent_id}.{udid}`, other characters replaced by `-`."""

    udid: str
    target: Target
    device_id: Id | None = None
    platform: Literal["android", "ios"] | None = None
    os_version: str | None = None
    model: str | None = None
    labels: dict[Id, str] = Field(default_factory=dict)

    def facts(self, agent_id: str) -> DeviceFacts:
        """The device as an agent of that name has it."""
        safe = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in self.udid)
        return DeviceFacts(
            device_id=self.device_id or f"{agent_id}.{safe}",
            udid=self.udid,
            target=self.target,
            platform=self.platform,
            os_version=self.os_version,
            model=self.model,
            labels=dict(self.labels),
        )


class GenerateConfig(Table):
    """Makes simulated devices by the number, for benchmarks. `prefix` defaults to `{agent_id}.sim-`."""

    count: Annotated[int, Field(ge=0, le=MAX_DEVICES)] = 0
    target: Target = Target.EMULATOR
    prefix: Id | None = None


class SimulatedConfig(Table):
    """How simulated devices and tests behave. Seconds; `test_seconds` is the shortest and the longest."""

    install_seconds: Seconds = 3.0
    test_seconds: tuple[Seconds, Seconds] = (1.0, 3.0)
    failure_rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    seed: int = 1
    failing_installs: tuple[Id, ...] = ()
    failing_tests: tuple[Id, ...] = ()
    heal_after_probes: Annotated[int, Field(ge=0, le=1000)] = 0
    broken_builds: tuple[Id, ...] = ()
    generate: GenerateConfig = GenerateConfig()


class CommandConfig(Table):
    """What the `command` runner starts. `argv` is a template, no shell reads it."""

    argv: tuple[str, ...] = ()
    cwd: Path | None = None
    env_allow: tuple[str, ...] = _ENV_ALLOW
    output_bytes: Annotated[int, Field(ge=4_096, le=1_000_000_000)] = 10_000_000


ProjectName = Annotated[str, Field(min_length=1)]


class ProjectsConfig(Table):
    """Projects of AppWright's config by the kind of device, where `appwright.project` is not that of all."""

    android: ProjectName | None = None
    ios: ProjectName | None = None
    simulator: ProjectName | None = None
    browserstack: ProjectName | None = None


class AppwrightConfig(Table):
    """What the `appwright` runner runs. `appium` is a template, no shell reads it."""

    suite_dir: Path | None = None
    project: str = ""
    projects: ProjectsConfig = ProjectsConfig()
    config: Annotated[str, Field(min_length=1)] = "appwright.config.ts"
    mode: Annotated[Literal["auto", "plain"], BeforeValidator(lower)] = "auto"
    attempts_per_run: Annotated[int, Field(ge=1, le=100)] = 8
    node: Annotated[str, Field(min_length=1)] = "node"
    appium_url: str | None = None
    appium: tuple[str, ...] = ("{suite_dir}/node_modules/.bin/appium", "--address", "127.0.0.1", "--port", "{port}")
    env_allow: tuple[str, ...] = (*_ENV_ALLOW, "APPIUM_HOME")
    output_bytes: Annotated[int, Field(ge=4_096, le=1_000_000_000)] = 10_000_000


class EvidenceConfig(Table):
    """What is kept of what attempts leave. MB are 1,000,000 bytes; the first two are of one attempt."""

    keep: Annotated[Literal["all", "failed", "none"], BeforeValidator(lower)] = "all"
    max_files: Annotated[int, Field(ge=1, le=1000)] = 200
    max_mb: Annotated[int, Field(ge=1, le=100_000)] = 200
    spool_mb: Annotated[int, Field(ge=1, le=100_000_000)] = 2_000
    device_log: bool = True


def _template(value: str) -> str:
    try:
        check(value)
    except TemplateError as error:
        raise ValueError(str(error)) from None
    return value


class BuildsConfig(Table):
    """Where builds come from that nobody pushed, and how much of all is kept on this host."""

    template: Annotated[str, AfterValidator(_template)] | None = None
    cache_mb: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000


class SuitesConfig(Table):
    """Suites that jobs bring along: where they are unpacked, how much is kept, and what installs their packages."""

    cache_dir: Path | None = None
    cache_mb: Annotated[int, Field(ge=1, le=100_000_000)] = 5_000
    npm: Annotated[str, Field(min_length=1)] = "npm"
    install_seconds: Wait = 600.0


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no https:// address")
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("is an http address of another machine, which would see the account's key; use https")
    if parts.username or parts.password:
        raise ValueError("has a user or password in it; set browserstack.username and browserstack.access_key")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address)]


class BrowserStackConfig(Table):
    """The parallel sessions of a BrowserStack plan. `sessions` bounds how many of them this agent uses."""

    enabled: bool = False
    username: SecretStr | None = None
    access_key: SecretStr | None = None
    sessions: Annotated[int, Field(ge=1, le=MAX_DEVICES)] | None = None
    model: str = ""
    os_version: str = ""
    platform: Annotated[Literal["android", "ios"], BeforeValidator(lower)] = "android"
    api_url: Address = "https://api-cloud.browserstack.com"
    hub_url: Address = "https://hub.browserstack.com/wd/hub"
    look_seconds: Wait = 15.0
    wait_seconds: Wait = 120.0
    upload_seconds: Wait = 900.0
    evidence: Annotated[Literal["failed", "always", "never"], BeforeValidator(lower)] = "failed"
    evidence_seconds: Wait = 30.0


class AppleConfig(Table):
    """The simulators of this Mac and, with `physical`, its iPhones and iPads; of `udids` only, where it names some."""

    enabled: bool = False
    physical: bool = False
    program: Path = Path("xcrun")
    udids: tuple[str, ...] = ()
    boot: bool = True
    erase: Annotated[Literal["never", "orgs", "builds"], BeforeValidator(lower)] = "never"
    boot_seconds: Wait = 180.0
    install_seconds: Wait = 300.0
    fetch_seconds: Wait = 3600.0
    min_free_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 2000
    uninstall_ours: bool = True


def _on_network(value: str) -> str:
    """As adb shows the device then: its port without zeros before it."""
    match = _ON_NETWORK.fullmatch(value)
    if match is None or int(match[1]) > MAX_PORT:
        raise ValueError(f"has {value!r}, which is no address of a device; give HOST:PORT, as in 192.168.1.20:5555")
    return value


class AdbConfig(Table):
    """The Android devices of an adb server; of `serials` only, where it names some. MB are 1,000,000 bytes.

    `connect` has devices on the network, each as HOST:PORT, which is its serial then.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 5037
    program: Path = Path("adb")
    serials: tuple[str, ...] = ()
    connect: tuple[Annotated[str, AfterValidator(_on_network)], ...] = ()
    install_seconds: Wait = 300.0
    fetch_seconds: Wait = 3600.0
    min_free_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 500
    min_battery_percent: Annotated[int, Field(ge=0, le=100)] = 10
    uninstall_ours: bool = True
    health_labels: bool = False

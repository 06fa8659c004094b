"""The coordinator's settings: one frozen object, made at start from the environment and `.env`.

Each setting is read from `QGJOB_<NAME>`, then `<NAME>`, then the same in `.env`. Nothing else reads the environment.
Processes of one parent find `.env` as it was when the parent read it: it hands its lines down in their environment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from qgjob_coordinator.blobs.address import folder
from qgjob_coordinator.errors import ConfigError
from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.org_weights import parse
from qgjob_coordinator.setting_names import Stray, strays
from qgjob_coordinator.setting_words import (
    DEFAULTS,
    ENVIRONMENT,
    NODE_ENV,
    dotenv_problem,
    line,
    of_node_env,
    problem_of,
)
from qgjob_coordinator.store.connection import check_url

PREFIX = "QGJOB_"
HANDED_DOWN = "QGJOB_HANDED_DOWN"
"""The variable with what a parent found in `.env`, as JSON. It may hold secrets, so it is no argument."""
LEASE_MARGIN_SECONDS = 2.0
"""A coordinator gives an attempt up so long after its lease; the agent has killed it at 0.8 of the lease."""


def _setting(name: str, default: object, *aliases: str, **limits: Any) -> Any:
    names = [PREFIX + name, name, *aliases]
    return Field(default=default, validation_alias=AliasChoices(*names), **limits)


class Settings(BaseSettings):
    """Every setting of the coordinator, with its unit in its name. `env.example` says what each is for."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = _setting("HOST", "127.0.0.1", min_length=1)
    port: int = _setting("PORT", 3000, ge=0, le=65535)
    grpc_port: int = _setting("GRPC_PORT", 50051, ge=0, le=65535)
    redis_url: str = _setting("REDIS_URL", "redis://localhost:6379")
    redis_pool_size: int = _setting("REDIS_POOL_SIZE", 32, ge=4, le=10_000)
    environment: Literal["development", "production"] = _setting("ENVIRONMENT", "development", NODE_ENV)
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = _setting("ALLOWED_ORIGINS", ("http://localhost:3000",))
    log_level: Literal["error", "warn", "info", "debug"] = _setting("LOG_LEVEL", "info")
    max_retries: int = _setting("MAX_RETRIES", 3, ge=0, le=100)
    infra_max_retries: int = _setting("INFRA_MAX_RETRIES", 5, ge=0, le=100)
    default_priority: Priority = _setting("DEFAULT_PRIORITY", Priority.MEDIUM)
    default_target: Target = _setting("DEFAULT_TARGET", Target.EMULATOR)
    group_max_devices: int | None = _setting("GROUP_MAX_DEVICES", None, ge=1)
    max_running_per_org: int | None = _setting("MAX_RUNNING_PER_ORG", None, ge=1)
    org_weights: Annotated[Mapping[str, float], NoDecode] = _setting("ORG_WEIGHTS", {})
    retention_days: float = _setting("RETENTION_DAYS", 7.0, gt=0, le=3650)
    durability: Literal["everysec", "always"] = _setting("DURABILITY", "everysec")
    heartbeat_seconds: float = _setting("HEARTBEAT_SECONDS", 5.0, gt=0, le=3600)
    session_timeout_seconds: float = _setting("SESSION_TIMEOUT_SECONDS", 15.0, gt=0, le=86_400)
    lease_seconds: float = _setting("LEASE_SECONDS", 60.0, gt=0, le=86_400)
    attempt_timeout_seconds: float = _setting("ATTEMPT_TIMEOUT_SECONDS", 1800.0, gt=0, le=86_400)
    silence_timeout_seconds: float = _setting("SILENCE_TIMEOUT_SECONDS", 300.0, gt=0, le=86_400)
    kill_grace_seconds: float = _setting("KILL_GRACE_SECONDS", 10.0, ge=0, le=600)
    quarantine_seconds: float = _setting("QUARANTINE_SECONDS", 10.0, ge=0.05, le=3600)
    blob_url: str = _setting("BLOB_URL", ".qgjob/blobs", min_length=1)
    blob_spool_dir: Path = _setting("BLOB_SPOOL_DIR", Path(".qgjob/spool"))
    build_max_mb: int = _setting("BUILD_MAX_MB", 2000, ge=1, le=100_000)
    suite_max_mb: int = _setting("SUITE_MAX_MB", 200, ge=1, le=100_000)
    build_retention_days: int = _setting("BUILD_RETENTION_DAYS", 30, ge=0, le=3650)
    artifacts_max_mb: int = _setting("ARTIFACTS_MAX_MB", 500, ge=1, le=100_000)
    artifact_retention_days: int = _setting("ARTIFACT_RETENTION_DAYS", 14, ge=0, le=3650)
    parent_pid: int | None = _setting("PARENT_PID", None, gt=1, le=2**31 - 1)

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        return tuple(x.strip() for x in value.split(",") if x.strip()) if isinstance(value, str) else value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not _is_origin(origin):
                raise ValueError(
                    f"has {origin!r}, which no browser sends as an origin; "
                    "write scheme://host[:port] in lower case, as in http://localhost:3000, or *"
                )
        return value

    @field_validator("redis_url")
    @classmethod
    def _store_url(cls, value: str) -> str:
        check_url(value)
        return value

    @field_validator("blob_url")
    @classmethod
    def _blob_place(cls, value: str) -> str:
        folder(value)
        return value

    @field_validator("org_weights", mode="before")
    @classmethod
    def _weights(cls, value: object) -> object:
        try:
            return parse(value) if isinstance(value, str) else value
        except ValueError as e:
            raise ValueError(f"is not valid: {e}") from None

    @field_validator("default_priority", mode="before")
    @classmethod
    def _priority_word(cls, value: object) -> object:
        if isinstance(value, str):
            words = {p.word: p for p in Priority}
            if value.lower() not in words:
                raise ValueError(f"is not known; give one of {', '.join(words)}")
            return words[value.lower()]
        return value

    @field_validator("environment", mode="before")
    @classmethod
    def _environment(cls, value: object) -> object:
        said, _ = _source(_field("ENVIRONMENT")[1])
        return of_node_env(value) if isinstance(value, str) and said == NODE_ENV else _lower(value)

    @field_validator("log_level", "durability", "default_target", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return _lower(value)

    @property
    def production(self) -> bool:
        """JSON logs, no embedded store."""
        return self.environment == "production"

    @property
    def give_up_seconds(self) -> float:
        """When an attempt of a silent agent is given up."""
        return self.lease_seconds + LEASE_MARGIN_SECONDS * self.lease_seconds / 60.0

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment, then `.env`; no secret files."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, dict(_of_file()))

    @classmethod
    def load(cls) -> Self:
        """The settings of this process. Raises ConfigError with one line that names setting, value and source."""
        if HANDED_DOWN not in os.environ:
            _check_file()
        try:
            settings = cls()
        except ValidationError as e:
            raise ConfigError(_one_line(e)) from None
        settings._check_together()
        return settings

    @classmethod
    def load_to_hand_down(cls) -> Self:
        """`load`, with `.env` as it is now; from now on it is the same to this process and to those it starts.

        Raises ConfigError: then it stays what it was.
        """
        before = os.environ.pop(HANDED_DOWN, None)
        try:
            _check_file()
            known = {name for attribute in cls.model_fields for name in _names(attribute)}
            os.environ[HANDED_DOWN] = json.dumps({k: v for k, v in _of_file().items() if k in known})
            return cls.load()
        except ConfigError:
            os.environ.pop(HANDED_DOWN, None)
            if before is not None:
                os.environ[HANDED_DOWN] = before
            raise

    @staticmethod
    def strays() -> list[Stray]:
        """What is set and looks like a setting, and is none."""
        return strays(os.environ, _of_file(), _dotenv())

    def wrong(self, name: str, problem: str) -> ConfigError:
        """The error of a setting that turned out wrong while it was put to use; `problem` says what to do."""
        field = _field(name)
        said, where = _source(field[1])
        value = getattr(self, field[0])
        return ConfigError(line(said, without_secret(value) if name == "REDIS_URL" else value, where, problem))

    def blamed(self, error: ConfigError) -> ConfigError:
        """The same error, with the value and the source of the setting that is its field."""
        return error if error.field is None else type(error)(self.wrong(error.field, error.message).message)

    def _check_together(self) -> None:
        if self.port == self.grpc_port != 0:
            raise self.wrong("GRPC_PORT", "is PORT too; set another port")
        if self.session_timeout_seconds < 2 * self.heartbeat_seconds:
            raise self.wrong(
                "SESSION_TIMEOUT_SECONDS",
                f"is under two heartbeats (HEARTBEAT_SECONDS is {self.heartbeat_seconds:g}), "
                "so that one late heartbeat would end a session; set more",
            )
        if self.lease_seconds < 2 * self.session_timeout_seconds:
            raise self.wrong(
                "LEASE_SECONDS",
                f"is under two session timeouts (SESSION_TIMEOUT_SECONDS is {self.session_timeout_seconds:g}), "
                "so that a short outage would kill tests; set more",
            )


def without_secret(url: str) -> str:
    """The store's URL without user and password, also where it is malformed."""
    scheme, separator, rest = url.rpartition("://")
    return scheme + separator + _SECRET.sub(r"\1***", rest.rpartition("@")[2])


_SECRET = re.compile(r"((?:username|password)=)[^&]*")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?")


def _is_origin(text: str) -> bool:
    match = _ORIGIN.fullmatch(text)
    return match is not None and 0 < int(match[1] or 1) <= 65_535


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _field(name: str) -> tuple[str, tuple[str, ...]]:
    """(attribute, names that it can be set by) of the setting that a name stands for."""
    for attribute in Settings.model_fields:
        names = _names(attribute)
        if name in names:
            return attribute, names
    raise KeyError(name)


def _names(attribute: str) -> tuple[str, ...]:
    """What the setting can be set by."""
    alias = Settings.model_fields[attribute].validation_alias
    return tuple(str(choice) for choice in alias.choices) if isinstance(alias, AliasChoices) else ()


def _dotenv() -> Path:
    return Path(".env").resolve()


def _check_file() -> None:
    problem = dotenv_problem(_dotenv())
    if problem is not None:
        raise ConfigError(problem)


def _of_file() -> dict[str, str]:
    """What `.env` sets, as it is written there: nothing is expanded, so that it is the same to every program."""
    handed_down = os.environ.get(HANDED_DOWN)
    if handed_down is not None:
        return {str(name): str(value) for name, value in json.loads(handed_down).items()}
    path = _dotenv()
    return (
        {name: value for name, value in dotenv_values(path, interpolate=False).items() if value}
        if path.is_file()
        else {}
    )


def _source(names: tuple[str, ...]) -> tuple[str, str]:
    """(name, where it was set) of the alias that gave a setting its value."""
    env: Mapping[str, str | None] = os.environ
    for where, values in ((ENVIRONMENT, env), (str(_dotenv()), _of_file())):
        for name in names:
            if values.get(name):
                return name, where
    return names[1], DEFAULTS


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    attribute, names = _field(str(first["loc"][0]))
    name, where = _source(names)
    value = without_secret(str(first["input"])) if attribute == "redis_url" else first["input"]
    if attribute in _LISTS and isinstance(value, tuple):
        value = ",".join(value)
    return line(name, value, where, problem_of(first, Settings.model_fields[attribute]))


_LISTS = ("allowed_origins",)

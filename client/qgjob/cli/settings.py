"""The CLI's settings, each with where it came from.

The first of these counts: flag, QGJOB_* (of the process, then of `.env`), ./qgjob.toml, the user's file, default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qgjob._addresses import DEFAULT_PORT, whole
from qgjob._errors import ConfigError
from qgjob._shape import Shape
from qgjob.cli.dotenv import Environment

PROJECT_FILE = "qgjob.toml"
FORMATS = ("table", "json", "jsonl")


@dataclass(frozen=True, slots=True)
class Setting(Shape):
    """A setting's value, and where that was set."""

    name: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command needs. `coordinator` is host:port or host, several with commas between."""

    coordinator: str
    token: str | None
    org_id: str | None
    output: str
    timeout_seconds: float | None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a text that is not empty")
    return value


def _coordinators(value: Any) -> str:
    text = _text(value)
    whole(text.split(","))
    return text


def _format(value: Any) -> str:
    if value not in FORMATS:
        raise ValueError(f"must be one of {', '.join(FORMATS)}")
    return str(value)


def _seconds(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError("must be a number of seconds") from None
    if isinstance(value, bool) or not 0 < number <= 86_400:
        raise ValueError("must be over 0 and at most 86400")
    return number


def _unquoted_seconds(value: Any) -> float:
    """As TOML has numbers: elsewhere all is text."""
    if isinstance(value, str):
        raise ValueError("must be a number of seconds, without quotes")  # noqa: TRY004 - as of all checks
    return _seconds(value)


@dataclass(frozen=True, slots=True)
class _Known:
    default: Any
    check: Callable[[Any], Any]
    in_files: bool = True
    check_in_file: Callable[[Any], Any] | None = None


_KNOWN: dict[str, _Known] = {
    "coordinator": _Known(f"localhost:{DEFAULT_PORT}", _coordinators),
    # A credential does not belong in a file that is likely to be committed.
    "token": _Known(None, _text, in_files=False),
    "org_id": _Known(None, _text),
    "output": _Known("table", _format),
    "timeout_seconds": _Known(None, _seconds, check_in_file=_unquoted_seconds),
}


def resolve(flags: Mapping[str, Any], environment: Environment, cwd: Path, user_file: Path) -> list[Setting]:
    """Every setting with its origin. Raises ConfigError naming setting, value and source."""
    project_file = cwd / PROJECT_FILE
    files = [(str(path), _read_file(path)) for path in (project_file, user_file)]
    return [_resolve_one(name, known, flags, environment, files) for name, known in _KNOWN.items()]


def to_settings(resolved: list[Setting]) -> Settings:
    """The values alone."""
    return Settings(**{setting.name: setting.value for setting in resolved})


def user_file(environment: Environment) -> Path:
    """`$XDG_CONFIG_HOME/qgjob/config.toml`, by default under ~/.config."""
    base = environment.process.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "qgjob" / "config.toml"


def _resolve_one(
    name: str,
    known: _Known,
    flags: Mapping[str, Any],
    environment: Environment,
    files: list[tuple[str, dict[str, Any]]],
) -> Setting:
    flag, variable = f"--{name.replace('_', '-')}", f"QGJOB_{name.upper()}"
    candidates: list[tuple[Any, str, str, str]] = []  # value, origin, and what it is called where
    if flags.get(name) is not None:
        candidates.append((flags[name], f"flag {flag}", flag, "the command line"))
    found, told = environment.lookup(variable), environment.first_set(variable)
    if found is not None and told is not None:
        candidates.append((*found, variable, told[2]))
    candidates += [(content[name], path, name, path) for path, content in files if name in content]
    if not candidates:
        return Setting(name, known.default, "default")
    value, origin, said, source = candidates[0]
    check = known.check_in_file if known.check_in_file is not None and origin in dict(files) else known.check
    try:
        return Setting(name, check(value), origin)
    except ValueError as error:
        shown = "(hidden)" if name == "token" else repr(value)
        raise ConfigError(f"{said}: {shown} (from {source}) {error}") from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    allowed = [name for name, known in _KNOWN.items() if known.in_files]
    for name in content:
        if name not in allowed:
            advice = "set QGJOB_TOKEN" if name == "token" else f"it may hold {', '.join(allowed)}"
            raise ConfigError(f"{name}: is not a setting for {path}; {advice}")
    return content

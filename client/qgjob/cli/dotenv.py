"""The environment, with a `.env` file of the working folder beneath it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qgjob._errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Environment:
    """The process's variables, and those of the file, which count only where the process has none."""

    process: Mapping[str, str]
    file: Mapping[str, str] = field(default_factory=dict)

    def lookup(self, *names: str) -> tuple[str, str] | None:
        """(value, origin) of the first name that is set to something; the process's variables come first."""
        found = self.first_set(*names)
        if found is None:
            return None
        name, value, in_file = found
        return value, f"{name} in .env" if in_file else f"environment variable {name}"

    def first_set(self, *names: str) -> tuple[str, str, bool] | None:
        """(name, value, whether the file says so) of what `lookup` finds, for messages that begin with the name."""
        for variables, in_file in ((self.process, False), (self.file, True)):
            for name in names:
                if variables.get(name):
                    return name, variables[name], in_file
        return None


def read_environment(process: Mapping[str, str], cwd: Path) -> Environment:
    """The environment as commands see it. Raises ConfigError for a `.env` that can't be read."""
    path = cwd / ".env"
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Environment(process)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    return Environment(process, parse_dotenv(text))


def parse_dotenv(text: str) -> dict[str, str]:
    """`NAME=value` lines; `export`, quotes, and comments after a blank are understood, other lines are left alone."""
    values: dict[str, str] = {}
    for raw in text.splitlines():
        name, equals, value = raw.strip().removeprefix("export ").partition("=")
        if equals and _NAME.fullmatch(name.strip()):
            values[name.strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    if value[:1] in ("'", '"'):
        try:
            return shlex.split(value, comments=True)[0]
        except ValueError:
            return value
    return re.split(r"\s#|^#", value, maxsplit=1)[0].rstrip()

"""The environment, with a `.env` file of the working folder beneath it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qgjob._errors import ConfigError

ENVIRONMENT = "the environment"
_LINE = re.compile(
    r"""[^\S\n]*(?:
        (?:export[^\S\n]+)?(?P<name>[^\s=#'"]+)[^\S\n]*=(?P<blank>[^\S\n]*+)
        (?P<value>
            '(?:\\[\s\S]|[^'\\])*'(?=[^\S\n]*(?:\#.*)?(?:\n|\Z))
            |"(?:\\[\s\S]|[^"\\])*"(?=[^\S\n]*(?:\#.*)?(?:\n|\Z))
            |[^'"\n].*
            |
        )
    )?[^\S\n]*(?:\#.*)?(?:\n|\Z)""",
    re.VERBOSE,
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Environment:
    """The process's variables, and those of the file at `path`, which count only where the process has none."""

    process: Mapping[str, str]
    file: Mapping[str, str] = field(default_factory=dict)
    path: Path = Path(".env")

    def lookup(self, *names: str) -> tuple[str, str] | None:
        """(value, origin) of the first name that is set to something; the process's variables come first."""
        found = self.first_set(*names)
        if found is None:
            return None
        name, value, source = found
        return value, f"environment variable {name}" if source == ENVIRONMENT else f"{name} in .env"

    def first_set(self, *names: str) -> tuple[str, str, str] | None:
        """(name, value, source) of what `lookup` finds, for messages that begin with the name."""
        for variables, source in ((self.process, ENVIRONMENT), (self.file, str(self.path))):
            for name in names:
                if variables.get(name):
                    return name, variables[name], source
        return None


def read_environment(process: Mapping[str, str], cwd: Path) -> Environment:
    """The environment as commands see it. Raises ConfigError for a `.env` that can't be read."""
    path = cwd / ".env"
    try:
        return Environment(process, parse_dotenv(path.read_text("utf-8")), path)
    except FileNotFoundError:
        return Environment(process)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); mend it, or move it away") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: can't be read (it is not UTF-8); mend it, or move it away") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_dotenv(text: str) -> dict[str, str]:
    """`NAME=value` lines; `export`, comments after a blank, and quotes, also over lines, are understood.

    Nothing is expanded, so that a `$` is a `$` to all programs; between double quotes, `\\n` and its like are escapes.
    Raises ValueError, with what to do, for a line that is nothing of that.
    """
    text = text.removeprefix("\ufeff")
    values: dict[str, str] = {}
    at = 0
    while at < len(text):
        line = _LINE.match(text, at)
        if line is None:
            number = text.count("\n", 0, at) + 1
            raise ValueError(f"line {number} is not NAME=value; mend it, or make it a comment with #")
        if line["name"] is not None:
            values[line["name"]] = _unquoted(line["value"], line["blank"])
        at = line.end()
    return values


def _unquoted(value: str, blank: str) -> str:
    if value[:1] == "'":
        return re.sub(r"\\([\\'])", r"\1", value[1:-1])
    if value[:1] == '"':
        return re.sub(r"\\([\\'\"abfnrtv])", lambda each: _ESCAPES.get(each[1], each[1]), value[1:-1])
    return re.split(r"\s#", blank + value, maxsplit=1)[0].strip()

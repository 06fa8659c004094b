"""Where settings come from, and which of them wins: environment, then `.env`, then `agent.toml`, then the default.

In the environment a setting has its name in upper case, a table's setting with the table's name before it
(`SIMULATED_SEED`); the prefix QGJOB_ wins over the bare name. A variable that is set to nothing is not set.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dotenv import dotenv_values

from qgjob_agent.errors import ConfigError, FileError
from qgjob_agent.setting_words import ENVIRONMENT, dotenv_problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_PREFIX = "QGJOB_"
# Only with the prefix: the bare name is common, and another program's secret must not go to the coordinator.
_PREFIX_ONLY = frozenset({"token", "agent_config"})


# An address in brackets, with which no JSON array begins.
_IPV6 = re.compile(r"\[[0-9A-Fa-f]*:")


@dataclass(frozen=True, slots=True)
class Found:
    """A setting's raw value, where it was found, and the name that it has there."""

    value: Any
    source: str
    name: str


def read_toml(path: Path, name: str, source: str) -> dict[str, Any]:
    """The tables of an agent.toml. Raises ConfigError naming the file, and what named it."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(name, str(path), source, "is no file; name the agent's agent.toml") from None
    except OSError as error:
        raise ConfigError(name, str(path), source, f"can't be read ({error.strerror}); name another") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(name, str(path), source, f"is not valid TOML: {error}; mend it") from None


def read_dotenv(path: Path) -> dict[str, str]:
    """The variables of a `.env` file; none if there is no file. Raises AgentError with exit code 2."""
    problem = dotenv_problem(path)
    if problem is not None:
        raise FileError(problem)
    if not path.is_file():
        return {}
    return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value is not None}


@dataclass(frozen=True, slots=True)
class Environment:
    """The process's variables, and those of the `.env` file below them."""

    process: Mapping[str, str]
    dotenv: Mapping[str, str]
    path: Path

    def lookup(self, name: str, alias: str | None = None) -> Found | None:
        """The environment's word on a setting, such as `simulated.seed`."""
        bare = name.replace(".", "_").upper()
        variables = [_PREFIX + bare] if name in _PREFIX_ONLY else [_PREFIX + bare, bare]
        if alias is not None:
            variables.append(alias)
        for values, source in ((self.process, ENVIRONMENT), (self.dotenv, str(self.path))):
            for variable in variables:
                if values.get(variable):
                    return Found(values[variable], source, variable)
        return None


def split_list(text: str, *, words: bool) -> list[str]:
    """A list from the environment: a JSON array, shell words, or commas."""
    if text.lstrip().startswith("[") and not _IPV6.match(text.lstrip()):
        parsed = json.loads(text)
        return [str(item) for item in parsed]
    if words:
        return shlex.split(text)
    return [item.strip() for item in text.split(",") if item.strip()]

"""Every error that ends the agent. The docstring of each says what it means to a person.

AgentError
├── ConfigError       a setting is wrong; the program does not start (exit 2)
├── ConfigErrors      several are, each of them a ConfigError (exit 2)
├── FileError         a file of settings can't be read (exit 2)
├── StateDirError     the state directory can't be used, or another daemon uses it (exit 1)
├── ServiceError      the service can't be installed (exit 1), or not as was asked for (exit 2)
├── RefusedError      the coordinator refuses this agent for good (exit 1)
└── TreesLeftError    the agent ended as told, and something that it ran would not die (exit 1)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.setting_words import line

if TYPE_CHECKING:
    from collections.abc import Sequence


class AgentError(Exception):
    """The root of the tree. The message is one line (of ConfigErrors, several) that tells people what to do."""

    exit_code = 1


class ConfigError(AgentError):
    """A setting is wrong: names the setting as it is called where it was set, its value, and that place."""

    exit_code = 2

    def __init__(self, setting: str, value: object, source: str, problem: str) -> None:
        super().__init__(line(setting, value, source, problem))
        self.setting = setting
        self.value = value
        self.source = source


class ConfigErrors(AgentError):  # noqa: N818 - the plural of an error
    """Several settings are wrong: a line for each of `errors`."""

    exit_code = 2

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = tuple(errors)


class FileError(AgentError):
    """A file of settings can't be read. The message names the file and the line."""

    exit_code = 2


class StateDirError(AgentError):
    """The state directory can't be used, or another daemon uses it."""


class ServiceError(AgentError):
    """The service can't be installed. The message says what stands in the way."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RefusedError(AgentError):
    """The coordinator refuses this agent for good, for example since its version is too old."""


class TreesLeftError(AgentError):
    """The agent ended as told, and something that it ran would not die."""

    def __init__(self, count: int) -> None:
        what = "1 process tree" if count == 1 else f"{count} process trees"
        super().__init__(
            f"{what} would not die in time (tree_left in the log says which); the supervisors go on, and the next "
            "start of this agent finds them. What ignores SIGKILL is stuck in the kernel: restart the host"
        )


def together(errors: Sequence[ConfigError]) -> ConfigError | ConfigErrors:
    """One error for one or several wrong settings."""
    return errors[0] if len(errors) == 1 else ConfigErrors(errors)

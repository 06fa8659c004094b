"""Settings of whoever installs a service that the service does not get: those of their shell, and of a `.env` there."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING

from dotenv import dotenv_values

from qgjob_agent.config_reading import is_secret
from qgjob_agent.config_sources import Environment
from qgjob_agent.setting_words import NODE_ENV

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from qgjob_agent.config_sources import Found

# As systemd has it, for what is set at all: a value that is nothing but quotes is as good as none.
_ASSIGNED = re.compile(r"^[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(?!(?:\"\"|'')[ \t]*$)(\S.*)$", re.MULTILINE)


def left_behind(found: Mapping[str, Found], variables: str, config_file: Path, env_file: Path) -> Iterator[str]:
    """A line for each setting of `found`, by `table.name`, that is not among the service's own `variables`.

    `variables` is the content of `env_file`. Values are not told: some are secrets, which belong into that file alone.
    """
    own = Environment(_variables_of(variables, env_file), {}, env_file)
    for setting, each in found.items():
        if own.lookup(setting, NODE_ENV if setting == "environment" else None) is not None:
            continue
        table, _, name = setting.rpartition(".")
        in_file = f"{name} of [{table}]" if table else name
        into_config = "" if is_secret(setting) else f"{in_file} into {config_file}, or "
        yield (
            f"{each.name} (from {each.source}): the service does not get it; "
            f"write {into_config}{each.name}=... into {env_file}"
        )


def _variables_of(text: str, file: Path) -> dict[str, str]:
    """What a service gets by it: of a `.env`, which launchd's agents read themselves, and of a file for systemd."""
    if file.name == ".env":
        found = dotenv_values(stream=StringIO(text), interpolate=False)
        return {name: value for name, value in found.items() if value is not None}
    return dict(_ASSIGNED.findall(text))

"""`qgjob agent install-service`, from its options to its exit code."""

from __future__ import annotations

import os
import sys
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qgjob_agent.config import load_config
from qgjob_agent.errors import AgentError
from qgjob_agent.service.installing import Machine, Plan, Wish, install, plan, standing_variables
from qgjob_agent.service.left_behind import left_behind
from qgjob_agent.service.manager import watch

if TYPE_CHECKING:
    from qgjob_agent.config import AgentConfig
    from qgjob_agent.config_sources import Found


def run(wish: Wish, *, show: bool, machine: Machine | None = None) -> int:
    """Installs and looks whether it runs, or shows what would be written; tells of settings that the service lacks.

    Gives the exit code: 2 for a wrong wish or setting, 1 where it can't be installed or does not run.
    """
    try:
        config = load_config(wish.config_file)
        here = machine or Machine(sys.platform, os.geteuid(), Path.home(), config.environ)
        planned = plan(wish, config, here)
        variables = standing_variables(planned)
        only_here = _differing(config, wish.config_file)
        for line in left_behind(only_here, variables, wish.config_file, planned.env_file):
            print(f"warning: {line}", file=sys.stderr)
        if show:
            _show(planned)
            return 0
        for line in install(wish, planned, here):
            print(line)
        print(watch(wish.name, planned.lookout, here.environ))
    except AgentError as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    return 0


def _differing(config: AgentConfig, file: Path) -> dict[str, Found]:
    """The settings of the environment that are others without it; all of them where there are none then."""
    found = dict(config.from_environment)
    try:
        with TemporaryDirectory() as folder:  # one that has no .env
            alone = load_config(file, {}, Path(folder))
    except (AgentError, OSError):
        return found
    return {name: each for name, each in found.items() if attrgetter(name)(config) != attrgetter(name)(alone)}


def wish(config_file: str, name: str, run_as: str | None, *, user: bool, force: bool) -> Wish:
    """What somebody asked for on a command line."""
    return Wish(Path(config_file), name, user, run_as, force)


def _show(planned: Plan) -> None:
    """The file alone on stdout; where it goes and what is run, beside it."""
    print(planned.text, end="")
    print(f"# would be written to {planned.file}, with the variables in {planned.env_file}; then:", file=sys.stderr)
    for command in planned.enable:
        print(f"#   {' '.join(command)}", file=sys.stderr)

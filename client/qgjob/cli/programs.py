"""The commands that start programs: `coordinator`, `agent start` and `up`.

The only module that imports of the two other programs, and only when that is asked for, since a laptop that only
submits has neither of them installed.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from qgjob._errors import QgjobError
from qgjob.cli.options import number
from qgjob.cli.runner import reporting

app = typer.Typer()
agent_app = typer.Typer(no_args_is_help=True, help="The daemon on a device host.")

# All arguments are the program's own.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def load_main(program: str, user: str, extra: str) -> Callable[[list[str]], int]:
    """The program's `main(argv) -> exit code`.

    Raises QgjobError when its packages are missing, naming the extra of this package that `user` needs.
    """
    main: Callable[[list[str]], int] = load(f"{program}.__main__", user, extra).main
    return main


def load(module: str, user: str, extra: str) -> Any:
    """A module of another program. Raises QgjobError as load_main does."""
    program = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith(program):
            raise
        advice = f"pip install '.[{extra}]' in a clone of qgjob's repository"
        raise QgjobError(f"{error.name.partition('.')[0]} is not installed; {user} needs: {advice}") from None


def _run(program: str, extra: str, arguments: list[str]) -> NoReturn:
    with reporting():
        main = load_main(program, f"the {extra}", extra)
    raise typer.Exit(main(arguments))


@app.command(context_settings=_PASS_ON)
def coordinator(context: typer.Context) -> None:
    """Run a coordinator: settings come from the environment (see env.example)."""
    _run("qgjob_coordinator", "coordinator", context.args)


@agent_app.command(context_settings=_PASS_ON)
def start(context: typer.Context) -> None:
    """Run the agent: --config FILE names its agent.toml (examples/agent.toml explains it); the environment wins."""
    _run("qgjob_agent", "agent", context.args)


@app.command()
def up(
    sim_seed: Annotated[
        int | None, typer.Option(parser=number(), metavar="N", help="Seed of the simulated devices.")
    ] = None,
    sim_failure_rate: Annotated[
        float | None,
        typer.Option(parser=number(0, 1, whole=False), metavar="0..1", help="Share of the simulated tests that fail."),
    ] = None,
    sim_install_seconds: Annotated[
        float | None,
        typer.Option(parser=number(0, whole=False), metavar="SECONDS", help="Time of a simulated install."),
    ] = None,
    sim_test_seconds: Annotated[
        str | None, typer.Option(help="Time of a simulated test: shortest and longest, as in 1,3, or one number.")
    ] = None,
    agent_config: Annotated[
        Path | None, typer.Option(help="An agent.toml. It is for both agents, so its devices have no device_id.")
    ] = None,
) -> None:
    """Run the whole stack on this machine, for development: store, coordinator and two simulated agents.

    It listens on PORT (3000) and GRPC_PORT (50051), keeps its data under ./.qgjob/, and ends with Ctrl-C; started again
    there it goes on with what it had accepted. An agent that dies is started again; when another part dies all ends.
    """
    from qgjob.cli.up import run_stack  # noqa: PLC0415 - nothing else needs it
    from qgjob.cli.up_settings import Options  # noqa: PLC0415

    with reporting():
        options = Options(sim_seed, sim_failure_rate, sim_install_seconds, sim_test_seconds, agent_config)
        sys.stderr.flush()
        raise typer.Exit(run_stack(options))

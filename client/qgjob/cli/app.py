"""The command tree."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qgjob._errors import QgjobError
from qgjob.cli import (
    BEFORE,
    agent_host,
    agents,
    artifacts,
    builds,
    devices,
    doctor,
    exit_codes,
    jobs,
    overview,
    programs,
    reporting,
    submitting,
    suites,
    waiting,
)
from qgjob.cli.ci_words import Ci
from qgjob.cli.guard import Guard, guarding
from qgjob.cli.runner import discard_output, process_environment, tell, writing
from qgjob.cli.wrong_use import one_line


class _Root(TyperGroup):
    """The root command, which tells wrong use as all other errors are told."""

    def make_context(self, *given: Any, **more: Any) -> Any:
        """Read the options before the command."""
        with one_line():
            return super().make_context(*given, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is named."""
        try:
            with one_line():
                return super().invoke(ctx)
        except KeyboardInterrupt:  # what came later the commands tell
            tell(BEFORE)
            raise


app = typer.Typer(
    name="qgjob",
    cls=_Root,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run mobile app tests on a fleet of devices: submit jobs, watch them, look after the devices.",
)
for family in (submitting, jobs, waiting, reporting, overview, doctor, programs):
    app.add_typer(family.app)
app.add_typer(devices.app, name="devices")
app.add_typer(agents.app, name="agents")
app.add_typer(builds.app, name="builds")
app.add_typer(artifacts.app, name="artifacts")
app.add_typer(suites.app, name="suites")
app.add_typer(overview.config_app, name="config")
programs.agent_app.add_typer(agent_host.app)
app.add_typer(programs.agent_app, name="agent")

_HELP = {"-h", "--help", "--version"}


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - only for this option

        typer.echo(f"qgjob {version('qgjob')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""
    del version


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code. Wrong use is told on stderr and gives 2."""
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        tell("error: an argument is not valid UTF-8")
        return exit_codes.USAGE
    try:
        # Help that nobody asked for is no data.
        bare = not arguments or list(arguments) in [[each.name] for each in app.registered_groups]
        # What commands write they look after themselves, and they do more than that.
        asked = writing() if _HELP & set(arguments) else nullcontext()
        guarded = guarding(Guard.of(Ci.AUTO, process_environment()))  # what has --ci takes another
        with guarded, asked, redirect_stdout(sys.stderr) if bare else nullcontext():
            app(args=list(arguments), prog_name="qgjob")
    except QgjobError as error:
        tell(f"error: {error.message}")
        return exit_codes.FAILURE
    except SystemExit as exit_:
        if isinstance(exit_.__context__, BrokenPipeError):
            # Whoever read a help text has seen enough. (Commands end by themselves when the reader of their data goes.)
            discard_output()
            return exit_codes.OK
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return 0

"""`qgjob agent doctor` and `install-service`: the commands for an agent's host, but the one that starts it."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from qgjob.cli import exit_codes
from qgjob.cli.options import Output
from qgjob.cli.programs import load
from qgjob.cli.runner import reporting, resolve_settings
from qgjob.cli.settings import to_settings

app = typer.Typer()

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The agent's agent.toml. Default: QGJOB_AGENT_CONFIG.")
]


@app.command()
def doctor(config: ConfigFile = None, output: Output = None) -> None:
    """Look for what keeps an agent from its work: programs, devices, suite, disk, coordinator. Says what to do.

    It changes nothing. It looks as the user, and with the variables, that it is started with: use those of the agent.
    Exits 0 unless something is a problem, then 1.
    """
    with reporting():
        settings = to_settings(resolve_settings(output=output))
        checkup = load("qgjob_agent.doctor.checkup", "the agent", "agent")
        from qgjob._enums import FindingLevel  # noqa: PLC0415 - only for this command
        from qgjob.cli.agent_findings import examine  # noqa: PLC0415
        from qgjob.cli.doctor_findings import worst  # noqa: PLC0415
        from qgjob.cli.doctor_view import Report  # noqa: PLC0415
        from qgjob.cli.printer import Printer  # noqa: PLC0415

        found = asyncio.run(examine(checkup, config))
        level = worst(found)
        several = len({each.coordinator for each in found if each.coordinator is not None}) > 1
        Printer(settings.output).many("findings", found, lambda each: Report(each, several=several), level=level.value)
    raise typer.Exit(exit_codes.FAILURE if level is FindingLevel.PROBLEM else exit_codes.OK)


@app.command("install-service")
def install_service(
    config: Annotated[str, typer.Option("--config", metavar="FILE", help="The agent's agent.toml.")],
    run_as: Annotated[
        str | None, typer.Option(help="The user that the agent and its tests run as, of a service of the system.")
    ] = None,
    user: Annotated[
        bool, typer.Option("--user", help="A service of yours, not of the system. On a Mac always.")
    ] = False,
    name: Annotated[str, typer.Option(help="Name of the service, for hosts with several agents.")] = "qgjob-agent",
    show: Annotated[bool, typer.Option("--print", help="Print the file, and write nothing.")] = False,
    force: Annotated[
        bool, typer.Option(help="Replace a file that this command did not write, or that was changed.")
    ] = False,
) -> None:
    """Have the agent start with its host: a unit of systemd, or on a Mac a LaunchAgent, which is written and enabled.

    Done again it changes nothing. The token goes into a file of its own, which only its owner may read.
    Exits 0 when the service runs, and 1 when it does not, with what its manager says and what shows its log.
    """
    with reporting():
        command = load("qgjob_agent.service.command", "the agent", "agent")
    raise typer.Exit(command.run(command.wish(config, name, run_as, user=user, force=force), show=show))

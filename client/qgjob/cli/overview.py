"""`stats`, `health` and `config view`."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from qgjob._errors import UnavailableError
from qgjob.cli import exit_codes
from qgjob.cli.options import Coordinator, OrgId, Output
from qgjob.cli.runner import execute, reporting, resolve_settings, tell_strays
from qgjob.cli.settings import Settings

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

app = typer.Typer()
config_app = typer.Typer(no_args_is_help=True, help="Look at the settings of this command.")


@app.command()
def stats(org_id: OrgId = None, output: Output = None, coordinator: Coordinator = None) -> None:
    """Show counts of jobs, devices and installs.

    `installs` are those that devices did for the orgs shown: without --org-id the sum of what `devices ls` shows and of
    devices that are gone. `installs saved` are ended attempts that found their build installed.
    """

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from qgjob.cli.overview_tables import stats_facts  # noqa: PLC0415 - Rich, which `--help` can do without

        printer.one(await client.stats(org_id or settings.org_id), stats_facts)

    execute(work, output=output, coordinator=coordinator)


@app.command()
def health(output: Output = None, coordinator: Coordinator = None) -> None:
    """Ask a coordinator how it is. Exits 0 when it serves, 1 when it does not."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> int:
        from qgjob._fleet import Health  # noqa: PLC0415
        from qgjob.cli.overview_tables import health_facts  # noqa: PLC0415

        try:
            found = await client.health()
        except UnavailableError as error:
            found = Health("unreachable", settings.coordinator, error.message)
        stats = await client.stats() if found.serving else None
        shape = {**found.to_dict(), "stats": None if stats is None else stats.to_dict()}
        if printer.output == "table":
            printer.print(health_facts(found, stats))
        else:
            printer.json(shape)
        return exit_codes.OK if found.serving else exit_codes.FAILURE

    execute(work, output=output, coordinator=coordinator)


@config_app.command()
def view(
    show_origin: Annotated[
        bool, typer.Option("--show-origin", help="As without it: where each value was set is shown.", hidden=True)
    ] = False,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Show the settings, and where each was set.

    The first of these counts: flag, QGJOB_*, ./qgjob.toml, the user's file, default.
    """
    del show_origin
    with reporting():
        from qgjob.cli.overview_tables import settings_table  # noqa: PLC0415
        from qgjob.cli.printer import Printer  # noqa: PLC0415

        settings = resolve_settings(output=output, coordinator=coordinator)
        tell_strays(bare=False)
        chosen = next(str(setting.value) for setting in settings if setting.name == "output")
        shown = [
            replace(each, value="(hidden)") if each.name == "token" and each.value is not None else each
            for each in settings
        ]
        Printer(chosen).many("settings", shown, settings_table)

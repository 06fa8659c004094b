"""`qgjob doctor`"""

from typing import TYPE_CHECKING

import typer

from qgjob.cli import exit_codes
from qgjob.cli.options import Coordinator, Output
from qgjob.cli.runner import execute, resolve_settings
from qgjob.cli.settings import Settings

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

app = typer.Typer()


@app.command()
def doctor(output: Output = None, coordinator: Coordinator = None) -> None:
    """Look for what is wrong: coordinators, their store, agents, devices, what waits. Says what to do about it.

    Exits 0 unless something is a problem, then 1.
    """

    async def work(_: "AsyncClient", printer: "Printer", settings: Settings) -> int:
        from importlib.metadata import version  # noqa: PLC0415 - only for this command

        from qgjob._enums import FindingLevel  # noqa: PLC0415
        from qgjob.cli.doctor_findings import judge, worst  # noqa: PLC0415
        from qgjob.cli.doctor_view import Report  # noqa: PLC0415
        from qgjob.cli.doctoring import visit_all  # noqa: PLC0415

        resolved = resolve_settings(output=output, coordinator=coordinator)
        origin = next(setting.origin for setting in resolved if setting.name == "coordinator")
        visits = await visit_all(settings)
        found = judge(visits, origin, version("qgjob"))
        level = worst(found)
        printer.many("findings", found, lambda each: Report(each, several=len(visits) > 1), level=level.value)
        return exit_codes.FAILURE if level is FindingLevel.PROBLEM else exit_codes.OK

    execute(work, output=output, coordinator=coordinator)
